"""Verification says nothing about a good store and names the file, shard and frames of whatever is
wrong."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from numpy.typing import NDArray

from clever.cache import FeatureCache
from clever.cache.care import verify
from clever.cache.care.mend import mend
from clever.cache.care.problems import Problem
from clever.cache.care.verify import Verification
from clever.cache.frame import Camera, Frame
from clever.cache.projection import Correspondences
from clever.cache.store.files.shards import ShardFile
from clever.cache.store.records import checked_json
from clever.cache.store.records.commits import commit_path, read_commit, write_commit
from clever.cache.store.records.models import Commit, PointSettings, Stamp
from clever.cache.store.records.seals import (
    read_seal,
    seal_of,
    seal_path,
    sealed_teachers,
    write_seal,
)
from clever.cache.store.rows import ShardRows
from clever.cache.store.store import Store
from clever.cache.store.views import layer_views
from clever.cache.store.writer import GridShard, PointShard
from clever.errors import CleverError

Writes = Callable[..., Any]
STRIDE = int(os.environ.get("CLEVER_FLIP_STRIDE", "61"))
"""Every how manyth byte is flipped alone; 1 takes minutes. Flips in many files at once come at
every seventh."""


def check(path: Path) -> list[Problem]:
    return [problem for problems in Verification(path) for problem in problems]


def files(path: Path) -> dict[str, Path]:
    return {
        file.relative_to(path).as_posix(): file
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def flip(file: Path, offset: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 1
    file.write_bytes(data)


@pytest.fixture
def fast_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views made once for the same seal and commit records: making them is most of the time of a
    tiny store's check."""
    cache: dict[str, dict[str, bytes]] = {}

    def remembered(content: Any, commits: list[Commit], *sizes: int) -> dict[str, bytes]:
        key = repr((content, commits, sizes))
        if key not in cache:
            cache[key] = layer_views(content, commits, *sizes)
        return cache[key]

    monkeypatch.setattr(verify, "layer_views", remembered)


@pytest.fixture
def small(write_store: Writes, tiny_blocks: None, fast_views: None) -> Path:
    """Three frames of which one failed and one fills two shard columns, three layers: int8,
    int8-zstd of hits, fp16."""
    others = (("int8-zstd", "hit"), ("fp16", "grid"))
    return write_store([5, 3, 20], failed=(1,), others=others).path


@pytest.mark.parametrize("tokens", ["grid", "hit"])
@pytest.mark.parametrize("codec", ["int8", "int8-zstd", "fp16"])
def test_good_store(write_store: Writes, codec: str, tokens: str) -> None:
    others = tuple(
        pair
        for pair in (("int8", "hit"), ("int8-zstd", "grid"), ("fp16", "hit"))
        if pair != (codec, tokens)
    )
    sample = write_store(
        [100, 4096, 5000, 1, 9000] * 4, codec, tokens, failed=(3, 17), others=others
    )
    assert check(sample.path) == []
    store = Store(sample.path)
    store.extend(["later"], ["another scene"])  # behind a hole of twelve rows, and pending
    assert check(sample.path) == []


def test_store_without_frames(tmp_path: Path) -> None:
    Store.open_or_create(tmp_path / "empty.zarr", PointSettings("made", ("left",)))
    assert check(tmp_path / "empty.zarr") == []


def test_small_store_is_good(small: Path) -> None:
    assert check(small) == []
    assert "points/xyzi/c/0/1/0" in files(small)
    assert (
        sum(len(read_seal(small, layer).files) for layer in ("points", *sealed_teachers(small)))
        > 40
    )


def expect_only(problems: list[Problem], name: str) -> None:
    """The damage of a single file is reported once and under its name."""
    assert [problem.file for problem in problems] == [name], [str(problem) for problem in problems]


