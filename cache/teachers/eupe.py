"""EUPE (Meta, 2026): DINOv3's networks distilled from several encoders for small devices; its
ViTs keep biases of query and value."""

from .known import KnownTeacher

_LICENCE = "FAIR Noncommercial Research License, https://github.com/facebookresearch/EUPE"
_SIZES = {
    "vitt16": "vit_tiny_patch16_dinov3_qkvb",
    "vits16": "vit_small_patch16_dinov3_qkvb",
    "vitb16": "vit_base_patch16_dinov3_qkvb",
    "convnext-tiny": "convnext_tiny",
    "convnext-small": "convnext_small",
    "convnext-base": "convnext_base",
}

TEACHERS = tuple(
    KnownTeacher(
        name=f"eupe-{name}",
        architecture=f"{architecture}.eupe_lvd1689m",
        family="EUPE",
        licence=_LICENCE,
        layer="post-norm",
        untagged=False,
    )
    for name, architecture in _SIZES.items()
)
