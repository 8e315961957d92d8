"""A labelled dataset in memory and a small feature cache on disk, for the jobs that train and
measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clever.cache.codec import Statistics, calibrate, encode
from clever.cache.frame import Camera, Frame
from clever.cache.projection import Correspondences
from clever.cache.store.records.models import PointSettings
from clever.cache.store.store import Store
from clever.cache.store.writer import GridShard, PointShard
from clever.errors import FrameError
from clever.pipeline.corruptions.sweep import Sweep
from clever.pipeline.datasets import IGNORE
from clever.pipeline.drives import CameraModel, Recipe, Truth, seconds
from clever.pipeline.drives.raycast import Rays
from clever.pipeline.drives.world import cast

SIZES = ((64, 32), (40, 40))
"""Of the two cameras of `make_cache`."""


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class LabelledDataset:
    """Frames by id with clouds (N, 4) and labels (N,); frames in `broken` raise, those without
    labels have None."""

    clouds: Mapping[str, NDArray[np.float32]]
    truth: Mapping[str, NDArray[np.uint8] | None]
    broken: frozenset[str] = frozenset()
    name: str = "semantickitti"
    cameras: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ("low", "middle", "high", "never")
    frame_ids: list[str] = field(init=False)
    scenes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.frame_ids = list(self.clouds)
        self.scenes = [name.split("/")[0] for name in self.clouds]

    def __len__(self) -> int:
        return len(self.frame_ids)

    def frame(self, index: int) -> Frame:
        raise NotImplementedError

    def points(self, index: int) -> NDArray[np.float32]:
        name = self.frame_ids[index]
        if name in self.broken:
            raise FrameError(name, f"cannot read {name}.bin")
        return self.clouds[name]

    def has_labels(self, index: int) -> bool:
        return self.truth[self.frame_ids[index]] is not None

    def labels(self, index: int) -> NDArray[np.uint8]:
        labels = self.truth[self.frame_ids[index]]
        assert labels is not None
        return labels


@pytest.fixture
def truth_at() -> Callable[..., Truth]:
    """What generated drives show at continuous pixel positions."""

    def cast_at(
        recipe: Recipe, scene: int, keyframe: int, camera: CameraModel, pixels: NDArray[np.floating]
    ) -> Truth:
        """One ray a pixel (N, 2), cast in float64; arrays of the truth are (N,)."""
        world, time = recipe.world(scene), seconds(keyframe, camera.trigger)
        k = camera.intrinsics(recipe.image_width)
        x, y = ((pixels.astype(np.float64) - k[:2, 2]) / k[0, 0]).T[:, :, None]
        rays = Rays(world.ego.at(time) @ camera.ego_from_camera, x, y, np.ones_like(x))
        placed = world.at(time)
        hits = cast(rays, placed, world.street)
        label, instance = world.labels(hits, placed, rays)
        with np.errstate(divide="ignore"):
            depth = (1 / hits.inverse[:, 0]).astype(np.float32)
        return Truth(depth, label[:, 0], instance[:, 0])

    return cast_at


@pytest.fixture
def make_labelled() -> Callable[..., LabelledDataset]:
    """Makes a dataset of frames with 150 points each; the class is the height, every tenth point
    has none."""

    def make(
        names: tuple[str, ...],
        broken: tuple[str, ...] = (),
        unlabelled: tuple[str, ...] = (),
        seed: int = 0,
    ) -> LabelledDataset:
        rng = np.random.default_rng(seed)
        clouds = {
            name: rng.uniform([-4, -4, -1, 0], [4, 4, 2, 1], (150, 4)).astype(np.float32)
            for name in names
        }
        truth: dict[str, NDArray[np.uint8] | None] = {}
        for name, cloud in clouds.items():
            labels = np.digitize(cloud[:, 2], [0, 1]).astype(np.uint8)
            labels[::10] = IGNORE
            truth[name] = None if name in unlabelled else labels
        return LabelledDataset(clouds, truth, frozenset(broken))

    return make


def pinhole(width: int, height: int) -> NDArray[np.float64]:
    """(3, 3) intrinsics of a camera that looks through the middle of its image."""
    return np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])


def toy_frame(rng: np.random.Generator, number: int, paired: bool) -> tuple[Frame, Correspondences]:
    """A street of a floor and a wall; the left camera sees a third of its points, the right one a
    half."""
    floor = rng.uniform([-6, -6, -1.5, 0], [6, 6, -1.4, 0.3], (120, 4))
    wall = rng.uniform([-6, 5, -1.5, 0.5], [6, 5.2, 2, 1], (80, 4))
    points = np.concatenate([floor, wall]).astype(np.float32)
    cameras = tuple(
        Camera(name, Path(f"{name}.png"), *size, pinhole(*size), np.eye(4))
        for name, size in zip(("left", "right"), SIZES, strict=True)
    )
    frame = Frame(f"frame-{number}", f"scene-{number // 2}", number, points, np.eye(4), cameras)
    counts = [66, 100] if paired else [0, 0]
    point_indices = [np.sort(rng.choice(len(points), count, replace=False)) for count in counts]
    place = (points[:, :2] + 6) / 12.5
    uv = np.concatenate(
        [
            1 + place[index] * (np.array(size) - 3)
            for index, size in zip(point_indices, SIZES, strict=True)
        ]
    )
    return frame, Correspondences(
        np.concatenate(point_indices).astype(np.uint32), uv, np.cumsum([0, *counts])
    )


def _add_second(store: Store, frames: int, lacking: tuple[int, ...]) -> None:
    info = store.add_teacher(
        "other-2x2", "drawn too", (2, 2), 8, "int8", "grid", {"model": "other"}
    )
    features = torch.randn(2, 2, 2, 8, generator=torch.Generator().manual_seed(1))
    calibration = calibrate([Statistics.of(features)], "int8")
    assert calibration
    store.set_calibration(info, calibration)
    grid = GridShard(store, info, 0)
    for number in range(frames):
        if number in lacking:
            grid.fail(number, "no image")
        else:
            grid.add(number, encode(features, "int8", calibration)[0].numpy(), None)
    grid.commit()


@pytest.fixture
def make_cache(tmp_path: Path) -> Callable[..., Path]:
    """Writes a store of five frames, unless told otherwise; `unpaired` have no pairs, `broken` have
    NaN tokens.

    A second teacher, of 8 channels and int8, has all frames but those in `lacking`.
    """

    def make(
        unpaired: tuple[int, ...] = (),
        broken: tuple[int, ...] = (),
        name: str = "toy.zarr",
        second: bool = False,
        lacking: tuple[int, ...] = (),
        splits: tuple[str, ...] = (),
        scenes: tuple[str, ...] = (),
        dataset: str = "toy",
        frames: int = 5,
        grid_size: tuple[int, int] = (3, 5),
        fingerprint: Mapping[str, Any] | None = None,
        seed: int = 3,
    ) -> Path:
        rng = np.random.default_rng(seed)
        store = Store.open_or_create(tmp_path / name, PointSettings(dataset, ("left", "right")))
        samples = [toy_frame(rng, number, number not in unpaired) for number in range(frames)]
        samples = [
            (replace(frame, split=split, scene=(scenes or (frame.scene,) * frames)[number]), pairs)
            for number, ((frame, pairs), split) in enumerate(
                zip(samples, splits or ("",) * frames, strict=True)
            )
        ]
        store.extend([frame.id for frame, _ in samples], [frame.scene for frame, _ in samples])
        info = store.add_teacher(
            "toy-{}x{}".format(*grid_size),
            "drawn at random",
            grid_size,
            6,
            "fp16",
            "grid",
            {"model": "toy", **(fingerprint or {})},
        )
        points, grid = PointShard(store, 0), GridShard(store, info, 0)
        features = 1 + rng.normal(size=(2, *grid_size, 6))
        for number, (frame, pairs) in enumerate(samples):
            points.add(number, frame, pairs)
            tokens = np.full_like(features, np.nan) if number in broken else features
            grid.add(number, tokens.astype(np.float16), None)
        points.commit()
        grid.commit()
        if second:
            _add_second(store, len(samples), lacking)
        store.finalise()
        return tmp_path / name

    return make


@pytest.fixture
def make_sweep() -> Callable[..., Sweep]:
    """Points all around a sensor 1.8 m above level ground: rings from below, ground at the lower
    ones, things of two classes of vehicles at the others."""

    def make(azimuths: int = 40, rings: int = 32, seed: int = 0) -> Sweep:
        draw = np.random.default_rng(seed)
        azimuth = np.tile(np.linspace(0, 2 * np.pi, azimuths, endpoint=False), (rings, 1))
        elevation = np.radians(np.linspace(-30, 10, rings))[:, None] + 0 * azimuth
        flat = 1.8 / np.tan(np.radians(np.linspace(30, 3, rings)))
        distance = np.where(elevation < -0.05, 1.8 / np.sin(np.maximum(-elevation, 0.05)), 20.0)
        distance = np.minimum(distance, flat.max()) * draw.uniform(0.98, 1.02, distance.shape)
        xyz = np.stack(
            [
                distance * np.cos(elevation) * np.cos(azimuth),
                distance * np.cos(elevation) * np.sin(azimuth),
                distance * np.sin(elevation),
            ],
            -1,
        ).reshape(-1, 3)
        intensity = draw.uniform(0.02, 0.6, (len(xyz), 1))
        points = np.concatenate([xyz, intensity], 1).astype(np.float32)
        ring = np.repeat(np.arange(rings), azimuths)
        ground = ring < rings // 2
        vehicle = np.full(len(points), -1, np.int16)
        others = np.flatnonzero(~ground)
        vehicle[others[: len(others) // 2]] = 3
        vehicle[others[-10:]] = 7
        return Sweep(points, ring, ground, vehicle)

    return make