@pytest.mark.slow
def test_single_flips(small: Path) -> None:
    """A flipped bit in any file, one at a time."""
    number = 0
    for name, file in files(small).items():
        intact = file.read_bytes()
        for offset in range(len(intact)):
            number += 1
            if number % STRIDE and offset not in (0, len(intact) - 1):
                continue
            flip(file, offset)
            expect_only(check(small), name)
            file.write_bytes(intact)
    assert check(small) == []


def test_flips_in_all_views_and_shards(small: Path) -> None:
    """The same offset in all files whose checks do not depend on each other, all at once."""
    everything = {name: file for name, file in files(small).items() if "/commits/" not in name}
    intact = {name: file.read_bytes() for name, file in everything.items()}
    for offset in range(0, max(map(len, intact.values())), min(STRIDE, 7)):
        flipped = {name for name, data in intact.items() if offset < len(data)}
        for name in flipped:
            flip(everything[name], offset)
        assert {problem.file for problem in check(small)} == flipped
        for name in flipped:
            everything[name].write_bytes(intact[name])


def test_several_threads_find_the_same_in_the_same_order(small: Path) -> None:
    for name in sorted(files(small)):
        if "/c/" in name:
            flip(files(small)[name], 3)
    alone, together = Verification(small), Verification(small, threads=3)
    assert (expected := list(alone)) == list(together)
    assert sum(map(len, expected)) > 3
    assert together.bytes == alone.bytes > 0


def test_lost_and_cut_files(small: Path) -> None:
    for name, file in files(small).items():
        intact = file.read_bytes()
        file.unlink()
        expect_only(check(small), name)
        for changed in (intact[:-1], intact + b"\0", b""):
            file.write_bytes(changed)
            expect_only(check(small), name)
        file.write_bytes(intact)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "points/xyzi/c/7/0/0",
        "frames/id/c/1/0",
        "frames/.zarr.json.x1.part",
        "points/xyzi/commits/other.json",
        "teachers/readme",
    ],
)
def test_stray_files(small: Path, name: str) -> None:
    (small / name).parent.mkdir(parents=True, exist_ok=True)
    (small / name).write_text("?")
    (problem,) = check(small)
    assert problem.file == name
    removable = name.endswith(".part") or name.startswith("points/xyzi/c/")
    assert problem.remedy == ("remove" if removable else "none")


def test_damage_names_the_frames(write_store: Writes) -> None:
    sample = write_store([100, 5000, 300], "int8-zstd")
    grid = f"teachers/{sample.info.id}/grid/c/0/0/0/0/0"
    for name, row, frame in (("points/xyzi/c/0/0/0", 1, "frame-1"), (grid, 2, "frame-2")):
        file = sample.path / name
        inner = 64 if "xyzi" in name else 1
        start, size = ShardFile(file, 16 * inner).index[row * inner].tolist()
        flip(file, start + size // 2)
        (problem,) = check(sample.path)
        assert (problem.file, problem.shard, problem.frames, problem.remedy) == (
            name,
            0,
            (frame,),
            "recompute",
        )
        assert problem.layer in ("points", sample.info.id)
        flip(file, start + size // 2)
        flip(file, file.stat().st_size - 20)  # the index concerns every frame
        (problem,) = check(sample.path)
        assert problem.frames == ("frame-0", "frame-1", "frame-2")
        flip(file, file.stat().st_size - 20)


def pinhole(width: int, height: int) -> NDArray[np.float64]:
    """(3, 3) intrinsics of a camera that looks through the middle of its image."""
    return np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])


def rewrite_points(store: Store, change: Callable[[Frame, Correspondences], None]) -> None:
    """Write shard 0 of points and pairs again, as a faulty writer would: sound checksums over
    changed values."""
    rng = np.random.default_rng(0)
    shard = PointShard(store, 0)
    for row in store.shard_rows(0):
        size = 60
        cameras = tuple(
            Camera(name, Path("x.png"), 100, 50, pinhole(100, 50), np.eye(4))
            for name in ("left", "right")
        )
        frame = Frame(
            store.ids[row],
            store.scenes[row],
            5,
            rng.random((size, 4)).astype(np.float32),
            np.eye(4),
            cameras,
        )
        pairs = Correspondences(
            np.arange(20, dtype=np.uint32), rng.uniform(2, 40, (20, 2)), np.array([0, 12, 20])
        )
        pairs.point[12:] -= 12
        if row == 1:
            change(frame, pairs)
        shard.add(row, frame, pairs)
    shard.commit()
    store.finalise()


