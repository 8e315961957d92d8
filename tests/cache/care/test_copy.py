"""Copies hold what the source holds, byte for byte where the codec stays, within the codec's step
where it does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clever.cache import FeatureCache
from clever.cache.care.copy import Copy, Selection
from clever.cache.care.verify import Verification
from clever.cache.codec import decode
from clever.cache.store.files.lock import writer_lock
from clever.cache.store.layers import place
from clever.cache.store.reader import CachedFrame
from clever.cache.store.records.commits import commit_path
from clever.cache.store.store import Store
from clever.errors import CleverError, StoreWarning

from ...store_files import content

Writes = Callable[..., Any]


def copy(source: Path, target: Path, **selection: Any) -> dict[str, Any]:
    job, counts = Copy(source, target, Selection(**selection)), []
    fidelity = job.run(counts.append)
    assert [problem for problems in Verification(target) for problem in problems] == []
    assert sum(counts) == len(job)
    return fidelity


def features(frame: CachedFrame) -> torch.Tensor:
    return decode(frame.tokens, frame.calibration)


def same_frame(copy_frame: CachedFrame, expected: CachedFrame, tokens: bool = True) -> None:
    for name in CachedFrame.__dataclass_fields__:
        calibration, other = getattr(copy_frame, name), getattr(expected, name)
        if name == "calibration" and calibration and other and tokens:
            assert calibration.equals(other)
        elif tokens or name not in ("tokens", "calibration"):
            assert (
                torch.equal(calibration, other)
                if isinstance(calibration, torch.Tensor)
                else calibration == other
            ), name


@pytest.mark.parametrize("tokens", ["grid", "hit"])
@pytest.mark.parametrize("codec", ["int8", "int8-zstd", "fp16"])
def test_whole_copy_is_identical(
    write_store: Writes, tmp_path: Path, codec: str, tokens: str
) -> None:
    others = (("int8", "hit"),) if (codec, tokens) != ("int8", "hit") else (("fp16", "grid"),)
    sample = write_store([100, 5000, 30, 7] * 5, codec, tokens, failed=(2, 19), others=others)
    copy(sample.path, tmp_path / "copy.zarr")
    assert content(tmp_path / "copy.zarr") == content(sample.path)


def test_sweep_larger_than_a_shard_column(
    write_store: Writes, tmp_path: Path, tiny_blocks: None
) -> None:
    sample = write_store([5, 40, 90, 17] * 5)
    copy(sample.path, tmp_path / "copy.zarr")
    assert content(tmp_path / "copy.zarr") == content(sample.path)


def test_subset(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store(
        [50, 5000, 30] * 14, failed=(5,), others=(("fp16", "grid"), ("int8-zstd", "hit"))
    )
    layer = f"{sample.info.id}"
    scenes = (
        "scene-1",
        "scene-2",
        "scene-9",
        "scene-11",
        "scene-12",
        "scene-13",
        "scene-14",
        "scene-20",
    )
    fidelity = copy(sample.path, tmp_path / "copy.zarr", teachers=(layer,), scenes=scenes, limit=15)
    assert list(fidelity) == [layer]
    source, target = FeatureCache(sample.path, layer), FeatureCache(tmp_path / "copy.zarr")
    expected = [
        name for name, scene in zip(source.ids, source.scenes, strict=True) if scene in scenes
    ][:14]
    assert target.ids == expected  # frame-5 of scene-2 is skipped in the copy too
    for frame in target:
        same_frame(frame, source[source.position(frame.id)])
    (failed,) = Store(tmp_path / "copy.zarr").failures(layer)
    assert failed in Store(sample.path).failures(layer) or failed.row == 3
    assert (failed.id, failed.reason) == ("frame-5", "the image is damaged")


def test_fidelity_of_a_subset_is_that_of_its_shards(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10] * 40)
    copy(
        sample.path,
        tmp_path / "copy.zarr",
        scenes=tuple(f"scene-{number}" for number in range(5, 15)),
    )
    source, target = Store(sample.path), Store(tmp_path / "copy.zarr")
    measured = (commit.fidelity for commit in source.commits(sample.info.id)[:2])
    parts = [part for part in measured if part is not None]
    fidelity = target.fidelity(sample.info.id)
    assert fidelity.tokens == sum(part.tokens for part in parts) == 32 * 30
    assert fidelity.cosine_min == min(part.cosine_min for part in parts)


@pytest.mark.parametrize("tokens", ["grid", "hit"])
@pytest.mark.parametrize(
    ("old", "new"), [("fp16", "int8"), ("int8", "int8-zstd"), ("int8-zstd", "fp16")]
)
def test_other_codec(write_store: Writes, tmp_path: Path, old: str, new: str, tokens: str) -> None:
    sample = write_store([100, 5000, 30, 1] * 5, old, tokens, failed=(4,))
    measures = copy(sample.path, tmp_path / "copy.zarr", codec=new)
    source, target = FeatureCache(sample.path), FeatureCache(tmp_path / "copy.zarr")
    info = target.teacher
    assert (info.codec, info.tokens, info.reencoded_from) == (new, tokens, (old,))
    assert info.fingerprint.values() == {
        **sample.info.fingerprint.values(),
        "codec": new,
        "reencoded_from": [old],
    }
    assert info.description == f"made up, re-encoded from {old}"
    cosines = []
    for before, after in zip(source, target, strict=True):
        same_frame(after, before, tokens=False)
        stored = torch.ones(before.tokens.shape[:3], dtype=torch.bool)
        if tokens == "hit":
            stored = torch.from_numpy(sample.hits[before.id])
            assert not after.tokens[~stored].any()
        feature, other = features(before)[stored], features(after)[stored]
        limit = (
            after.calibration.step / 2 * 1.001
            if after.calibration
            else feature.abs() * 2**-11 + 1e-6
        )
        assert bool(((feature - other).abs() <= limit).all())
        cosines.append(
            torch.nn.functional.cosine_similarity(feature.double(), other.double(), dim=-1)
        )
    fidelity, total = measures[info.id], torch.cat(cosines)
    assert fidelity.tokens == len(total)
    assert fidelity.mean == pytest.approx(float(total.mean()), abs=1e-9)
    assert fidelity.cosine_min == pytest.approx(float(total.min()), abs=1e-9)


def test_history_of_codecs(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10] * 3, "fp16")
    copy(sample.path, tmp_path / "one.zarr", codec="int8")
    copy(tmp_path / "one.zarr", tmp_path / "two.zarr", codec="int8-zstd")
    copy(tmp_path / "two.zarr", tmp_path / "three.zarr")
    (info,) = Store(tmp_path / "three.zarr").teachers()
    assert info.reencoded_from == ("fp16", "int8")
    assert content(tmp_path / "three.zarr") == content(tmp_path / "two.zarr")


def test_interrupted_copy_goes_on(
    write_store: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = write_store([10] * 40, "fp16")
    target = tmp_path / "copy.zarr"
    for codec in ("fp16", "int8"):
        copy(sample.path, tmp_path / f"whole-{codec}.zarr", codec=codec)

        def stop(count: int) -> None:
            raise KeyboardInterrupt

        for _ in range(4):
            with pytest.raises(KeyboardInterrupt):
                Copy(sample.path, target, Selection(codec=codec)).run(stop)
        Copy(sample.path, target, Selection(codec=codec)).run(lambda count: None)
        assert content(target) == content(tmp_path / f"whole-{codec}.zarr")
        target.rename(tmp_path / f"done-{codec}")


def test_copies_of_two_parts_join(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10] * 40)
    target = tmp_path / "copy.zarr"
    copy(sample.path, target, scenes=("scene-3",))
    copy(sample.path, target, scenes=("scene-1", "scene-12"))
    source, joined = FeatureCache(sample.path), FeatureCache(target)
    assert joined.scenes == ["scene-3"] * 2 + ["scene-1"] * 2 + ["scene-12"] * 2
    for frame in joined:
        same_frame(frame, source[source.position(frame.id)])


def test_unfinished_frames_are_left_out(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10] * 40, others=(("fp16", "grid"),))
    store = Store(sample.path)
    store.uncommit(sample.info.id, [1])
    job = Copy(sample.path, tmp_path / "copy.zarr", Selection())
    assert job.pending == 16
    job.run(lambda count: None)
    assert len(FeatureCache(tmp_path / "copy.zarr", sample.info.id)) == 24
    store.uncommit("points", [0, 2])
    with pytest.raises(CleverError, match="no finished frame among those asked for; nothing"):
        Copy(sample.path, tmp_path / "other.zarr", Selection())
    store.uncommit("points", [1])
    with pytest.raises(
        CleverError, match="among those asked for: points has none of them; nothing"
    ):
        Copy(sample.path, tmp_path / "other.zarr", Selection())


def test_a_layer_without_its_seal_is_named(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10] * 4, others=(("fp16", "grid"),))
    (sample.path / place(sample.info.id).seal).unlink()
    with pytest.warns(StoreWarning, match=f"{sample.info.id} not copied: without a seal"):
        job = Copy(sample.path, tmp_path / "copy.zarr", Selection())
    job.run(lambda count: None)
    assert len(Store(tmp_path / "copy.zarr").teachers()) == 1


def test_refusals(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([10] * 20, others=(("fp16", "grid"),))
    target = tmp_path / "copy.zarr"
    refusals: tuple[tuple[dict[str, Any], str], ...] = (
        ({"codec": "zip"}, "unknown codec 'zip'"),
        ({"scenes": ("scene-10",)}, "has no scene 'scene-10'; it has scene-1"),
        ({"teachers": ("vit",)}, "teacher 'vit' fits 0 of them"),
        ({"teachers": ("made",)}, "teacher 'made' fits 2 of them"),
    )
    for selection, message in refusals:
        with pytest.raises(CleverError, match=message):
            Copy(sample.path, target, Selection(**selection))
    with pytest.raises(CleverError, match="lies in"):
        Copy(sample.path, sample.path, Selection())
    with pytest.raises(CleverError, match="lies in"):
        Copy(sample.path, sample.path / "teachers" / "copy", Selection())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    with pytest.raises(CleverError, match="is no feature cache"):
        copy(sample.path, tmp_path / "full")
    with writer_lock(target), pytest.raises(CleverError, match="is being written by process"):
        copy(sample.path, target)
    assert not target.exists()


def test_other_calibration(write_store: Writes, tmp_path: Path) -> None:
    first, second = write_store([10] * 3), write_store([10] * 40, name="other.zarr")
    target = tmp_path / "copy.zarr"
    copy(first.path, target)
    with pytest.raises(CleverError, match=f"holds {first.info.id} with another calibration"):
        copy(second.path, target)


def test_damaged_source(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store([100] * 4)
    shard = sample.path / "points/xyzi/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[70000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(
        CleverError, match="frame frame-1 of points is damaged; run `clever cache repair`"
    ):
        Copy(sample.path, tmp_path / "copy.zarr", Selection()).run(lambda count: None)
    assert not commit_path(tmp_path / "copy.zarr", "points", 0).exists()
