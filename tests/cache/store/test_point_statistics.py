"""Statistics of intensities, frame by frame and over all of them."""

import numpy as np
import pytest

from clever.cache.store.point_statistics import bounds_of, intensity_of, is_dark, total_intensity
from clever.cache.store.records.models import FrameRecord


def test_frames_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    clouds = [rng.random((n, 4)).astype(np.float32) * n / 100 for n in (3, 50, 100)]
    records = [
        FrameRecord(n, f"f{n}", points=len(cloud), intensity=intensity_of(cloud))
        for n, cloud in enumerate(clouds)
    ]
    together = np.concatenate(clouds)[:, 3].astype(np.float64)
    total = total_intensity([*records, FrameRecord(9, "older", points=7)])
    assert total is not None
    assert total.mean == pytest.approx(together.mean(), rel=1e-12)
    assert total.std == pytest.approx(together.std(), rel=1e-12)
    assert (total.lowest, total.highest) == (together.min(), together.max())
    assert total_intensity([FrameRecord(9, "older", points=7)]) is None


def test_bounds_and_darkness() -> None:
    cloud = np.array([[1, -2, 3, 9], [4, 0, -6, 9]], np.float32)
    assert bounds_of(cloud).tolist() == [[1, -2, -6], [4, 0, 3]]
    assert [is_dark(value) for value in (0.0, 1 / 255, 0.0999, 0.1)] == [False, True, True, False]
