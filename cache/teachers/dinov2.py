"""DINOv2 (Meta, 2023): patches of 14 pixels, absolute positions learnt on a grid of 37 x 37; with
``_reg`` four register tokens.

The default layer is the last block before the final norm, as in the ScaLR family and the paper.
"""

from .known import KnownTeacher

_LICENCE = "Apache-2.0"
_SIZES = {"vits14": "small", "vitb14": "base", "vitl14": "large", "vitg14": "giant"}

TEACHERS = tuple(
    KnownTeacher(
        name=f"{name}{suffix}",
        architecture=f"vit_{size}_patch14_{registers}dinov2.lvd142m",
        family="DINOv2",
        licence=_LICENCE,
        layer="pre-norm",
        # timm's way is the official one of the variants with registers.
        positions="timm" if registers else "dinov2",
    )
    for suffix, registers in (("", ""), ("_reg", "reg4_"))
    for name, size in _SIZES.items()
)
