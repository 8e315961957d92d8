"""Class prototypes that pull point features together: a von Mises-Fisher distribution a class whose
mean direction and concentration are estimated first and fixed then (OLIVINE, Zhang et al. 2024)."""

import math

import torch
from scipy.special import ive
from torch import Tensor, nn

from ..groups import Groups

RATE = 1e-4
"""Share of a step's mean in the running mean."""
STEPS = 10_000
"""Steps that only gather statistics."""


class Prototypes(nn.Module):
    """Running means of each class's unit features, and the loss towards them.

    For `STEPS` steps the loss is zero and means are gathered; then each class has the direction
    mu = z / |z| and the concentration kappa = R (C - R^2) / (1 - R^2), R = |z|, for good. The
    running mean begins at zero, as in the public code: after 10,000 steps it has 63 % of its
    length, so kappa is lower than the estimate of the full mean would be.

    Args:
        classes: their number.
        channels: C.
        steps, rate: see `STEPS`, `RATE`.
    """

    means: Tensor
    step: Tensor

    def __init__(self, classes: int, channels: int, steps: int = STEPS, rate: float = RATE) -> None:
        super().__init__()
        self.steps, self.rate = steps, rate
        self.register_buffer("means", torch.zeros(classes, channels))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean over the classes present of the mean of ``-log p(x)``, a scalar; zero while
        statistics are gathered.

        Args:
            features: (N, C) of length one.
            labels: (N,) int64, their classes.
        """
        groups = Groups.of(labels, len(self.means))
        present = torch.bincount(labels, minlength=len(self.means)) > 0
        means = groups.means(features.float())
        if self.training and self.step < self.steps:
            with torch.no_grad():
                moved = torch.lerp(self.means, means, self.rate)
                self.means.copy_(torch.where(present[:, None], moved, self.means))
                self.step += 1
            return 0 * means.sum()
        # A class that was never seen has no direction; it takes no part.
        rows = (present & (self.means.norm(dim=1) > 0)).nonzero().squeeze(1)
        if not len(rows):
            return 0 * means.sum()
        direction, kappa = self.estimates()
        pull = kappa[rows] * (means[rows] * direction[rows]).sum(1)
        return -(log_normaliser(kappa[rows], self.means.shape[1]) + pull).mean()

    def estimates(self) -> tuple[Tensor, Tensor]:
        """Directions (K, C) of length one and concentrations (K,) of the classes."""
        length = self.means.norm(dim=1)
        kappa = length * (self.means.shape[1] - length**2) / (1 - length**2)
        return self.means / length.clamp_min(1e-12)[:, None], kappa


def log_normaliser(kappa: Tensor, channels: int) -> Tensor:
    """Logarithm of C(kappa) = kappa^(C/2 - 1) / ((2 pi)^(C/2) I_(C/2 - 1)(kappa)), which makes
    C(kappa) e^(kappa mu x) a density on the sphere in C dimensions; kappa > 0, no gradient."""
    order, values = channels / 2 - 1, kappa.detach().double().cpu()
    # The modified Bessel function without its growth e^kappa, which is added as its logarithm.
    bessel = torch.as_tensor(ive(order, values.numpy())).log() + values
    result = order * values.log() - channels / 2 * math.log(2 * math.pi) - bessel
    return result.to(kappa.device, kappa.dtype)
