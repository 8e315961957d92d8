"""Pictures inside the page."""

import io
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

QUALITY = 82
"""Of WebP, of 100: a sixth of the bytes of a PNG of points."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and what it shows.

    Attributes:
        url: its content, as a data URL.
        width, height: pixels.
        title: its name, for those who cannot see it too.
        caption: what it shows.
    """

    url: str
    width: int
    height: int
    title: str
    caption: str


def file_picture(path: Path, title: str, caption: str) -> Picture:
    """A picture from a file."""
    with Image.open(path) as image:
        return _picture(image, title, caption)


def figure_picture(figure: Figure, title: str, caption: str) -> Picture:
    """A figure of matplotlib."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    with Image.open(content) as image:
        return _picture(image, title, caption)


def _picture(image: Image.Image, title: str, caption: str) -> Picture:
    content = io.BytesIO()
    image.convert("RGB").save(content, "WEBP", quality=QUALITY, method=4)
    url = f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
    return Picture(url, image.width, image.height, title, caption)
