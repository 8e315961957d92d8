"""Stage one with several layers of a teacher: one pass, and every layer as if it were alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from clever.cache import FeatureCache
from clever.cache.care.copy import Copy, Selection
from clever.cache.care.drop import drop_teacher
from clever.cache.care.summary import summarise
from clever.cache.codec import decode
from clever.cache.images import load_image
from clever.cache.store.store import Store
from clever.cache.teacher import _Network, grid_shapes, load_teachers
from clever.errors import CleverError
from clever.pipeline import cache_teacher as module
from clever.pipeline.cache_teacher import CacheSummary, cache_teacher
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.repair import repair
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.care import RepairSettings, VerifySettings
from clever.pipeline.stage_one.plan import plan
from clever.pipeline.stage_one.request import teacher_settings
from clever.pipeline.verify import verify

Writes = Callable[..., Path]
Drive = tuple[Path, Path, CacheSummary]
LAYERS = ("pre-norm", "block:-2", "post-norm")
FRAMES = 18


def settings(root: Path, cache: Path, **values: Any) -> CacheTeacherSettings:
    tiny = {
        "model": "test_vit",
        "weights": "random:0",
        "image_size": (32, 64),
        "device": "cpu",
        "split": "all",
        "class_token": True,
    }
    source = {"dataset": "semantickitti", "data_root": root, "cache": cache}
    return CacheTeacherSettings(**{**source, **tiny, **values})


def files(folder: Path, part: str = "") -> dict[str, bytes]:
    """Every file below `part` of a store."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / part).rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def drives() -> list[Drive]:
    """The drive of this module, once there is one."""
    return []


@pytest.fixture
def drive(
    drives: list[Drive], write_kitti: Writes, tmp_path_factory: pytest.TempPathFactory
) -> Drive:
    """A drive, its store with three layers and what making it said; nobody writes to them."""
    if not drives:
        folder = tmp_path_factory.mktemp("several")
        root = write_kitti({"00": FRAMES}, points=50).rename(folder / "kitti")
        store = folder / "store.zarr"
        drives.append((root, store, cache_teacher(settings(root, store, layer=LAYERS))))
    return drives[0]


