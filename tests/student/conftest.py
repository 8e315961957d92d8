"""Small clouds for the students' tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from clever.student.points import PointBatch

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_batch() -> Callable[..., PointBatch]:
    """Random clouds of the given sizes, within `extent` metres of the sensor."""

    def make(*counts: int, extent: float = 4.0, seed: int = 0) -> PointBatch:
        draw = np.random.default_rng(seed)
        low, high = [-extent, -extent, -extent / 4, 0], [extent, extent, extent / 4, 1]
        return PointBatch.from_clouds(
            [torch.from_numpy(draw.uniform(low, high, (n, 4))).float() for n in counts]
        )

    return make


@pytest.fixture
def keyframe() -> PointBatch:
    """The real nuScenes keyframe, intensity scaled to [0, 1]."""
    files = sorted((DATA / "nuscenes/samples/LIDAR_TOP").glob("*.bin"))
    if not files:
        pytest.skip("needs the real nuScenes keyframe in ../shared/data/nuscenes")
    cloud = torch.from_numpy(np.fromfile(files[0], np.float32).reshape(-1, 5)[:, :4].copy())
    return PointBatch.from_clouds([cloud / torch.tensor([1, 1, 1, 255.0])])
