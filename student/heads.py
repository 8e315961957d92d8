"""Projection heads: student features to the teacher's width (paper section 3.3, Table 1)."""

from itertools import pairwise

from torch import Tensor, nn


class ProjectionHead(nn.Sequential):
    """`layers` linear layers of `hidden` channels with GELU between them: DINO's head without its
    prototype layer.

    Three layers of 2048 are the paper's head; one layer is ScaLR's linear head. Weights start
    normal with standard deviation 0.02, biases at zero. Input (..., in_channels), output (...,
    out_channels).
    """

    def __init__(
        self, in_channels: int, out_channels: int, layers: int = 3, hidden: int = 2048
    ) -> None:
        if layers < 1:
            raise ValueError(f"a projection head needs at least one layer, not {layers}")
        widths = [in_channels, *[hidden] * (layers - 1), out_channels]
        modules: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            linear = nn.Linear(width, next_width)
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            modules += [linear, nn.GELU()]
        super().__init__(*modules[:-1])

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_channels) to (..., out_channels)."""
        return super().forward(input)
