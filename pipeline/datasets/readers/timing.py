"""Files matched by their time stamps, and where a car was between two poses."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp


def nearest(times: NDArray[np.int64], time: int, largest_gap: int) -> int | None:
    """Position of the entry of `times`, ascending, that is closest to `time`; the earlier of two
    equally close ones, None where the closest is more than `largest_gap` away. All in one unit."""
    if not len(times):
        return None
    after = int(np.searchsorted(times, time))
    candidates = [position for position in (after - 1, after) if 0 <= position < len(times)]
    closest = min(candidates, key=lambda position: abs(int(times[position]) - time))
    return closest if abs(int(times[closest]) - time) <= largest_gap else None


class PoseTrack:
    """Poses over time, between which the car moves evenly: straight in position, by the shortest
    turn in orientation.

    Args:
        times: (N,) int64, ascending and distinct, any unit.
        poses: (N, 4, 4) float64, rigid; world <- car.

    Raises:
        ValueError: no pose, not one pose a time, or times that do not ascend.
    """

    def __init__(
        self, times: Sequence[int] | NDArray[np.int64], poses: NDArray[np.float64]
    ) -> None:
        self.times = np.asarray(times, np.int64)
        self.poses = np.asarray(poses, np.float64)
        if not len(self.times):
            raise ValueError("there are no poses")
        if self.poses.shape != (len(self.times), 4, 4):
            raise ValueError(f"there are {len(self.times)} times but {len(self.poses)} poses")
        if (np.diff(self.times) <= 0).any():
            raise ValueError("the times of the poses do not ascend")

    def at(self, time: int) -> NDArray[np.float64]:
        """(4, 4) float64 world <- car at `time`; exact at the given times.

        Raises:
            ValueError: before the first pose or after the last one.
        """
        first, last = int(self.times[0]), int(self.times[-1])
        if not first <= time <= last:
            raise ValueError(
                f"time {time} lies outside the poses, which reach from {first} to {last}"
            )
        after = int(np.searchsorted(self.times, time))
        if int(self.times[after]) == time:
            return self.poses[after].copy()
        start, end = self.poses[after - 1], self.poses[after]
        span = int(self.times[after]) - int(self.times[after - 1])
        share = (time - int(self.times[after - 1])) / span
        rotations = Rotation.from_matrix(np.stack([start[:3, :3], end[:3, :3]]))
        result = np.eye(4)
        result[:3, :3] = Slerp([0.0, 1.0], rotations)(share).as_matrix()
        result[:3, 3] = (1 - share) * start[:3, 3] + share * end[:3, 3]
        return result
