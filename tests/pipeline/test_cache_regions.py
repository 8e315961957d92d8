"""Regions as a layer of a store: made, verified, repaired, copied and dropped like any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clever.cache import FeatureCache
from clever.cache.care.copy import Copy, Selection
from clever.cache.care.drop import drop_regions
from clever.cache.care.summary import summarise
from clever.cache.images import load_image
from clever.cache.store.layers import NO_REGION
from clever.cache.store.region_reader import CachedRegions
from clever.errors import CleverError
from clever.pipeline.cache_regions import RegionResult, cache_regions
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.regions.fill import RegionStage
from clever.pipeline.regions.maps import resize_map
from clever.pipeline.repair import repair
from clever.pipeline.settings.cache_regions import CacheRegionsSettings
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.care import RepairSettings

from ..store_files import content, problems

FRAMES = 19
SIZE = (8, 12)


@pytest.fixture
def drive(write_kitti: Callable[..., Path]) -> Path:
    return write_kitti({"40": FRAMES}, points=40)


@pytest.fixture
def store(drive: Path, tmp_path: Path) -> Path:
    settings = CacheTeacherSettings(
        dataset="semantickitti",
        data_root=drive,
        sequences=("40",),
        model="test_resnet",
        weights="random:0",
        layer=("stride:4",),
        image_size=(16, 32),
        cache=tmp_path / "run.zarr",
    )
    return cache_teacher(settings).path


def add(store: Path, drive: Path | None = None, **settings: Any) -> RegionResult:
    values = {"cache": store, "data_root": drive, "split": "all", "size": SIZE}
    values |= {"sequences": ("40",)} if drive else {}
    return cache_regions(CacheRegionsSettings(**{**values, **settings}))


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A class map of 300 classes a frame, of half the image's size."""
    folder, rng = tmp_path / "masks", np.random.default_rng(1)
    for number in range(FRAMES):
        numbers = rng.integers(0, 300, (19, 62)).astype(np.uint16)
        numbers[0, 0] = 999
        path = folder / f"40/{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers).save(path)
    return folder


def class_map(store: Path, folder: Path, **settings: Any) -> RegionResult:
    names = tuple(f"c{number}" for number in range(300))
    return add(
        store, from_=folder, pattern="{id}.png", kind="class", classes=names, empty=999, **settings
    )


def test_superpixels_are_those_of_the_images(store: Path, drive: Path) -> None:
    pytest.importorskip("skimage")
    from skimage.segmentation import slic

    before = content(store)
    result = add(store, drive, segments=20)
    assert (result.attempted, result.failed) == (FRAMES, [])
    assert result.info.id.startswith("regions/slic20-8x12-")
    regions = CachedRegions(store, "slic20")
    assert len(regions) == FRAMES
    for number in (0, 7, 18):
        image = load_image(drive / f"sequences/40/image_2/{number:06}.png")
        expected = slic(image, n_segments=20, compactness=6, sigma=3, start_label=0)
        stored = regions.maps(f"40/{number:06}")
        assert stored.shape == (1, *SIZE)
        assert np.array_equal(stored[0], resize_map(expected.astype(np.uint16), SIZE))
    assert problems(store) == []
    assert {name: data for name, data in content(store).items() if name in before} == before
    again = content(store)
    assert add(store, drive, segments=20).attempted == 0
    assert content(store) == again
    assert [part.info.id for part in summarise(store).regions] == [result.info.id]


def test_class_maps_of_files(store: Path, masks: Path) -> None:
    result = class_map(store, masks)
    assert result.failed == []
    regions = CachedRegions(store)
    source = np.array(Image.open(masks / "40/000004.png")).astype(np.uint16)
    source[source == 999] = NO_REGION
    stored = regions.maps("40/000004")[0]
    assert np.array_equal(stored, resize_map(source, SIZE))
    assert stored.max() > 255
    assert regions.info.settings.classes[299] == "c299"
    assert problems(store) == []


