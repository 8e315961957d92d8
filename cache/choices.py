"""What can be chosen of a store and of its teacher, by name; imports nothing heavy."""

from typing import Any, Literal, get_args

Codec = Literal["int8", "int8-zstd", "fp16"]
"""How a grid of float features becomes bytes, see `codec`."""
CODECS: tuple[Codec, ...] = get_args(Codec)
TokenKind = Literal["grid", "hit", "points", "points-centred"]
"""What is stored of a grid: every token, those within reach of a point, or the feature of every
pair, interpolated with corner tokens on corner pixels or on the centres of their patches."""
INTERPOLATED: dict[TokenKind, bool] = {"points": True, "points-centred": False}
"""Kinds that store features of pairs, and the `align_corners` of `sampling` by which."""
Occlusion = Literal["none", "parallax"]
"""Whether a point behind nearer ones makes a pair, see `occlusion`."""
Packing = Literal["zstd"]
"""How blocks that hold no features are compressed."""
RegionKind = Literal["segment", "class"]
"""What the numbers in a map of regions are: of one image alone, or the same in all images."""
RegionSource = Literal["slic", "files"]
"""Where regions come from: SLIC superpixels of the images, or masks in files."""
Resize = Literal["bilinear-antialias", "bilinear"]
"""Resize filter: bilinear with (a triangle as wide as the reduction, as Pillow does) or without
antialiasing."""

ZSTD_LEVEL = 3
MAP_LEVEL = 19
"""Of maps of regions, which are written once and unpack as fast at any level."""


def stored_dtype(codec: Codec) -> str:
    """NumPy dtype of the stored codes."""
    return "<f2" if codec == "fp16" else "i1"


def zstd_level(codec: Codec | Packing | None) -> int | None:
    """Level of the compression of a codec's chunks; None where there is none."""
    return {"int8-zstd": ZSTD_LEVEL, "zstd": MAP_LEVEL}.get(codec or "")


def compressor(codec: Codec | Packing | None) -> dict[str, Any] | None:
    """Zarr metadata of the compressor of a codec's chunks."""
    level = zstd_level(codec)
    if level is None:
        return None
    return {"name": "zstd", "configuration": {"level": level, "checksum": False}}
