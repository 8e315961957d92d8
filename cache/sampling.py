"""Teacher features at continuous pixels: a 4-tap gather from the patch grid.

Bilinear interpolation is linear, so gathering four tokens at a continuous pixel gives exactly what
upsampling the grid to the image and reading that pixel would give, without the upsampled map.
"""

import torch
from torch import Tensor

from .codec import Calibration, decode


def grid_coordinates(
    uv: Tensor, image_size: Tensor, grid: tuple[int, int], align_corners: bool
) -> Tensor:
    """Continuous token coordinates of pixels.

    Args:
        uv: (K, 2) float32, normalised pixel position ((u + 0.5) / W, (v + 0.5) / H) with u, v in
            pixels, centres at integers.
        image_size: (K, 2) width and height in pixels of each pair's image.
        grid: (h, w) tokens.
        align_corners: True puts the centres of the corner tokens on the centres of the corner
            pixels (ScaLR's choice); False keeps a token's centre at its patch's centre.

    Returns:
        (K, 2) float32: x and y in tokens, not yet limited to the grid.
    """
    # Numbers of the host, axis by axis: a tensor of them would have to wait for the device.
    axes = zip(uv.unbind(1), image_size.to(uv.dtype).unbind(1), reversed(grid), strict=True)
    # place * size - 0.5 is the pixel u; pixels 0 and size - 1 map to tokens 0 and tokens - 1.
    if align_corners:
        return torch.stack(
            [(place * size - 0.5) * (tokens - 1) / (size - 1) for place, size, tokens in axes], 1
        )
    # A token spans 1 / tokens of the image and has its centre in the middle of its span.
    return torch.stack([place * tokens - 0.5 for place, _, tokens in axes], 1)


def sample_tokens(
    tokens: Tensor,
    view: Tensor,
    uv: Tensor,
    image_size: Tensor,
    calibration: Calibration | None,
    align_corners: bool = True,
) -> Tensor:
    """Interpolate stored tokens at pixels, on the tokens' device (section 3.2 of the paper: q_v at
    rho(i)).

    Args:
        tokens: (V, h, w, C) int8 or float16 as stored, one grid a view (scene x camera).
        view: (K,) int64, the view of each pair.
        uv: (K, 2) float32 normalised pixel positions, see `grid_coordinates`.
        image_size: (V, 2) width and height in pixels of each view.
        calibration: of the int8 codecs, on the tokens' device; None for fp16.

    Returns:
        (K, C) float32, not normalised.
    """
    views, height, width, channels = tokens.shape
    position = grid_coordinates(uv, image_size[view], (height, width), align_corners)
    left, top, right, bottom, across, down = _taps(position, height, width)
    # Only the taps are decoded: four rows a pair, gathered by one flat index.
    flat = tokens.reshape(views * height * width, channels)

    def tap(row: Tensor, column: Tensor) -> Tensor:
        return decode(flat.index_select(0, (view * height + row) * width + column), calibration)

    # Across both rows of tokens, then down between them.
    upper = torch.lerp(tap(top, left), tap(top, right), across)
    lower = torch.lerp(tap(bottom, left), tap(bottom, right), across)
    return torch.lerp(upper, lower, down)


def tap_mask(view: Tensor, uv: Tensor, image_size: Tensor, grid: tuple[int, int]) -> Tensor:
    """The tokens that `sample_tokens` reads for these pairs, under either setting of
    `align_corners`.

    Args:
        view, uv, image_size: (K,), (K, 2) and (V, 2), see `sample_tokens`.
        grid: (h, w) tokens.

    Returns:
        (V, h, w) bool on the CPU.
    """
    height, width = grid
    mask = torch.zeros(len(image_size), height, width, dtype=torch.bool)
    for align_corners in (True, False):
        position = grid_coordinates(uv, image_size[view], grid, align_corners)
        left, top, right, bottom, _, _ = _taps(position, height, width)
        for row in (top, bottom):
            for column in (left, right):
                mask[view, row, column] = True
    return mask


def _taps(
    position: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Left, top, right, bottom token of every position, and the (K, 1) weights of right and
    bottom."""
    # Beyond the outermost centres the grid goes on with its border's value.
    x, y = position[:, 0].clamp(0, width - 1), position[:, 1].clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    # On the last column or row the second tap has weight zero; it stays inside all the same.
    right, bottom = (left + 1).clamp_max(width - 1), (top + 1).clamp_max(height - 1)
    return left, top, right, bottom, (x - left).unsqueeze(1), (y - top).unsqueeze(1)