def test_masks_named_by_sample_data_tokens(
    write_nuscenes: Callable[..., Path], tmp_path: Path, drive: Path, store: Path
) -> None:
    """As SuperFlow's: one PNG an image, its name the token of the image in nuScenes' tables."""
    root = write_nuscenes({"scene-0061": 2}, points=40, labels=False)
    data = json.loads((root / "v1.0-mini/sample_data.json").read_text())
    folder, rng = tmp_path / "tokens", np.random.default_rng(4)
    folder.mkdir()
    masks = {}
    for row in data:
        if "CAM" in row["filename"]:
            numbers = rng.integers(0, 17, (row["height"], row["width"])).astype(np.uint8)
            masks[row["sample_token"], row["filename"].split("/")[1]] = numbers
            Image.fromarray(numbers).save(folder / f"{row['token']}.png")
    settings = {"dataset": "nuscenes", "data_root": root, "version": "v1.0-mini", "split": "all"}
    path = cache_teacher(
        CacheTeacherSettings(
            **settings, model="test_resnet", weights="random:0", layer=("stride:4",),
            image_size=(16, 32), cache=tmp_path / "nuscenes.zarr",
            cameras=("CAM_BACK", "CAM_FRONT", "CAM_FRONT_LEFT"),
        )
    ).path  # fmt: skip
    names = tuple(f"c{number}" for number in range(17))
    options = {"from_": folder, "pattern": "{token}.png", "kind": "class", "classes": names}
    result = cache_regions(CacheRegionsSettings(cache=path, **settings, **options, size=SIZE))
    assert (result.attempted, result.failed) == (2, [])
    regions, cache = CachedRegions(path), FeatureCache(path)
    assert cache.cameras == ("CAM_BACK", "CAM_FRONT", "CAM_FRONT_LEFT")
    for frame in cache.ids:
        for camera, stored in zip(cache.cameras, regions.maps(frame), strict=True):
            assert np.array_equal(stored, resize_map(masks[frame, camera].astype(np.uint16), SIZE))
    with pytest.raises(CleverError, match="images of semantickitti have no tokens"):
        add(store, drive, **options)
    job = CacheRegionsSettings(cache=path, **settings, **options, size=SIZE)
    with pytest.raises(CleverError, match="CAM_BACK is not among the `cameras`"):
        cache_regions(job.decided(cameras=("CAM_FRONT",)))
    with pytest.raises(CleverError, match="the same for all 3 cameras of a frame"):
        cache_regions(job.decided(pattern="{id}.png"))


def test_bad_masks_lose_their_frames(store: Path, masks: Path) -> None:
    (masks / "40/000003.png").unlink()
    Image.fromarray(np.full((19, 62), 300, np.uint16)).save(masks / "40/000004.png")
    Image.fromarray(np.zeros((19, 19), np.uint8)).save(masks / "40/000005.png")
    reasons = dict(class_map(store, masks).failed)
    assert sorted(reasons) == ["40/000003", "40/000004", "40/000005"]
    assert "no such file" in reasons["40/000003"]
    assert "class 300 of 300" in reasons["40/000004"]
    assert "another shape" in reasons["40/000005"]
    assert "40/000003" not in CachedRegions(store)
    with pytest.raises(CleverError, match="has no frame 40/000003"):
        CachedRegions(store).maps("40/000003")
    for number in (3, 4, 5):
        Image.fromarray(np.zeros((19, 62), np.uint8)).save(masks / f"40/{number:06}.png")
    assert class_map(store, masks).attempted == 0
    result = class_map(store, masks, retry_failed=True)
    assert (result.attempted, result.failed) == (16, [])
    (masks / "40/000018.png").unlink()
    with pytest.raises(CleverError, match=r"000018\.png: no such file"):
        class_map(store, masks, strict=True, size=(4, 6))


