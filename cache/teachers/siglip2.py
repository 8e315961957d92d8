"""SigLIP 2 (Google, 2025, arXiv 2502.14786): patches of 16 pixels (14 too for so400m), absolute
positions, no class token; pixels scaled to [-1, 1]. The pooling head over the tokens is not
needed."""

from .known import KnownTeacher

_SIZES = {
    "vitb16": "vit_base_patch16_siglip_512.v2_webli",
    "vitl16": "vit_large_patch16_siglip_512.v2_webli",
    "so400m16": "vit_so400m_patch16_siglip_512.v2_webli",
    "so400m14": "vit_so400m_patch14_siglip_378.v2_webli",
    "vitg16": "vit_giantopt_patch16_siglip_384.v2_webli",
}

TEACHERS = tuple(
    KnownTeacher(
        name=f"siglip2-{name}",
        architecture=architecture,
        family="SigLIP 2",
        licence="Apache-2.0",
        layer="post-norm",
        unused=("attn_pool",),
    )
    for name, architecture in _SIZES.items()
)
