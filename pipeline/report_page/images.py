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
        kind: what it is a picture of, in a word; `alt` says it to those who cannot see it.
        caption: what it shows.
    """

    url: str
    width: int
    height: int
    kind: str
    caption: str

    @property
    def alt(self) -> str:
        """Kind and first sentence of the caption."""
        return f"{self.kind}: {self.caption.partition('. ')[0]}"


def file_picture(path: Path, kind: str, caption: str) -> Picture:
    """A picture from a file."""
    with Image.open(path) as image:
        return _picture(image, kind, caption)


def figure_picture(figure: Figure, kind: str, caption: str) -> Picture:
    """A figure of matplotlib."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    with Image.open(content) as image:
        return _picture(image, kind, caption)


def _picture(image: Image.Image, kind: str, caption: str) -> Picture:
    content = io.BytesIO()
    image.convert("RGB").save(content, "WEBP", quality=QUALITY, method=4)
    url = f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
    return Picture(url, image.width, image.height, kind, caption)
