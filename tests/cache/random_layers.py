"""Random weights of a vision transformer's layers, scaled so that every one of them matters."""

import torch
from torch import Tensor

Weights = dict[str, Tensor]


class RandomLayers:
    """Draws the weights of one layer after another.

    Args:
        width: channels of a token.
        seed: of the draws.
    """

    def __init__(self, width: int, seed: int) -> None:
        self.width = width
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, std: float) -> Tensor:
        return std * torch.randn(*shape, generator=self._generator)

    def linear(self, name: str, fan_in: int, fan_out: int) -> Weights:
        weight = self.normal(fan_out, fan_in, std=fan_in**-0.5)
        return {f"{name}.weight": weight, f"{name}.bias": self.normal(fan_out, std=0.1)}

    def norm(self, name: str) -> Weights:
        return {
            f"{name}.weight": 1 + self.normal(self.width, std=0.2),
            f"{name}.bias": self.normal(self.width, std=0.1),
        }
