"""Camera images: decoding with errors that name the file, and the one resize that every teacher
shares."""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from ..errors import CleverError
from .choices import Resize
from .image_faults import DECODER_ERRORS, ImageSource, refuse_turned

SHALLOW_FORMATS = frozenset({"BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP"})
"""Formats whose bits a channel can be told before decoding: Pillow reads all others as 8 bits."""
DEEP_LAYOUT = re.compile(r";(9|1\d|2\d|3\d)")
"""A decoder's pixel layout of more than 8 bits a channel, as in ``RGB;16B``."""


def load_image(
    source: ImageSource, width: int | None = None, height: int | None = None
) -> NDArray[np.uint8]:
    """Decode an image to (H, W, 3) uint8 RGB; grey values are repeated, an alpha channel is
    dropped.

    Args:
        width, height: the size that the calibration was made for, in pixels; None accepts any.

    Raises:
        CleverError: the image is missing, damaged or no image, has more than 8 bits a channel, is
            to be turned by its EXIF orientation, or has another size.
    """
    try:
        place = source if isinstance(source, Path | str) else source.open()
        with Image.open(place) as image:
            _refuse_deep(image, source)
            refuse_turned(image, source)
            pixels = np.array(
                image if image.mode == "RGB" else image.convert("RGB")
            )  # converting copies
    except FileNotFoundError:
        raise CleverError(f"image {source}: no such file; restore it or skip its frame") from None
    except IsADirectoryError:
        raise CleverError(f"image {source}: is a folder; restore the file") from None
    except DECODER_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "cannot identify an image format"
        raise CleverError(
            f"image {source}: cannot be decoded ({reason}); restore it from the dataset"
        ) from error
    expected = (height or pixels.shape[0], width or pixels.shape[1])
    if pixels.shape[:2] != expected:
        raise CleverError(
            f"image {source}: {pixels.shape[1]}x{pixels.shape[0]} pixels, but its calibration is "
            f"for {expected[1]}x{expected[0]}; use the images that the calibration belongs to"
        )
    return pixels


def _refuse_deep(image: Image.Image, source: ImageSource) -> None:
    """Raise CleverError for more than 8 bits a channel.

    Pillow opens 16-bit colour as 8 bits without a word; the layout that it hands to its decoder
    still tells what the file holds.
    """
    remedy = "convert it to 8 bits a channel (PNG or JPEG) first"
    if image.format not in SHALLOW_FORMATS:
        raise CleverError(
            f"image {source}: {image.format} does not tell its bits a channel; {remedy}"
        )
    deep = image.mode.startswith(("I", "F"))
    for _, _, _, arguments in image.tile if isinstance(image, ImageFile.ImageFile) else ():
        layout, *details = arguments if isinstance(arguments, tuple) else (arguments,)
        if image.format != "BMP" and isinstance(layout, str):  # BMP's BGR;16 is 16 bits a pixel
            deep |= bool(DEEP_LAYOUT.search(layout))
        # Its one detail is the brightest value.
        deep |= image.format == "PPM" and any(isinstance(x, int) and x > 255 for x in details)
    if deep:
        raise CleverError(f"image {source}: has more than 8 bits a channel; {remedy}")


def resize_image(image: NDArray[np.uint8], size: tuple[int, int], resize: Resize) -> Tensor:
    """Resize (H, W, 3) uint8 to `size` = (height, width), aspect not kept, pixel centres at half
    integers.

    Returns:
        (3, height, width) uint8, contiguous.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0)
    antialias = resize == "bilinear-antialias"
    return F.interpolate(pixels, size=size, mode="bilinear", antialias=antialias)[0].contiguous()
