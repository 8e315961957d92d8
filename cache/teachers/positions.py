"""Where a ViT places the tokens of images of another size than it was trained at."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import CleverError
from .known import Positions

Choice = Literal["official", "timm"]


def fit_positions(
    network: Any, size: tuple[int, int], rule: Positions, choice: Choice, periods: Tensor | None
) -> str | None:
    """Fit a timm network's positions to an image size.

    Args:
        size: height, width in pixels, multiples of the patch.
        rule: the teacher's official one.
        choice: whether that or timm's is taken.
        periods: rotary periods of the file of weights, if it has any.

    Returns:
        How tokens are placed, for the fingerprint; None for networks without such positions.

    Raises:
        CleverError: the network takes images of one size only, or the file's periods are not those
            of this network.
    """
    config = network.pretrained_cfg
    native = tuple(config["input_size"][1:])
    if not hasattr(network, "set_input_size"):
        if config.get("fixed_input_size") and size != native:
            raise CleverError(
                f"{config['architecture']} takes images of {native[0]}x{native[1]} only; give that "
                "`image_size`"
            )
        return None
    embedding = getattr(network, "pos_embed", None)
    patches = getattr(network, "patch_embed", None)
    old_grid = getattr(patches, "grid_size", None)
    network.set_input_size(img_size=size)
    if periods is not None or rule == "dinov3":
        return _fit_periods(network, choice if rule == "dinov3" else "official", periods)
    if embedding is None:
        return None
    if network.patch_embed.grid_size == old_grid:
        return "as trained"
    if rule == "dinov2" and choice == "official":
        network.pos_embed = nn.Parameter(
            official_position_embedding(embedding, network.patch_embed.grid_size)
        )
        return "bicubic, scale factor with offset 0.1"
    # timm's way, and the official one of the register variants
    return "bicubic, antialias, exact size"


@torch.no_grad()
def official_position_embedding(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample a DINOv2 position embedding as its official code does: bicubic, no antialiasing, and
    by a scale factor 0.1 of a patch larger than the exact one, which shifts every sample a little.

    Args:
        embedding: (1, 1 + S * S, C), class token first.
        grid: height, width of the patch grid.

    Returns:
        (1, 1 + height * width, C).
    """
    class_token, patches = embedding[:, :1], embedding[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    square = patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
    patch_grid = F.interpolate(square, scale_factor=scale, mode="bicubic")
    return torch.cat([class_token, patch_grid.flatten(2).transpose(1, 2)], dim=1)


def _fit_periods(network: Any, choice: Choice, periods: Tensor | None) -> str:
    """Set the periods of rotary positions, (D / 4,) float32 for heads of D channels.

    The coordinates are normalised by the grid's height and width, so that they fit any size.
    """
    exact: Tensor = network.rope.periods
    rounded = exact.bfloat16().float()
    values = rounded if periods is None else periods.float()
    if choice == "timm":
        values = exact
    elif values.shape != exact.shape or not (
        values.equal(rounded) or torch.allclose(values, exact, rtol=1e-5, atol=0)
    ):
        raise CleverError(
            "the rotary periods of the weights are not those of "
            f"{network.pretrained_cfg['architecture']}; give the weights of that model"
        )
    if values.equal(rounded):
        exact.copy_(rounded)
        return "rotary, periods rounded to bfloat16"
    return "rotary, periods in float32"
