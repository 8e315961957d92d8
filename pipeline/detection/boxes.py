"""Upright 3D boxes."""

from dataclasses import dataclass

import torch
from torch import Tensor

CORNER_SIGNS = (
    (1, 1, -1),
    (-1, 1, -1),
    (-1, -1, -1),
    (1, -1, -1),
    (1, 1, 1),
    (-1, 1, 1),
    (-1, -1, 1),
    (1, -1, 1),
)
"""Corners of a box by the signs of their places ahead, to the left and above: those below
counter-clockwise as seen from above, then those above."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes that stand upright in a frame of reference whose z points up: the LiDAR frame unless
    it is said otherwise.

    Attributes:
        rows: (N, 7) of a floating type, on any device: x, y, z of the centre, length (ahead),
            width, height in metres, and yaw in radians, counter-clockwise from x to the box's
            heading.

    Raises:
        ValueError: another shape or type.
    """

    rows: Tensor

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape[1] != 7 or not self.rows.is_floating_point():
            raise ValueError(f"boxes are (N, 7) real numbers, not {tuple(self.rows.shape)}")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> "Boxes":
        """Boxes of an index (K,) int64, a mask (N,) or a slice."""
        return Boxes(self.rows[index])

    @property
    def centres(self) -> Tensor:
        """(N, 3), metres."""
        return self.rows[:, :3]

    @property
    def sizes(self) -> Tensor:
        """(N, 3): length, width, height, metres."""
        return self.rows[:, 3:6]

    @property
    def yaws(self) -> Tensor:
        """(N,), radians, not wrapped."""
        return self.rows[:, 6]

    def corners(self) -> Tensor:
        """(N, 8, 3), metres, in the order of `CORNER_SIGNS`."""
        signs = self.rows.new_tensor(CORNER_SIGNS)
        local = signs * self.sizes[:, None, :] / 2
        return (
            torch.cat([turn(local[..., :2], self.yaws[:, None]), local[..., 2:]], -1)
            + (self.centres[:, None, :])
        )

    def local(self, points: Tensor) -> Tensor:
        """(N, P, 3): points (P, 3) in every box's own frame, the centre its origin, x ahead."""
        offset = points[None, :, :] - self.centres[:, None, :]
        return torch.cat([turn(offset[..., :2], -self.yaws[:, None]), offset[..., 2:]], -1)

    def contain(self, points: Tensor) -> Tensor:
        """(N, P) bool: whether points (P, 3) lie in the boxes or on their surface."""
        return (self.local(points).abs() <= self.sizes[:, None, :] / 2).all(-1)


def turn(xy: Tensor, angle: Tensor) -> Tensor:
    """(..., 2) coordinates turned counter-clockwise by angles (...) in radians."""
    cosine, sine = angle.cos(), angle.sin()
    x, y = xy.unbind(-1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)


def wrapped(angle: Tensor) -> Tensor:
    """Angles in [-pi, pi), radians."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