@pytest.mark.parametrize(
    ("array", "item", "value", "message"),
    [
        ("points", (3, 1), np.nan, "points are not finite"),
        ("points", (59, 3), 1.5, r"intensities lie outside \[0, 1\]"),
        ("points", (0, 3), -0.5, r"intensities lie outside \[0, 1\]"),
        ("point", 19, 60, "a pair names point 60 of 60"),
        ("point", 4, 9, "the points of a camera's pairs do not ascend"),
        ("global_from_lidar", (3, 0), 1.0, "is no 4 x 4 rigid transform"),
        ("global_from_lidar", (0, 0), 1.1, "does not rotate"),
        ("global_from_lidar", (0, 0), -1.0, "does not rotate"),
    ],
)
def test_values_out_of_range(
    write_store: Writes, array: str, item: Any, value: float, message: str
) -> None:
    store = Store(write_store([5, 5, 5]).path)
    rewrite_points(store, lambda frame, pairs: None)
    assert check(store.path) == []

    def change(frame: Frame, pairs: Correspondences) -> None:
        getattr(frame if hasattr(frame, array) else pairs, array)[item] = value

    rewrite_points(store, change)
    (problem,) = check(store.path)
    assert re.search(message, problem.what)
    assert problem.remedy == "recompute"
    if array in ("points", "point"):
        assert problem.frames == ("frame-1",)


@pytest.mark.parametrize(
    ("codec", "tokens", "value", "message"),
    [
        ("int8", "grid", -128, r"codes lie outside \[-127, 127\]"),
        ("int8-zstd", "grid", -128, r"codes lie outside \[-127, 127\]"),
        ("fp16", "grid", np.inf, "features are not finite"),
        ("int8", "hit", 1, "tokens that a pair needs are not stored"),
    ],
)
def test_tokens_out_of_range(
    write_store: Writes, codec: str, tokens: str, value: float, message: str
) -> None:
    sample = write_store([50, 50], codec, tokens)
    store = Store(sample.path)
    shard = GridShard(store, sample.info, 0)
    for row in (0, 1):
        codes = np.ones((2, 3, 5, 7), np.float16 if codec == "fp16" else np.int8)
        codes[1, 2, 3, 4] = value if row else 1
        hit = sample.hits[f"frame-{row}"].copy() if tokens == "hit" else None
        if hit is not None and row:
            hit[tuple(np.argwhere(hit)[0])] = False
        shard.add(row, codes, hit)
    shard.commit()
    store.finalise()
    (problem,) = check(store.path)
    assert re.search(message, problem.what)
    assert problem.frames == ("frame-1",)


