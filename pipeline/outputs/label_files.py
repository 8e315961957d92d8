"""Labels of points as files: ``.label``, ``.npy`` and PLY."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError
from ...files import atomic_write
from ...student.segmenter import NO_LABEL
from ..pictures.class_colours import class_colours

NO_ID = 0
"""In ``.label`` files: a point without a prediction."""
CONFIDENCE = ".confidence.npy"
"""What takes the place of ``.label`` in the name of the file beside it."""


@dataclass(frozen=True, slots=True)
class LabelledPoints:
    """A cloud and what a segmenter says of it.

    Attributes:
        xyz: (N, 3) float32 or float64, metres, in the frame of their file.
        labels: (N,) uint8, positions in `class_names`, `NO_LABEL` for none.
        confidence: (N,) float32 in [0, 1], NaN for none.
        class_names: names of the classes.
        ids: id of every class in ``.label`` files.
    """

    xyz: NDArray[Any]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    class_names: Sequence[str]
    ids: Sequence[int]


def label_bytes(labels: NDArray[np.uint8], ids: Sequence[int], dtype: str) -> bytes:
    """The id of every point's class, one integer a point; `NO_ID` where there is no label."""
    table = np.full(256, NO_ID, np.dtype(dtype))
    table[: len(ids)] = ids
    table[NO_LABEL] = NO_ID
    return table[labels].tobytes()


def confidence_file(path: Path) -> Path:
    """The file of the confidence beside a ``.label`` file."""
    return path.with_name(f"{path.name.removesuffix('.label')}{CONFIDENCE}")


def write_label(path: Path, cloud: LabelledPoints) -> None:
    """``PATH.label``, little-endian uint32 ids, and beside it the confidence, (N,) float32."""
    atomic_write(confidence_file(path), _npy(cloud.confidence))
    atomic_write(path, label_bytes(cloud.labels, cloud.ids, "<u4"))


def write_npy(path: Path, cloud: LabelledPoints) -> None:
    """``PATH.npy``: a record a point, ``label`` uint8 (a position in the classes, `NO_LABEL` for
    none) and ``confidence`` float32."""
    records = np.empty(len(cloud.labels), [("label", "u1"), ("confidence", "<f4")])
    records["label"], records["confidence"] = cloud.labels, cloud.confidence
    atomic_write(path, _npy(records))


def write_ply(path: Path, cloud: LabelledPoints) -> None:
    """``PATH.ply``, binary: x, y, z as they were read, red, green, blue of the class (grey for
    none), label uchar and confidence float as in ``.npy``; the classes stand in the comments."""
    try:
        from plyfile import PlyData, PlyElement
    except ModuleNotFoundError as error:
        raise CleverError(
            "writing PLY needs the package plyfile: pip install 'clever-distiller[formats]'"
        ) from error
    colours = np.full((256, 3), 127, np.uint8)
    colours[: len(cloud.class_names)] = class_colours(cloud.class_names)
    place = "<f8" if cloud.xyz.dtype == np.float64 else "<f4"
    colour = [(name, "u1") for name in ("red", "green", "blue")]
    columns = [*((axis, place) for axis in "xyz"), *colour, ("label", "u1"), ("confidence", "<f4")]
    rows = np.empty(len(cloud.labels), columns)
    rows["x"], rows["y"], rows["z"] = cloud.xyz.T
    rows["red"], rows["green"], rows["blue"] = colours[cloud.labels].T
    rows["label"], rows["confidence"] = cloud.labels, cloud.confidence
    names = [f"label {number} {name}" for number, name in enumerate(cloud.class_names)]
    comments = [*names, f"label {NO_LABEL} no prediction"]
    buffer = io.BytesIO()
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<", comments=comments).write(buffer)
    atomic_write(path, buffer.getvalue())


WRITERS: dict[str, Callable[[Path, LabelledPoints], None]] = {
    "label": write_label,
    "npy": write_npy,
    "ply": write_ply,
}
"""Writer of every format."""


def _npy(rows: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()
