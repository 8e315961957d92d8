"""AIMv2 (Apple, 2024, arXiv 2411.14402): patches of 14 pixels, absolute positions, no class token,
RMS norms; CLIP's normalisation."""

from .known import KnownTeacher

_SIZES = {"vitl14": "large", "vith14": "huge", "vit1b14": "1b", "vit3b14": "3b"}

TEACHERS = tuple(
    KnownTeacher(
        name=f"aimv2-{name}",
        architecture=f"aimv2_{size}_patch14_448.apple_pt",
        family="AIMv2",
        licence="Apple Sample Code License, https://github.com/apple/ml-aim",
        layer="post-norm",
    )
    for name, size in _SIZES.items()
)
