"""Franca (valeo.ai, 2025, arXiv 2507.14137): DINOv2's transformers with SwiGLU layers in every
size, from the official files; patches of 14 pixels, absolute positions learnt at 518 pixels (B) or
224 (L, g)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .known import KnownTeacher

if TYPE_CHECKING:
    from .known import State

_PLACE = "https://github.com/valeoai/Franca/releases/tag/v1.0.0"
_LICENCE = (
    "Franca Research-Only RAIL-AMS, non-commercial, "
    "https://github.com/valeoai/Franca/blob/main/LICENSE_MODEL"
)
_PREFIX = re.compile(r"^(module\.)?(teacher\.)?(backbone\.)?")
_CHUNK = re.compile(r"^blocks\.\d+\.(\d+)\.")
_HEADS = ("dino_head.", "ibot_head.")


def backbone_alone(state: "State", name: str) -> "State":
    """The teacher's backbone of an official file, whose blocks come in chunks."""
    plain = {_PREFIX.sub("", key): value for key, value in state.items()}
    result = {
        _CHUNK.sub(r"blocks.\1.", key): value
        for key, value in plain.items()
        if not key.startswith(_HEADS)
    }
    if not any("mlp.w12" in key for key in result):
        raise ValueError(f"it has no SwiGLU layers (mlp.w12), so it is no {name}")
    return result


@dataclass(frozen=True, slots=True)
class _Size:
    """A transformer of 64 channels a head, whose positions were learnt at `side` pixels."""

    width: int
    depth: int
    side: int

    def options(self, state: "State | None") -> Mapping[str, Any]:
        """What differs from timm's giant; the file of weights says where positions were learnt."""
        side = self.side
        if state is not None and (embedding := state.get("pos_embed")) is not None:
            side = 14 * round((embedding.shape[1] - 1) ** 0.5)
        # SwiGLU of two thirds of four times the width, up to a multiple of 8.
        hidden = -(-(self.width * 8 // 3) // 8) * 8
        return {
            "embed_dim": self.width,
            "depth": self.depth,
            "num_heads": self.width // 64,
            "mlp_ratio": (2 * hidden + 0.5) / self.width,  # rounded down by timm
            "img_size": side,
        }


_SIZES = {
    "vitb14": _Size(768, 12, 518),
    "vitl14": _Size(1024, 24, 224),
    "vitg14": _Size(1536, 40, 224),
}

TEACHERS = tuple(
    KnownTeacher(
        name=f"franca-{name}",
        architecture="vit_giant_patch14_dinov2",  # the one with SwiGLU layers
        family="Franca",
        licence=_LICENCE,
        layer="post-norm",
        positions="dinov2",
        identity=f"franca_{name}",
        options=size.options,
        prepare=backbone_alone,
        download=_PLACE,
    )
    for name, size in _SIZES.items()
)