def test_each_layer_holds_what_the_network_gives(drive: Drive) -> None:
    root, store, summary = drive
    names = [layer.info.fingerprint.layer for layer in summary.layers]
    assert names == ["pre-norm", "block:4", "post-norm"]
    assert (summary.images, summary.written) == (FRAMES, FRAMES)
    teachers = load_teachers(teacher_settings(settings(root, store, layer=LAYERS)))
    network: Any = teachers[0].network.module
    dataset = SemanticKittiDataset(root, split="all")
    pictures = [
        teachers[0].preprocess(load_image(dataset.frame(row).cameras[0].image)) for row in (0, 17)
    ]
    pixels = (torch.stack(pictures).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        # The network block by block, as the paper of ViT has it.
        x = network._pos_embed(network.patch_embed(pixels))
        states = [x := block(x) for block in network.blocks]
        expected = {"pre-norm": x, "block:4": states[4], "post-norm": network.norm(x)}
    for layer in summary.layers:
        cache = FeatureCache(store, layer.info.id)
        sequence = expected[str(layer.info.fingerprint.layer)]
        assert cache.calibration is not None
        for number, row in enumerate((0, 17)):
            torch.testing.assert_close(
                cache.class_tokens(row), sequence[number, None, 0], rtol=1e-4, atol=1e-4
            )
            grid = sequence[number, 1:].view(1, 2, 4, -1)
            error = (decode(cache.tokens(row), cache.calibration) - grid).abs()
            assert bool((error <= 0.51 * cache.calibration.step + 1e-4).all())
        group: Any = zarr.open_group(str(store), mode="r")[f"teachers/{layer.info.id}"]
        assert group["class_token"].metadata.dimension_names == ("frame", "camera", "channel")
        np.testing.assert_array_equal(group["class_token"][17], cache.class_tokens(17).numpy())


def test_layers_made_together_later_or_alone_have_the_same_bytes(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, store, _ = drive
    passes: list[tuple[list[str], int]] = []
    run = _Network.run

    def counted(self: _Network, readouts: Any, images: torch.Tensor) -> Any:
        passes.append(([each.layer for each in readouts], len(images)))
        return run(self, readouts, images)

    monkeypatch.setattr(_Network, "run", counted)
    other = tmp_path / "later.zarr"
    cache_teacher(settings(root, other, layer="block:4"))
    assert {tuple(layers) for layers, _ in passes} == {("block:4",)}
    passes.clear()
    later = cache_teacher(settings(root, other, layer=LAYERS))
    assert later.images == FRAMES  # of every image two layers were lacking
    assert {tuple(layers) for layers, _ in passes} == {("pre-norm", "post-norm")}
    assert sum(images for _, images in passes) == FRAMES  # the calibration's features are written
    assert files(other) == files(store)
    monkeypatch.setattr(module, "load_teachers", None)
    assert cache_teacher(settings(root, other, layer=LAYERS)).attempted == 0


def test_a_run_that_is_cut_off_ends_with_the_same_bytes(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, store, _ = drive
    other, calls, run = tmp_path / "cut.zarr", [0], _Network.run

    def failing(self: _Network, readouts: Any, images: torch.Tensor) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return run(self, readouts, images)

    for _ in range(2):  # in the calibration, then in what is left of it
        calls[0] = 0
        monkeypatch.setattr(_Network, "run", failing)
        with pytest.raises(KeyboardInterrupt):
            cache_teacher(settings(root, other, layer=LAYERS))
    monkeypatch.setattr(_Network, "run", run)
    cache_teacher(settings(root, other, layer=LAYERS))
    assert files(other) == files(store)


def test_a_class_token_is_verified_repaired_copied_and_dropped(
    drive: Drive, tmp_path: Path
) -> None:
    root, store, summary = drive
    first, second, third = (layer.info.id for layer in summary.layers)
    work = tmp_path / "work.zarr"
    assert len(Copy(store, work, Selection()).run(lambda _: None)) == 3
    assert not verify(VerifySettings(path=work, data_root=root)).problems
    assert all(files(work, f"teachers/{name}/class_token") for name in (first, second, third))
    shard = work / f"teachers/{second}/class_token/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    (problem,) = verify(VerifySettings(path=work, data_root=root)).problems
    assert (problem.layer, problem.shard, problem.frames) == (second, 0, ("00/000000",))
    mended = repair(RepairSettings(path=work, data_root=root, device="cpu"))
    assert mended.recomputed == [(second, 0)]
    assert (mended.remainder, mended.changed) == ([], {second: []})
    assert files(work, f"teachers/{second}") == files(store, f"teachers/{second}")
    half = tmp_path / "half.zarr"
    Copy(store, half, Selection((second,), limit=2, codec="fp16")).run(lambda _: None)
    ours = FeatureCache(half)
    torch.testing.assert_close(
        ours.class_tokens(1), FeatureCache(store, second).class_tokens(1), rtol=0, atol=0
    )
    before = {layer.info.id: layer.layer.bytes for layer in summarise(work).teachers}
    assert drop_teacher(work, second) == before[second]
    assert not verify(VerifySettings(path=work, data_root=root)).problems
    assert {info.id for info in Store(work).teachers()} == {first, third}


def test_class_tokens_that_are_not_finite_fail_their_frame(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, run = write_kitti({"00": 3}, points=50), _Network.run

    def poisoned(self: _Network, readouts: Any, images: torch.Tensor) -> Any:
        first, second = run(self, readouts, images)
        assert second.class_token is not None
        with torch.inference_mode():
            second.class_token[1] = torch.nan
        return [first, second]

    monkeypatch.setattr(_Network, "run", poisoned)
    summary = cache_teacher(
        settings(root, tmp_path / "store.zarr", layer=LAYERS[:2], batch_images=3)
    )
    assert [name for name, _ in summary.failed] == ["00/000001"]
    assert (summary.written, summary.images) == (2, 2)
    first, second = (FeatureCache(tmp_path / "store.zarr", x.info.id) for x in summary.layers)
    assert (len(first), len(second)) == (3, 2)


def test_stages_of_a_cnn_are_layers_too(write_kitti: Writes, tmp_path: Path) -> None:
    root, store = write_kitti({"00": 2}, points=50), tmp_path / "store.zarr"
    job = settings(
        root, store, model="resnet10t", layer="stride:16, stride:8", class_token=False, tokens="hit"
    )
    reckoned = plan(job)
    assert reckoned is not None
    assert set(reckoned.layer_frames.values()) == {2}
    summary = cache_teacher(job)
    assert [layer.info.grid for layer in summary.layers] == [(2, 4), (4, 8)]
    assert set(reckoned.layer_frames) == {layer.info.id for layer in summary.layers}
    for layer in summary.layers:
        cache = FeatureCache(store, layer.info.id)
        (teacher,) = load_teachers(
            teacher_settings(job.decided(layer=(str(layer.info.fingerprint.layer),)))
        )
        frame = SemanticKittiDataset(root, split="all").frame(1)
        image = teacher.preprocess(load_image(frame.cameras[0].image))[None]
        grid, codes = teacher.features(image), cache.tokens(1)
        assert cache.calibration is not None
        stored = (codes != 0).any(-1)
        error = (decode(codes, cache.calibration) - grid).abs()[stored]
        assert bool((error <= 0.51 * cache.calibration.step + 1e-4).all())
        assert bool(stored.any())
        with pytest.raises(CleverError, match="holds no class tokens; make a layer that does with"):
            cache.class_tokens(0)
    assert not verify(VerifySettings(path=store, data_root=root)).problems


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"layer": ("pre-norm", "block:5")}, r"give each layer once \(pre-norm, pre-norm\)"),
        ({"layer": "block:-7"}, r"block:0 to block:5, which are block:-6 to block:-1 too"),
        ({"layer": "block:6"}, r"block:0 to block:5, which"),
        ({"layer": "block:--1"}, r"block:0 to block:5, which"),
        ({"layer": "block:-0"}, r"block:0 to block:5, which"),
        ({"layer": "block:\N{ARABIC-INDIC DIGIT ONE}"}, r"block:0 to block:5, which"),
        ({"model": "resnet10t", "layer": "stride:\N{FULLWIDTH DIGIT FOUR}"}, "has stride:"),
        (
            {"model": "dinov3-convnext-tiny", "layer": "pre-norm"},
            "layer 'pre-norm': dinov3-convnext-tiny has stride:4, .* and post-norm",
        ),
        (
            {"model": "sam2-hiera-tiny", "image_size": (48, 80), "class_token": False},
            r"sam2-hiera-tiny takes no images of 48x80 \(.*\); try 32x64 or 64x96$",
        ),
        ({"model": "DINOv3-ViTS16"}, "unknown model 'DINOv3-ViTS16'; did you mean dinov3-vits16,"),
        ({"image_size": (5, 16)}, "16-pixel patches; the nearest that are: 16x16$"),
        ({"model": "resnet10t"}, "resnet10t has no class token; leave out `class_token`"),
        ({"model": "vit_base_patch16_siglip_224"}, "has no class token; leave out"),
    ],
)
def test_what_cannot_be_had_is_one_line(tmp_path: Path, values: dict[str, Any], text: str) -> None:
    job = settings(tmp_path, tmp_path / "store.zarr", **values)
    with pytest.raises(CleverError, match=text):
        load_teachers(teacher_settings(job))


