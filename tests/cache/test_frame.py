"""A frame cannot be made with an impossible calibration or pose; every reason is one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from clever.cache.calibration_checks import ORTHONORMAL, quaternion_fault
from clever.cache.frame import Camera, Frame
from clever.errors import FrameError

K = np.array([[1266.0, 0, 816], [0, 1266, 491], [0, 0, 1]])
MOTION = np.eye(4)
MOTION[:3, :3] = Rotation.from_euler("xyz", [0.3, -1.2, 2.0]).as_matrix()
MOTION[:3, 3] = (0.1, -0.4, -0.7)
TURNED = np.diag([1.0, 1, -1, 1])


def changed(matrix: NDArray[np.float64], *place: int, value: float) -> NDArray[np.float64]:
    """A copy with one other number."""
    copy = matrix.copy()
    copy[place] = value
    return copy


def frame(
    intrinsics: NDArray[np.float64] = K,
    motion: NDArray[np.float64] = MOTION,
    pose: NDArray[np.float64] = MOTION,
    size: tuple[int, int] = (1600, 900),
) -> Frame:
    good = Camera("left", Path("left.jpg"), 1600, 900, K, MOTION)
    camera = Camera("right", Path("right.jpg"), *size, intrinsics, motion)
    cloud = np.ones((2, 4), np.float32)
    return Frame("a/7", "a", 0, cloud, pose, (good, camera))


def test_what_is_possible_passes() -> None:
    assert frame().image_size.tolist() == [[1600, 900], [1600, 900]]
    frame(changed(K, 0, 1, value=3.0))  # skew
    frame(changed(K, 0, 2, value=400), size=(1600, 900))  # on the border of the middle half
    frame(changed(K, 1, 2, value=675))
    rounded = MOTION.round(3)
    assert np.abs(rounded[:3, :3] @ rounded[:3, :3].T - np.eye(3)).max() > 1e-4
    frame(motion=rounded, pose=rounded)
    far = MOTION.copy()
    far[:3, 3] = 1e6  # a pose in the world may be anywhere
    frame(pose=far)


@pytest.mark.parametrize("timestamp", [2**63, -(2**63) - 1, int(1e300)])
def test_a_time_that_no_store_keeps(timestamp: int) -> None:
    good = frame()
    replace(good, timestamp=timestamp - 1 if timestamp == 2**63 else 0)
    with pytest.raises(FrameError, match=r"^frame a/7: its timestamp is -?\S+e\+\d+ micro.* no ti"):
        replace(good, timestamp=timestamp)


@pytest.mark.parametrize(
    ("intrinsics", "reason"),
    [
        (changed(K, 0, 0, value=0), "its focal lengths are 0 and 1266, not positive"),
        (changed(K, 1, 1, value=-1266), "its focal lengths are 1266 and -1266, not positive"),
        (changed(K, 0, 0, value=np.nan), "its intrinsics are not finite"),
        (changed(K, 0, 2, value=np.inf), "its intrinsics are not finite"),
        (changed(K, 2, 2, value=0), "the last row of its intrinsics is 0 0 0, not 0 0 1"),
        (changed(K, 2, 0, value=0.1), "the last row of its intrinsics is 0.1 0 1, not 0 0 1"),
        (K.T.copy(), "the last row of its intrinsics is 816 491 1, not 0 0 1"),
        (changed(K, 1, 0, value=2), "its intrinsics have 2 below the diagonal, not 0"),
        (changed(K, 0, 0, value=1.266), "its focal lengths are 1.266 and 1266 pixels"),
        (changed(K, 1, 1, value=1e9), "its focal lengths are 1266 and 1e\\+09 pixels"),
        (np.eye(4), "its intrinsics are 4 x 4, not 3 x 3"),
        (changed(K, 0, 2, value=399), r"its principal point \(399, 491\) lies outside"),
        (changed(K, 1, 2, value=676), r"its principal point \(816, 676\) lies outside"),
    ],
)
def test_impossible_intrinsics(intrinsics: NDArray[np.float64], reason: str) -> None:
    with pytest.raises(FrameError, match=rf"^frame a/7: camera right: {reason}") as error:
        frame(intrinsics)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(800, 450), (3400, 1900), (0, 900), (70000, 900), (1600, 2**16)])
def test_an_image_of_another_size_than_the_calibrations(size: tuple[int, int]) -> None:
    width, height = size
    with pytest.raises(FrameError, match=rf"^frame a/7: camera right: .*{width} ?x ?{height}"):
        frame(size=size)


BAD_MOTIONS = {
    "is not finite": changed(MOTION, 1, 3, value=np.nan),
    "has the last row 0 0 0.5 1": changed(MOTION, 3, 2, value=0.5),
    "is singular": changed(np.eye(4), 1, 1, value=0),
    "does not rotate": MOTION * [1.01, 1.01, 1.01, 1],
    "is a reflection": MOTION @ TURNED,
    "is 3 x 4, not 4 x 4": MOTION[:3],
}


@pytest.mark.parametrize("reason", BAD_MOTIONS)
def test_what_is_no_motion(reason: str) -> None:
    with pytest.raises(FrameError, match=rf"^frame a/7: camera right: .*LiDAR {reason}"):
        frame(motion=BAD_MOTIONS[reason])
    with pytest.raises(FrameError, match=rf"^frame a/7: the pose of the LiDAR {reason}"):
        frame(pose=BAD_MOTIONS[reason])


def test_a_camera_in_millimetres() -> None:
    with pytest.raises(FrameError, match=r"camera right: it is 812.404 m from the LiDAR"):
        frame(motion=np.block([[MOTION[:3, :3], 1000 * MOTION[:3, 3:]], [0, 0, 0, 1]]))


def test_quaternions_have_length_one() -> None:
    unit = np.array([0.5, -0.5, 0.5, -0.5])
    assert quaternion_fault(unit) == quaternion_fault(unit * (1 + 0.9 * ORTHONORMAL)) == ""
    assert quaternion_fault(unit * (1 + 1.1 * ORTHONORMAL)) == "has the length 1.0022, not 1"
    assert quaternion_fault(np.zeros(4)) == "has the length 0, not 1"
    assert quaternion_fault(unit[:3]) == "has 3 numbers, not 4"
    assert quaternion_fault(changed(unit, 2, value=np.nan)) == "is not finite"
