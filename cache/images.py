"""Camera images: decoding with errors that name the file, and the one resize that every teacher
shares."""

import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..errors import CleverError

Resize = Literal["bilinear-antialias", "bilinear"]
"""Resize filter: bilinear with (a triangle as wide as the reduction, as Pillow does) or without
antialiasing."""

_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def load_image(
    path: Path | str, width: int | None = None, height: int | None = None
) -> NDArray[np.uint8]:
    """Decode an image file to (H, W, 3) uint8 RGB; grey values are repeated, an alpha channel is
    dropped.

    Args:
        width, height: the size that the calibration was made for, in pixels; None accepts any.

    Raises:
        CleverError: the file is missing, damaged or no image, has more than 8 bits a channel, or
            another size.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # conversion to 8 bits would clip without a word
                raise CleverError(
                    f"image {path}: pixels are '{image.mode}', not 8 bits a channel; convert it "
                    "first"
                )
            pixels = np.array(
                image if image.mode == "RGB" else image.convert("RGB")
            )  # converting copies
    except FileNotFoundError:
        raise CleverError(f"image {path}: no such file; restore it or skip its frame") from None
    except _DECODER_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CleverError(
            f"image {path}: cannot be decoded ({reason}); restore it from the dataset"
        ) from error
    wanted = (height or pixels.shape[0], width or pixels.shape[1])
    if pixels.shape[:2] != wanted:
        raise CleverError(
            f"image {path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, but its calibration is for "
            f"{wanted[1]}x{wanted[0]}; use the images that the calibration belongs to"
        )
    return pixels


def resize_image(image: NDArray[np.uint8], size: tuple[int, int], resize: Resize) -> Tensor:
    """Resize (H, W, 3) uint8 to `size` = (height, width), aspect not kept, pixel centres at half
    integers.

    Returns:
        (3, height, width) uint8, contiguous.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0)
    antialias = resize == "bilinear-antialias"
    return F.interpolate(pixels, size=size, mode="bilinear", antialias=antialias)[0].contiguous()
