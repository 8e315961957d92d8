"""Perception Encoder (Meta, 2025, arXiv 2504.13181): absolute and rotary positions; pixels scaled
to [-1, 1]. PE-spatial is the one made for dense features and has no final norm; of PE-core the
pooling head is not needed."""

from .known import KnownTeacher

_SPATIAL = {
    "tiny": "tiny_patch16_512",
    "small": "small_patch16_512",
    "base": "base_patch16_512",
    "large": "large_patch14_448",
    "giant": "gigantic_patch14_448",
}
_CORE = {
    "tiny": "tiny_patch16_384",
    "small": "small_patch16_384",
    "base": "base_patch16_224",
    "large": "large_patch14_336",
    "giant": "gigantic_patch14_448",
}


def _row(kind: str, name: str, size: str) -> KnownTeacher:
    return KnownTeacher(
        name=f"pe-{kind}-{name}",
        architecture=f"vit_pe_{kind}_{size}.fb",
        family="Perception Encoder",
        licence="Apache-2.0",
        layer="pre-norm" if kind == "spatial" else "post-norm",
        unused=() if kind == "spatial" else ("attn_pool",),
    )


TEACHERS = (
    *(_row("spatial", name, size) for name, size in _SPATIAL.items()),
    *(_row("core", name, size) for name, size in _CORE.items()),
)
