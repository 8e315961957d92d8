"""What every cloud must be, wherever it comes from: one rule for stage one, for training from
labels and for bare files. A bare file alone may be small, since nothing is trained on it."""

import numpy as np
from numpy.typing import NDArray

FARTHEST = 2**15 * 0.05
"""Metres from the sensor along an axis: a cloud within it spans fewer than 2^16 voxels of 0.05 m,
as many as a student can count; no LiDAR sees half as far."""
SMALLEST = 1.0
"""Metres that a sweep spans along its longest axis, at least; a scan of a single spot teaches
nothing, and has no batch statistics."""
ENCODINGS = {"big-endian float32": ">f4", "float64": "<f8", "big-endian float64": ">f8"}
"""What a flat file of little-endian float32 may be instead."""
INTEGERS = {"int32": "<i4", "big-endian int32": ">i4"}
"""The same in whole millimetres or centimetres: as floats they are as good as zero, or NaN."""


def sweep_fault(xyz: NDArray[np.floating]) -> str:
    """Why finite positions (N, 3), in metres around the sensor, are of no use; empty where they
    are."""
    return reach_fault(xyz) or size_fault(xyz)


def size_fault(xyz: NDArray[np.floating]) -> str:
    """Why positions (N, 3) are too few or too close together for a sweep; empty where they are
    not."""
    if not len(xyz):
        return "holds no points"
    span = max(float(np.ptp(column)) for column in xyz.T)
    if span >= SMALLEST:
        return ""
    points = "its only point spans" if len(xyz) == 1 else f"its {len(xyz)} points span"
    return f"is too small: {points} {span:g} m, a sweep at least {SMALLEST:g} m"


def reach_fault(xyz: NDArray[np.floating]) -> str:
    """Why positions (N, 3) are not in metres around the sensor; empty where they may be."""
    if np.abs(xyz).max(initial=0) < FARTHEST:
        return ""
    reach = np.abs(xyz).max(1, initial=0)
    if not (reach >= FARTHEST).any():  # one is not finite
        return ""
    farthest = int(reach.argmax())
    middle = float(np.median(reach))
    if middle >= FARTHEST / 4:
        return (
            f"has coordinates up to {_metres(reach.max())}, and half of its points lie beyond "
            f"{_metres(middle)}: "
            "these are not metres around the sensor (millimetres, or a map's frame?)"
        )
    count = int((reach >= FARTHEST).sum())
    return (
        f"has {count} of {len(reach)} points more than {FARTHEST:g} m from the sensor, the "
        f"farthest, point {farthest}, at {_metres(reach[farthest])}"
    )


def _metres(value: float) -> str:
    return f"{value:.0f} m" if value < 1e9 else f"{value:g} m"


def other_encoding(data: bytes, columns: int, brightest: float) -> str:
    """What the bytes of a flat file that make no sense as little-endian float32 are instead; empty
    where nothing else makes sense either.

    Args:
        columns: numbers a point: x, y, z, intensity, ...
        brightest: the file's value of full intensity.
    """
    for name, dtype in ENCODINGS.items():
        if len(data) % (np.dtype(dtype).itemsize * columns):
            continue
        with np.errstate(invalid="ignore"):
            rows = np.frombuffer(data, dtype).reshape(-1, columns)[:, :4].astype(np.float64)
        if not np.isfinite(rows).all():
            continue
        xyz, intensity = rows[:, :3], rows[:, 3]
        # Numbers of the wrong byte order are as good as zero or as good as infinite.
        sensible = not sweep_fault(xyz) and np.median(np.abs(xyz)) > 1e-3
        if sensible and intensity.min() >= 0 and intensity.max() <= brightest:
            return name
    for name, dtype in INTEGERS.items():
        xyz = np.abs(np.frombuffer(data, dtype).reshape(-1, columns)[:, :3].astype(np.int64))
        # Floats of a metre are whole numbers of about 10^9.
        if xyz.max() < 1000 * FARTHEST and np.median(xyz) >= 10:
            return name
    return ""
