"""Label files and result files of KITTI's object benchmark: one object a line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import FrameError
from ....files import atomic_write
from .text_rows import number_row, text_lines

NO_BOX = "DontCare"
"""Name of labels that are regions of the image alone; their numbers in space mean nothing."""
_LABEL_COLUMNS, _RESULT_COLUMNS = 14, 15
"""Numbers after the name of an object: a result has a score besides."""


@dataclass(frozen=True, slots=True)
class KittiObjects:
    """Objects of one frame, in the order of the file's lines.

    The rectified frame of camera 0 is x right, y down, z ahead, metres.

    Attributes:
        names: ``Car``, ``Pedestrian``, ``DontCare``, ...
        truncated: (N,) float64, share of the object that leaves the image; -1 not known.
        occluded: (N,) float64: 0 not, 1 partly, 2 largely, 3 unknown; -1 not known.
        alpha: (N,) float64, radians, the angle that it is seen under.
        image_boxes: (N, 4) float64, pixels: left, top, right, bottom.
        sizes: (N, 3) float64, metres: length, width, height (the file has them the other way).
        bottoms: (N, 3) float64, metres, centre of the lower side in rectified camera 0.
        rotations: (N,) float64, radians about y, from x to the heading, towards -z.
        scores: (N,) float64 of results, more being surer; None of labels.
    """

    names: tuple[str, ...]
    truncated: NDArray[np.float64]
    occluded: NDArray[np.float64]
    alpha: NDArray[np.float64]
    image_boxes: NDArray[np.float64]
    sizes: NDArray[np.float64]
    bottoms: NDArray[np.float64]
    rotations: NDArray[np.float64]
    scores: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, mask: NDArray[np.bool_]) -> "KittiObjects":
        """Objects of a mask (N,)."""
        return KittiObjects(
            tuple(name for name, one in zip(self.names, mask, strict=True) if one),
            self.truncated[mask],
            self.occluded[mask],
            self.alpha[mask],
            self.image_boxes[mask],
            self.sizes[mask],
            self.bottoms[mask],
            self.rotations[mask],
            None if self.scores is None else self.scores[mask],
        )

    def text(self) -> str:
        """The lines of the file, numbers to six digits after the point; none without objects."""
        if not len(self):
            return ""
        parts = [self.truncated, self.occluded, self.alpha, self.image_boxes]
        parts += [self.sizes[:, ::-1], self.bottoms, self.rotations]
        if self.scores is not None:
            parts.append(self.scores)
        rows = np.concatenate([part.reshape(len(self), -1) for part in parts], 1)
        return "".join(
            f"{name} {row[0]:.6g} {row[1]:.0f} {' '.join(f'{value:.6f}' for value in row[2:])}\n"
            for name, row in zip(self.names, rows, strict=True)
        )


def lidar_rows(
    objects: KittiObjects, camera0_from_lidar: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 7) float64: objects as upright boxes in the LiDAR frame: x, y, z of the centre, length,
    width, height, yaw counter-clockwise from x.

    Centres are carried over exactly; the heading is the projection of KITTI's onto the LiDAR's
    x-y plane. A box upright in one frame leans in the other by the angle between their vertical
    axes, which no box of seven numbers can say. (OpenPCDet takes the yaw to be
    -(rotation + pi / 2) and raises the lower side along the LiDAR's z: the same for a camera that
    looks along the LiDAR's x.)

    Args:
        camera0_from_lidar: (4, 4), rectified camera 0 <- LiDAR.
    """
    rotation, shift = camera0_from_lidar[:3, :3], camera0_from_lidar[:3, 3]
    centres = objects.bottoms.copy()
    centres[:, 1] -= objects.sizes[:, 2] / 2
    angle = objects.rotations
    heading = np.stack([np.cos(angle), np.zeros(len(angle)), -np.sin(angle)], 1) @ rotation
    yaws = np.arctan2(heading[:, 1], heading[:, 0])
    return np.concatenate([(centres - shift) @ rotation, objects.sizes, yaws[:, None]], 1)


def read_objects(frame: str, path: Path, scored: bool = False) -> KittiObjects:
    """Read a label file, or a result file.

    Args:
        frame: id of the frame, for errors.
        scored: whether it is a result file, whose lines end in a score.

    Raises:
        FrameError: no such file, a line that is not a name and 14 (of results 15) finite numbers,
            or a label without a size that is not `NO_BOX`.
    """
    try:
        lines = text_lines(path)
    except OSError as error:
        raise FrameError(
            frame, f"cannot read the objects {path}: {error.strerror}; restore the file"
        ) from error
    names: list[str] = []
    rows: list[NDArray[np.float64]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            name, *words = line.split()
            kind = "results" if scored else "labels"
            try:
                rows.append(number_row(" ".join(words), _columns(scored)))
            except ValueError as error:
                raise FrameError(
                    frame,
                    f"{path} line {number} {error} after the name; restore the file of {kind}",
                ) from error
            names.append(name)
            if not scored and (fault := _size_fault(name, rows[-1][7:10])):
                raise FrameError(frame, f"{path} line {number} {fault}; restore the file of {kind}")
    return _objects(names, rows, scored)


def write_objects(path: Path, objects: KittiObjects) -> None:
    """Write a file of labels, or of results where there are scores; raises CleverError where that
    cannot be done."""
    atomic_write(path, objects.text())


def _size_fault(name: str, size: NDArray[np.float64]) -> str:
    """What is wrong with the height, width and length of a label; empty where nothing is."""
    if name == NO_BOX or (size > 0).all():
        return ""
    height, width, length = size
    return f"has a {name} of {length:g} x {width:g} x {height:g} m; {NO_BOX} alone has no size"


def _columns(scored: bool) -> int:
    return _RESULT_COLUMNS if scored else _LABEL_COLUMNS


def _objects(
    names: Sequence[str], rows: Sequence[NDArray[np.float64]], scored: bool
) -> KittiObjects:
    table = np.array(rows, np.float64).reshape(len(rows), _columns(scored))
    return KittiObjects(
        tuple(names),
        table[:, 0],
        table[:, 1],
        table[:, 2],
        table[:, 3:7],
        table[:, [9, 8, 7]],
        table[:, 10:13],
        table[:, 13],
        table[:, 14] if scored else None,
    )
