"""How a grid of float features becomes bytes and back.

``int8``: per-channel affine, value = centre + step * code with code in [-127, 127]; ``fp16``: IEEE half precision.
Neither compresses losslessly: it gains little on features and costs read speed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import CleverError

CODECS = ("int8", "fp16")
LEVELS = 127
HISTOGRAM_EDGES = np.linspace(-8, 0.5, 86)
"""Bins of log10(1 - cosine): a tenth of a decade each."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Per-channel affine of the int8 codec.

    Attributes:
        centre, step: (C,) float32; step > 0.
    """

    centre: Tensor
    step: Tensor


def calibrate(features: Iterable[Tensor], margin: float = 0.05) -> Calibration:
    """Fit the int8 codec to a sample: the range of every channel, widened by `margin` on both sides.

    Args:
        features: tensors of shape (..., C) float32.
        margin: share of the range added at each end for values the sample did not hold.
    """
    low: Tensor | None = None
    high: Tensor | None = None
    for part in features:
        flat = part.reshape(-1, part.shape[-1]).double()
        low = flat.amin(0) if low is None else torch.minimum(low, flat.amin(0))
        high = flat.amax(0) if high is None else torch.maximum(high, flat.amax(0))
    if low is None or high is None:
        raise CleverError("no frame could be read to calibrate the int8 codec; look at the reasons above")
    half = (high - low) * (0.5 + margin)
    step = (half / LEVELS).clamp_min(torch.finfo(torch.float32).tiny * 2**20)
    return Calibration(((low + high) / 2).float().cpu(), step.float().cpu())


def encode(features: Tensor, codec: str, calibration: Calibration | None) -> tuple[Tensor, Tensor]:
    """Encode features on their own device.

    Args:
        features: (..., C) float32, finite.

    Returns:
        codes (..., C) int8 or float16, and the number of clipped values as an int64 scalar.
    """
    if codec == "fp16":
        limit = torch.finfo(torch.float16).max
        return features.clamp(-limit, limit).half(), (features.abs() > limit).sum()
    if calibration is None:
        raise CleverError("the int8 codec needs a calibration")
    scaled = ((features - calibration.centre.to(features.device)) / calibration.step.to(features.device)).round_()
    clipped = (scaled.abs() > LEVELS).sum()
    return scaled.clamp_(-LEVELS, LEVELS).to(torch.int8), clipped


def decode(codes: Tensor, centre: Tensor | None, step: Tensor | None) -> Tensor:
    """Features as float32 from what is stored: one multiply-add a value for int8, a cast for fp16.

    Args:
        codes: (..., C) int8 or float16.
        centre, step: (C,) float32 on the codes' device; None for fp16.
    """
    values = codes.float()
    if centre is None or step is None:
        return values
    return torch.addcmul(centre, values, step)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How close decoded features are to the float32 originals, over a number of tokens.

    Attributes:
        tokens: tokens measured.
        cosine_sum: sum of the cosine similarities of decoded and original tokens.
        cosine_min: smallest of them.
        histogram: counts over log10(1 - cosine), bins `HISTOGRAM_EDGES`; below and above fall in the end bins.
        clipped, values: clipped values and all values.
    """

    tokens: int
    cosine_sum: float
    cosine_min: float
    histogram: tuple[int, ...]
    clipped: int
    values: int

    @property
    def mean(self) -> float:
        """Mean cosine."""
        return self.cosine_sum / max(self.tokens, 1)

    @property
    def percentile1(self) -> float:
        """Cosine that 99 % of the tokens reach, to a tenth of a decade in 1 - cosine, rounded down."""
        counts = np.cumsum(self.histogram[::-1])
        worst = len(self.histogram) - 1 - int(np.searchsorted(counts, 0.01 * max(self.tokens, 1)))
        return float(1 - 10 ** HISTOGRAM_EDGES[max(worst, 0) + 1])

    @property
    def clip_rate(self) -> float:
        """Share of values outside the codec's range."""
        return self.clipped / max(self.values, 1)

    def __add__(self, other: "Fidelity") -> "Fidelity":
        return Fidelity(
            self.tokens + other.tokens,
            self.cosine_sum + other.cosine_sum,
            min(self.cosine_min, other.cosine_min),
            tuple(a + b for a, b in zip(self.histogram, other.histogram, strict=True)),
            self.clipped + other.clipped,
            self.values + other.values,
        )

    @classmethod
    def none(cls) -> "Fidelity":
        """The measure of no tokens at all: the neutral element of addition."""
        return cls(0, 0.0, 1.0, (0,) * (len(HISTOGRAM_EDGES) - 1), 0, 0)


def measure(features: Tensor, decoded: Tensor, clipped: int) -> Fidelity:
    """Compare decoded features with their originals, both (..., C) float32."""
    cosine = torch.nn.functional.cosine_similarity(features.double(), decoded.double(), dim=-1).flatten().cpu().numpy()
    exponent = np.log10(np.clip(1 - cosine, 10.0 ** HISTOGRAM_EDGES[0], 10.0 ** HISTOGRAM_EDGES[-1]))
    histogram = np.histogram(exponent, HISTOGRAM_EDGES)[0]
    return Fidelity(
        cosine.size, float(cosine.sum()), float(cosine.min()), tuple(histogram.tolist()), clipped, features.numel()
    )