def test_a_stopped_run_goes_on(
    store: Path, masks: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Copy(store, tmp_path / "whole.zarr", Selection()).run(lambda _: None)
    class_map(tmp_path / "whole.zarr", masks)
    write, calls = RegionStage._write, []

    def stop_at_second(stage: RegionStage, *values: Any) -> None:
        calls.append(values[0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(stage, *values)

    with monkeypatch.context() as patch:
        patch.setattr(RegionStage, "_write", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            class_map(store, masks)
    assert problems(store) == []
    assert len(CachedRegions(store)) == 16
    assert class_map(store, masks).attempted == 3
    assert content(store) == content(tmp_path / "whole.zarr")


@pytest.mark.slow
def test_workers_write_the_same_bytes(store: Path, masks: Path, tmp_path: Path) -> None:
    Copy(store, tmp_path / "other.zarr", Selection()).run(lambda _: None)
    class_map(store, masks)
    assert class_map(tmp_path / "other.zarr", masks, workers=1).attempted == FRAMES
    assert content(tmp_path / "other.zarr") == content(store)


def test_every_damage_is_seen_and_repaired(store: Path, masks: Path) -> None:
    layer = class_map(store, masks).info.id
    intact = content(store)
    for name in [name for name in intact if name.startswith(layer)]:
        data = bytearray(intact[name])
        data[len(data) // 2] ^= 4
        (store / name).write_bytes(data)
        result = repair(RepairSettings(path=store, data_root=None))
        assert result.problems, name
        assert result.remainder == []
        assert content(store) == intact, name
    shard = store / layer / "map/c/0/0/0/0"
    shard.unlink()
    (masks / "40/000002.png").write_bytes((masks / "40/000001.png").read_bytes())
    with pytest.raises(CleverError, match="40/000002 are other files than before"):
        repair(RepairSettings(path=store, data_root=None))
    masks.rename(masks.with_name("moved"))
    with pytest.raises(CleverError, match="say where by `masks`"):
        repair(RepairSettings(path=store, data_root=None))


def test_copies_and_drops(store: Path, masks: Path, tmp_path: Path) -> None:
    before = content(store)
    layer = class_map(store, masks).info.id
    second = class_map(store, masks, size=(4, 6)).info.id
    target = tmp_path / "copy.zarr"
    Copy(store, target, Selection()).run(lambda _: None)
    assert content(target) == content(store)
    Copy(store, tmp_path / "one.zarr", Selection(regions=(second,))).run(lambda _: None)
    assert [part.info.id for part in summarise(tmp_path / "one.zarr").regions] == [second]
    drop_regions(target, layer)
    assert problems(target) == []
    assert CachedRegions(target).info.id == second
    drop_regions(target, second.removeprefix("regions/"))
    assert content(target) == before
    with pytest.raises(CleverError, match="holds no regions"):
        CachedRegions(target)
    with pytest.raises(CleverError, match="fits 0 of them"):
        drop_regions(store, "sam")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"kind": "class"}, "belongs to masks in files"),
        ({"classes": ("a",)}, "belongs to masks in files"),
        ({"from_": Path("nowhere")}, "is no folder"),
        ({"from_": Path(), "method": "slic"}, "give one of the two"),
        ({"from_": Path(), "kind": "class"}, "go together"),
        ({"from_": Path(), "kind": "class", "classes": ("a", "b", "a")}, "holds a twice"),
        ({"from_": Path(), "name": "a b", "pattern": "{id}.png"}, "use letters"),
    ],
)
def test_settings_that_do_not_go_together(
    store: Path, settings: dict[str, Any], fault: str
) -> None:
    before = content(store)
    with pytest.raises(CleverError, match=fault):
        add(store, **settings)
    assert content(store) == before


def test_real_keyframe(shared_data: Path, tmp_path: Path) -> None:
    """SLIC's segments of the six images of a nuScenes keyframe: 108 to 116 of 150 asked for."""
    pytest.importorskip("skimage")
    image = next((shared_data / "nuscenes/samples/CAM_FRONT").glob("*.jpg"))
    from clever.pipeline.regions.superpixels import slic_segments

    segments = slic_segments(load_image(image), 150, 6.0, 3.0)
    small = resize_map(segments, (224, 448))
    assert 100 < segments.max() + 1 < 120
    assert len(np.unique(small)) == segments.max() + 1