def test_mask_of_other_values(write_store: Writes) -> None:
    sample = write_store([50, 50], "int8", "hit")
    store = Store(sample.path)
    layer, commit = store.layer(sample.info.id), read_commit(sample.path, sample.info.id, 0)
    arrays = layer.arrays
    rows, shard = ShardRows(sample.path, layer, commit), GridShard(store, sample.info, 0)
    for record in commit.frames:
        tokens, mask = (rows.chunks(array, record.row) for array in arrays)
        if record.row:
            mask = [np.left_shift(mask[0], 1, dtype=np.uint8)]
        checksums = {**record.checksums, "hit": google_crc32c.value(mask[0])}
        shard.add_packed(
            replace(record, checksums=checksums), dict(zip(arrays, (tokens, mask), strict=True))
        )
    shard.commit()
    store.finalise()
    (problem,) = check(store.path)
    assert (problem.what, problem.frames) == ("values other than 0 and 1", ("frame-1",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": [1, 3, 4]}, "do not ascend from 0"),
        ({"offsets": [0, 5, 4]}, "do not ascend from 0"),
        ({"offsets": [0, 4]}, "do not ascend from 0 over 2 cameras"),
        ({"image_size": [[10, 10]]}, "are not those of 2 cameras"),
        ({"image_size": [[10, 10], [70000, 10]]}, "are not those of 2 cameras"),
        ({"timestamp": 2**63}, f"timestamp {2**63}"),
        ({"pose": [1.0] * 12}, "no 4 x 4 rigid transform"),
        ({"pose": [float("nan"), *np.eye(4).ravel()[1:]]}, "no 4 x 4 rigid transform"),
        ({"id": "frame-1"}, "its rows or frame ids are not the store's"),
        ({"row": 17}, "its rows or frame ids are not the store's"),
        ({"checksums": {"points": 1}}, "has checksums of"),
        ({"points": 5000}, "differ from its checksum|instead of 5000"),
    ],
)
def test_record_out_of_range(write_store: Writes, change: dict[str, Any], message: str) -> None:
    path = write_store([10] * 3).path
    commit = read_commit(path, "points", 0)
    write_commit(
        path, replace(commit, frames=(*commit.frames[:2], replace(commit.frames[2], **change)))
    )
    problems = [problem for problem in check(path) if problem.remedy == "recompute"]
    assert len(problems) == 1
    assert re.search(message, problems[0].what)


def test_record_of_other_files(write_store: Writes) -> None:
    path = write_store([10] * 3).path
    commit = read_commit(path, "points", 0)
    write_commit(
        path,
        replace(commit, files={**commit.files, "points/xyzi/c/0/1/0": Stamp(1, 1)}),
    )
    (problem,) = check(path)
    assert "it lists the files" in problem.what


def test_shards_in_each_other_s_place(write_store: Writes) -> None:
    path = write_store([10] * 40).path
    first, second = (path / f"points/xyzi/c/{shard}/0/0" for shard in (0, 1))
    first.rename(path / "aside")
    second.rename(first)
    (path / "aside").rename(second)
    assert [problem.file for problem in check(path)] == [
        "points/xyzi/c/0/0/0",
        "points/xyzi/c/1/0/0",
    ]


def test_record_of_another_shard(write_store: Writes) -> None:
    path = write_store([10] * 40).path
    shutil.copy(commit_path(path, "points", 1), commit_path(path, "points", 0))
    (problem,) = check(path)
    assert problem.what == "commit record is that of shard 1 of points"
    assert problem.frames == tuple(f"frame-{number}" for number in range(16))


def test_views_that_lag(write_store: Writes) -> None:
    sample = write_store([10] * 20)
    store = Store(sample.path)
    record = commit_path(store.path, sample.info.id, 1)
    committed = record.read_bytes()
    record.unlink()
    (problem,) = check(store.path)
    assert (problem.what, problem.shard) == ("commit record is missing", 1)
    store.finalise()
    assert [problem.what for problem in check(store.path)] == ["belongs to no committed shard"]
    record.write_bytes(committed)
    (problem,) = check(store.path)
    assert problem.what == "tables lack shards that were committed later (1): a run was cut off"
    store.finalise()
    assert check(store.path) == []


def test_views_that_disagree(write_store: Writes) -> None:
    """Views under a valid seal that say something else than the commit records."""
    path = write_store([10] * 3).path
    commit = read_commit(path, "points", 0)
    frames = tuple(replace(record, timestamp=record.timestamp + 1) for record in commit.frames)
    write_commit(path, replace(commit, frames=frames))
    (problem,) = check(path)
    assert (problem.file, problem.remedy) == ("frames/timestamp/zarr.json", "rewrite")