def test_a_layer_that_is_there_and_named_twice_is_refused(drive: Drive) -> None:
    root, store, _ = drive
    job = settings(root, store, layer=("block:-2", "block:4"))
    with pytest.raises(CleverError, match=r"give each layer once \(block:4, block:4\)"):
        cache_teacher(job)


def test_a_size_that_windows_do_not_divide_is_refused_without_weights(tmp_path: Path) -> None:
    values = {"model": "sam2-hiera-tiny", "class_token": False}
    (job,) = teacher_settings(settings(tmp_path, tmp_path / "s", image_size=(48, 80), **values))
    with pytest.raises(CleverError, match=r"takes no images of 48x80 \(.*\); try 32x64 or 64x96$"):
        grid_shapes([job])
    assert grid_shapes([job.model_copy(update={"image_size": (64, 96)})])[0].grid == (4, 6)


def test_the_arithmetic_that_is_left_open(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 for a ViT on a GPU, fp32 for the rest, and that of a layer which is there already."""

    def precision(model: str, store: Path) -> str:
        source = {"dataset": "semantickitti", "data_root": tmp_path, "cache": store}
        values = {"model": model, "weights": "random:0", "image_size": (32, 64), "device": "cpu"}
        return teacher_settings(CacheTeacherSettings(**source, **values))[0].precision

    empty, store = tmp_path / "none.zarr", tmp_path / "store.zarr"
    assert precision("test_vit", empty) == "fp32"
    root = write_kitti({"00": 2}, points=50)
    own = {"model": "test_vit", "weights": "random:0", "image_size": (32, 64), "device": "cpu"}
    cache_teacher(
        CacheTeacherSettings(
            dataset="semantickitti", data_root=root, cache=store, split="all",
            precision="bf16", **own,
        )
    )  # fmt: skip
    assert precision("test_vit", store) == "bf16"
    assert precision("resnet10t", store) == "fp32"
    monkeypatch.setattr(
        "clever.pipeline.stage_one.request.choose_device", lambda _: torch.device("cuda")
    )
    assert [precision(model, empty) for model in ("test_vit", "resnet10t", "sam2-hiera-tiny")] == [
        "bf16", "fp32", "fp32",
    ]  # fmt: skip
