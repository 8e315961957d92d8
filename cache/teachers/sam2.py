"""SAM 2's image encoders (Meta, 2024, arXiv 2408.00714): Hiera, a hierarchical transformer with
stages of stride 4, 8, 16 and 32 and no norm after them; no class token. The 2.1 weights."""

from typing import TYPE_CHECKING

from .known import KnownTeacher

if TYPE_CHECKING:
    from .known import State

_SIZES = {
    "tiny": "tiny.fb_r896_2pt1",
    "small": "small.fb_r896_2pt1",
    "base-plus": "base_plus.fb_r896_2pt1",
    "large": "large.fb_r1024_2pt1",
}
_TRUNK = "image_encoder.trunk."


def trunk_alone(state: "State", _: str) -> "State":
    """Of an official file, which holds all of SAM 2, the image encoder's trunk."""
    trunk = {
        key.removeprefix(_TRUNK): value for key, value in state.items() if key.startswith(_TRUNK)
    }
    return trunk or state


TEACHERS = tuple(
    KnownTeacher(
        name=f"sam2-hiera-{name}",
        architecture=f"sam2_hiera_{size}",
        family="SAM 2",
        licence="Apache-2.0",
        layer="stride:16",
        unused=("head",),
        prepare=trunk_alone,
    )
    for name, size in _SIZES.items()
)
