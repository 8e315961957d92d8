"""Masks of image regions in files of the user: PNG or NPZ, one a camera image."""

import io
import zipfile
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ...cache.image_faults import DECODER_ERRORS, refuse_turned
from ...cache.store.layers import NO_REGION
from ...errors import CleverError

NUMBERED_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
"""Modes of Pillow in which a pixel is one number."""
NPY = b"\x93NUMPY"
"""How an NPY begins."""


def read_mask(path: Path, empty: int | None = None) -> tuple[NDArray[np.uint16], int]:
    """The regions in a file, (H, W) uint16, and the crc32c of the file.

    A PNG holds a number a pixel, 8 or 16 bits (a palette counts by its indices). An NPZ holds one
    array: (H, W) of whole numbers, or (N, H, W) bool, one mask a region, as SAM gives them: see
    `paint`.

    Args:
        empty: number that stands for no region.

    Raises:
        CleverError: the file is missing, damaged, holds something else or a number beyond 65534.
    """
    try:
        data = path.read_bytes()
        numbers = _npz(data) if path.suffix.lower() == ".npz" else _image(data, path)
    except FileNotFoundError as error:
        raise CleverError(f"mask {path}: no such file; restore it or mend `pattern`") from error
    except (*DECODER_ERRORS, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CleverError(f"mask {path}: cannot be read ({reason}); restore it") from error
    if numbers.ndim in (2, 3) and 0 in numbers.shape[-2:]:
        raise CleverError(f"mask {path}: has no pixels; make it of the whole image")
    if numbers.dtype == bool and numbers.ndim == 3:
        return paint(numbers.astype(bool)), google_crc32c.value(data)
    if numbers.ndim != 2 or not np.issubdtype(numbers.dtype, np.integer):
        raise CleverError(
            f"mask {path}: holds {numbers.dtype} of shape {numbers.shape}, not whole numbers "
            "(height, width) or masks (regions, height, width) of bool"
        )
    has_region = numbers != empty if empty is not None else np.ones(numbers.shape, bool)
    if (
        has_region.any()
        and not 0 <= numbers[has_region].min() <= numbers[has_region].max() < NO_REGION
    ):
        raise CleverError(
            f"mask {path}: numbers from {numbers[has_region].min()} to "
            f"{numbers[has_region].max()}; they must lie in 0..{NO_REGION - 1}"
        )
    regions = np.where(has_region, numbers, np.uint16(NO_REGION)).astype(np.uint16)
    return regions, google_crc32c.value(data)


def paint(masks: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """One map (H, W) uint16 of masks (N, H, W): region n is mask n, the smaller of two that overlap
    lies above; pixels of no mask have no region."""
    regions = np.full(masks.shape[1:], NO_REGION, np.uint16)
    for number in np.argsort(-masks.sum((1, 2)), kind="stable"):
        regions[masks[number]] = number
    return regions


def _npz(data: bytes) -> NDArray[np.generic]:
    if data.startswith(NPY):
        raise ValueError("it is an NPY; write it by numpy.savez")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        if len(arrays.files) != 1:
            raise ValueError(f"it holds {len(arrays.files)} arrays, not one")
        return arrays[arrays.files[0]]


def _image(data: bytes, path: Path) -> NDArray[np.generic]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "JPEG":
                raise ValueError("JPEG changes the numbers; write a PNG")
            if image.mode not in NUMBERED_MODES:
                raise ValueError(f"its pixels are {image.mode}, not one number each")
            refuse_turned(image, path)
            pixels = np.array(image)
    except UnidentifiedImageError as error:
        raise ValueError("no image format") from error
    return pixels.astype(np.int32) if pixels.dtype != np.uint8 else pixels
