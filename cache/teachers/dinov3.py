"""DINOv3 (Meta, 2025, arXiv 2508.10104): patches of 16 pixels, four register tokens, rotary
positions; and ConvNeXts distilled from the largest.

A few channels of the last block hold large constants, which its final norm scales down: the
authors recommend to apply it, so it is the default layer. A ConvNeXt's final norm stands on its
last stage, of stride 32.
"""

from typing import TYPE_CHECKING

from .known import KnownTeacher, Positions, as_it_is

if TYPE_CHECKING:
    from .known import State

_LICENCE = "DINOv3 License, https://ai.meta.com/resources/models-and-libraries/dinov3-license"
_VITS = {
    "vits16": "vit_small_patch16_dinov3.lvd1689m",
    "vits16-qkvb": "vit_small_patch16_dinov3_qkvb.lvd1689m",
    "vits16plus": "vit_small_plus_patch16_dinov3.lvd1689m",
    "vitb16": "vit_base_patch16_dinov3.lvd1689m",
    "vitb16-qkvb": "vit_base_patch16_dinov3_qkvb.lvd1689m",
    "vitl16": "vit_large_patch16_dinov3.lvd1689m",
    "vith16plus": "vit_huge_plus_patch16_dinov3.lvd1689m",
    "vit7b16": "vit_7b_patch16_dinov3.lvd1689m",
    "vitl16-sat": "vit_large_patch16_dinov3.sat493m",
    "vit7b16-sat": "vit_7b_patch16_dinov3.sat493m",
}
_CONVNEXTS = {
    f"convnext-{size}": f"convnext_{size}.dinov3_lvd1689m"
    for size in ("tiny", "small", "base", "large")
}


def without_zero_biases(state: "State", name: str) -> "State":
    """Leave out biases of query, key and value where they are zero or masked: the networks without
    ``_qkvb`` have none.

    Raises:
        ValueError: one is not zero.
    """
    result = dict(state)
    for key in [key for key in state if key.endswith("attn.qkv.bias")]:
        bias, mask = result.pop(key), result.pop(f"{key}_mask", None)
        if bool((bias[mask != 0] if mask is not None else bias).count_nonzero()):
            raise ValueError(
                f"{key} is not zero, and {name} has no place for it; take a model of that size "
                "with biases, such as dinov3-vits16-qkvb"
            )
    return result


def _row(name: str, architecture: str, positions: Positions) -> KnownTeacher:
    return KnownTeacher(
        name=f"dinov3-{name}",
        architecture=architecture,
        family="DINOv3",
        licence=_LICENCE,
        layer="post-norm",
        positions=positions,
        untagged=name in _VITS,
        prepare=as_it_is if "_qkvb" in architecture else without_zero_biases,
    )


TEACHERS = (
    *(_row(name, architecture, "dinov3") for name, architecture in _VITS.items()),
    *(_row(name, architecture, "timm") for name, architecture in _CONVNEXTS.items()),
)
