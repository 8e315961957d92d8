"""What can be wrong with a picture in a file, told without decoding it."""

import struct
import zlib
from pathlib import Path

from PIL import Image

from ..errors import CleverError
from .frame import EmbeddedImage

ORIENTATION, UPRIGHT = 0x0112, 1
"""EXIF tag of how a picture is to be turned, and its value for a picture stored upright."""
ImageSource = Path | str | EmbeddedImage
"""What an image is decoded from."""
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises of files that are damaged, no pictures, or claim to be huge."""


def refuse_turned(image: Image.Image, source: ImageSource) -> None:
    """Raise CleverError for a picture, or a mask of one, that viewers turn: its pixels are not the
    calibration's."""
    orientation = image.getexif().get(ORIENTATION, UPRIGHT)
    if orientation != UPRIGHT:
        raise CleverError(
            f"image {source}: its EXIF orientation is {orientation}, so it may be stored turned; "
            "turn the pixels to how the calibration sees them (jpegtran, exiftran) or remove the "
            "tag where they are so already (exiftool -Orientation= FILE)"
        )
