"""TIPSv2 (Google DeepMind, 2026, arXiv 2604.12012): patches of 14 pixels, a class token and a
register, absolute positions; pixels scaled to [0, 1] and not normalised."""

from .known import KnownTeacher

_SIZES = {"vitb14": "base", "vitl14": "large", "so400m14": "so400m", "vitg14": "giant"}

TEACHERS = tuple(
    KnownTeacher(
        name=f"tipsv2-{name}",
        architecture=f"vit_{size}_patch14_reg1_tipsv2.webli",
        family="TIPSv2",
        licence="Apache-2.0",
        layer="post-norm",
    )
    for name, size in _SIZES.items()
)
