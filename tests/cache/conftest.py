"""Small stores written frame by frame, with every value known to the test."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clever.cache.codec import Statistics, calibrate, encode
from clever.cache.frame import Camera, Frame
from clever.cache.projection import Correspondences
from clever.cache.store import Store, TeacherInfo
from clever.cache.writer import GridShard, PointShard


@dataclass
class Written:
    """A store and what was put in, by frame id."""

    path: Path
    info: TeacherInfo
    frames: dict[str, Frame]
    pairs: dict[str, Correspondences]
    features: dict[str, torch.Tensor]
    hits: dict[str, NDArray[np.bool_]]


def random_frame(rng: np.random.Generator, frame_id: str, scene: str, points: int) -> tuple[Frame, Correspondences]:
    """A frame of two cameras of different sizes with random points and random pairs."""
    sizes = ((1600, 900), (1242, 375))
    cameras = tuple(
        Camera(name, Path(f"{name}.png"), *size, np.eye(3), np.eye(4))
        for name, size in zip(("left", "right"), sizes, strict=True)
    )
    cloud = rng.normal(size=(points, 4)).astype(np.float32)
    frame = Frame(frame_id, scene, int(rng.integers(2**60)), cloud, rng.normal(size=(4, 4)), cameras)
    counts = [points // 3, points // 2]
    point = np.concatenate([np.sort(rng.choice(points, count, replace=False)) for count in counts])
    uv = np.concatenate([rng.uniform(1, np.array(size) - 1, (n, 2)) for size, n in zip(sizes, counts, strict=True)])
    return frame, Correspondences(point.astype(np.uint32), uv, np.cumsum([0, *counts]))


@pytest.fixture
def write_store(tmp_path: Path) -> Callable[..., Written]:
    """Writes a store of frames with the given numbers of points, two cameras and a 3 x 5 grid of 7 channels."""

    def write(points: list[int], codec: str = "int8", tokens: str = "grid", name: str = "store.zarr") -> Written:
        rng = np.random.default_rng(7)
        path = tmp_path / name
        store = Store.open_or_create(path, {"dataset": "made", "cameras": ["left", "right"]})
        ids = [f"frame-{number}" for number in range(len(points))]
        scenes = [f"scene-{number // 2}" for number in range(len(points))]
        store.extend(ids, scenes)
        info = store.add_teacher("made-3x5", "made up", (3, 5), 7, codec, tokens, {"model": "made"})
        made = [random_frame(rng, *job) for job in zip(ids, scenes, points, strict=True)]
        features = {frame: torch.from_numpy(rng.normal(size=(2, 3, 5, 7)).astype(np.float32)) for frame in ids}
        calibration = calibrate([Statistics.of(feature) for feature in features.values()], codec)
        hits = {frame: rng.random((2, 3, 5)) < 0.6 for frame in ids} if tokens == "hit" else {}
        if calibration:
            store.set_calibration(info, calibration)
        for shard in store.pending("points", store.rows_of(ids)):
            point_shard, grid_shard = PointShard(store, shard), GridShard(store, info, shard)
            for row in store.shard_rows(shard):
                frame, pairs = made[ids.index(store.ids[row])]
                point_shard.add(row, frame, pairs)
                grid_shard.add(row, encode(features[frame.id], codec, calibration)[0].numpy(), hits.get(frame.id))
            point_shard.commit()
            grid_shard.commit()
        store.finalise()
        frames = {frame.id: frame for frame, _ in made}
        return Written(path, info, frames, {frame.id: pairs for frame, pairs in made}, features, hits)

    return write