def test_views_of_another_library_version(write_store: Writes) -> None:
    """Other bytes that mean the same are no damage."""
    path = write_store([10] * 3).path
    seal = read_seal(path, "points")
    views = {name: (path / name).read_bytes() for name in seal.files}
    for name in ("zarr.json", "points/xyzi/zarr.json", "frames/pose/zarr.json"):
        views[name] = json.dumps(json.loads(views[name])).encode()
        (path / name).write_bytes(views[name])
    assert len(check(path)) == 3
    write_seal(path, seal_of("points", seal.content, seal.shards, views))
    assert check(path) == []


def test_a_column_that_the_store_never_had(write_store: Writes) -> None:
    """A store from before a column was added: read in one clear line, mended from its records."""
    path = write_store([10] * 3).path
    shutil.rmtree(path / "frames/split")
    seal = read_seal(path, "points")
    views = {name: (path / name).read_bytes() for name in seal.files if "/split/" not in name}
    write_seal(path, seal_of("points", seal.content, seal.shards, views))
    with pytest.raises(CleverError, match="frames has no column split; run `clever cache repair`"):
        FeatureCache(path)
    verification = Verification(path)
    (problem,) = problems = [problem for part in verification for problem in part]
    assert problem.file == "frames/split/zarr.json"
    assert problem.what == "is no part of this store, which another version wrote"
    mend(verification, problems)
    assert check(path) == []
    assert FeatureCache(path).splits == [""] * 3


@pytest.mark.parametrize(
    ("layer", "keys", "value", "message"),
    [
        ("points", ("ids", 1), "frame-0", "frame ids come twice: frame-0"),
        ("points", ("scenes", 1), "", "rows have a frame id and no scene"),
        ("made", ("calibration", "step", 0), 0.0, "steps that are not positive"),
        (
            "made",
            ("calibration", "centre", 6),
            float("inf"),
            "the calibration is not finite, one centre",
        ),
        ("made", ("calibration", "step"), [1.0] * 6, "the calibration is not finite, one centre"),
        ("made", ("calibration",), None, "a layer of codec int8 lacks its calibration"),
        (
            "made",
            ("info", "codec"),
            "fp16",
            "codec fp16 and tokens grid differ from the fingerprint",
        ),
        ("made", ("info", "fingerprint", "model"), "other", "give its folder this name again"),
    ],
)
def test_contents_of_seals(
    write_store: Writes, layer: str, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    """Seals with a sound checksum over values that cannot be."""
    sample = write_store([10] * 3)
    name = "points" if layer == "points" else sample.info.id
    path = seal_path(sample.path, name)
    seal = json.loads(checked_json.decode(path.read_bytes()))
    field = seal["content"]
    for key in keys[:-1]:
        field = field[key]
    field[keys[-1]] = value
    path.write_bytes(checked_json.encode(json.dumps(seal).encode()))
    faults = [problem for problem in check(sample.path) if problem.file.endswith("seal.json")]
    assert len(faults) == 1
    assert message in faults[0].what
    assert faults[0].remedy == "none"


def test_seal_and_views_lost(write_store: Writes) -> None:
    sample = write_store([10] * 3)
    folder = sample.path / "teachers" / sample.info.id
    seal_path(sample.path, sample.info.id).unlink()
    assert [problem.remedy for problem in check(sample.path)] == ["rewrite"]
    (folder / "zarr.json").unlink()
    (problem,) = check(sample.path)
    assert "restore either from a copy" in problem.what
    assert problem.remedy == "none"


def test_folder_in_place_of_a_file(small: Path) -> None:
    """What cannot be read is reported like what is lost."""
    for name, file in files(small).items():
        intact = file.read_bytes()
        file.unlink()
        file.mkdir()
        expect_only(check(small), name)
        file.rmdir()
        file.write_bytes(intact)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match="no feature cache at"):
        Verification(tmp_path)
    with pytest.raises(CleverError, match="no feature cache at"):
        Verification(tmp_path / "nothing")
