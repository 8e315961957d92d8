"""Matching by time and poses between two others, against brute force and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from clever.pipeline.datasets.readers.timing import PoseTrack, nearest


@given(
    st.lists(st.integers(-50, 50), unique=True).map(sorted),
    st.integers(-60, 60),
    st.integers(0, 20),
)
def test_nearest_is_that_of_brute_force(times: list[int], time: int, gap: int) -> None:
    position = nearest(np.array(times, np.int64), time, gap)
    distances = [abs(entry - time) for entry in times]
    if not times or min(distances) > gap:
        assert position is None
    else:
        assert position == distances.index(min(distances))


def poses() -> np.ndarray:
    track = np.tile(np.eye(4), (3, 1, 1))
    for number, yaw in enumerate((0.0, 30.0, 90.0)):
        track[number, :3, :3] = Rotation.from_euler("z", yaw, degrees=True).as_matrix()
        track[number, :3, 3] = (10.0 * number, number**2, -1.0)
    return track


def test_between_two_poses_the_car_moves_evenly() -> None:
    track = PoseTrack([100, 200, 400], poses())
    # A quarter of the way from the second pose, at 10 1 -1, to the third, at 20 4 -1.
    result = track.at(250)
    np.testing.assert_allclose(result[:3, 3], (12.5, 1.75, -1.0), atol=1e-12)
    yaw = Rotation.from_matrix(result[:3, :3]).as_euler("zyx", degrees=True)
    np.testing.assert_allclose(yaw, (45, 0, 0), atol=1e-9)
    assert result[3].tolist() == [0, 0, 0, 1]


def test_at_the_given_times_poses_are_exact() -> None:
    track = PoseTrack([100, 200, 400], poses())
    for time, pose in zip((100, 200, 400), poses(), strict=True):
        assert (track.at(time) == pose).all()
    track.at(100)[0, 3] = 7
    assert track.at(100)[0, 3] == 0  # a copy


@pytest.mark.parametrize("time", [99, 401])
def test_outside_the_poses_is_refused(time: int) -> None:
    with pytest.raises(ValueError, match=f"time {time} lies outside .* from 100 to 400"):
        PoseTrack([100, 200, 400], poses()).at(time)


@pytest.mark.parametrize(
    ("times", "count", "reason"),
    [
        ([], 0, "there are no poses"),
        ([1, 2], 3, "2 times but 3 poses"),
        ([1, 3, 3], 3, "do not ascend"),
    ],
)
def test_impossible_tracks(times: list[int], count: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PoseTrack(times, poses()[:count])
