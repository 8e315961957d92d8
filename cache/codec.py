"""How a grid of float features becomes bytes and back.

``int8``: per-channel affine, feature = centre + step * code with code in [-127, 127], the step from
the channel's range; ``int8-zstd``: the same with a step of `ZSTD_STEP` standard deviations, so that
codes are few and zstd's entropy coder packs them; ``fp16``: IEEE half precision. Lossless
compression of int8 and fp16 gains little and reads slower.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch
from numcodecs.zstd import Zstd
from torch import Tensor

from ..errors import CleverError
from .choices import Codec, Packing, zstd_level
from .fidelity import HISTOGRAM_EDGES, Fidelity

LEVELS = 127
MARGIN = 0.05
"""Share of the sample's range added at each end for values that the sample did not hold."""
ZSTD_STEP = 0.125
"""Step of ``int8-zstd`` in standard deviations of the channel."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Per-channel statistics of a sample of tokens, (C,) float64 each; they add up in the order
    given."""

    count: int
    low: Tensor
    high: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Statistics":
        """Statistics of (..., C) features."""
        flat = features.reshape(-1, features.shape[-1]).double().cpu()
        return cls(len(flat), flat.amin(0), flat.amax(0), flat.sum(0), flat.square().sum(0))

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            self.count + other.count,
            torch.minimum(self.low, other.low),
            torch.maximum(self.high, other.high),
            self.total + other.total,
            self.squares + other.squares,
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Per-channel affine of the int8 codecs.

    Attributes:
        centre, step: (C,) float32; step > 0.
    """

    centre: Tensor
    step: Tensor

    def to(self, device: torch.device) -> "Calibration":
        """The same on a device."""
        return Calibration(self.centre.to(device), self.step.to(device))

    def equals(self, other: "Calibration") -> bool:
        """Whether both hold the same values."""
        return self.centre.equal(other.centre) and self.step.equal(other.step)


def calibrate(sample: list[Statistics], codec: Codec) -> Calibration | None:
    """Fit a codec to a sample of frames; None for a codec that needs no fit.

    Raises:
        CleverError: the sample is empty.
    """
    if codec == "fp16":
        return None
    if not sample:
        raise CleverError(
            f"no frame could be read to calibrate the codec {codec}; look at the reasons given"
        )
    totals = reduce(add, sample)
    if codec == "int8":
        # Half the range, widened by the margin, is LEVELS steps.
        centre = (totals.low + totals.high) / 2
        step = (totals.high - totals.low) * (0.5 + MARGIN) / LEVELS
    else:
        # A share of the standard deviation; rounding may leave a variance just below zero.
        centre = totals.total / totals.count
        step = ZSTD_STEP * (totals.squares / totals.count - centre.square()).clamp_min(0).sqrt()
    # A constant channel still needs a step that can be divided by: its centre's float32 rounding.
    smallest = centre.abs().clamp_min(1) * torch.finfo(torch.float32).eps
    return Calibration(centre.float(), torch.maximum(step, smallest).float())


def encode(
    features: Tensor, codec: Codec, calibration: Calibration | None
) -> tuple[Tensor, Tensor]:
    """Encode features on their own device.

    Args:
        features: (..., C) float32, finite.

    Returns:
        codes (..., C) int8 or float16, and the number of clipped values as an int64 scalar.

    Raises:
        CleverError: an int8 codec without its calibration.
    """
    if codec == "fp16":
        limit = torch.finfo(torch.float16).max
        return features.clamp(-limit, limit).half(), (features.abs() > limit).sum()
    if calibration is None:
        raise CleverError(f"the codec {codec} needs a calibration")
    # Nearest code first, then count what the eight bits cannot hold, then limit it.
    constants = calibration.to(features.device)
    codes = ((features - constants.centre) / constants.step).round_()
    clip_count = (codes.abs() > LEVELS).sum()
    return codes.clamp_(-LEVELS, LEVELS).to(torch.int8), clip_count


def pack(data: bytes, codec: Codec | Packing | None) -> bytes:
    """Bytes of a chunk as they are stored."""
    level = zstd_level(codec)
    return data if level is None else Zstd(level).encode(data)


def unpack(data: bytes | memoryview, codec: Codec | Packing | None) -> bytes | memoryview:
    """The inverse of `pack`."""
    return data if zstd_level(codec) is None else Zstd().decode(data)


def decode(codes: Tensor, calibration: Calibration | None) -> Tensor:
    """Features as float32 from what is stored: one multiply-add a value for int8, a cast for fp16.

    Args:
        codes: (..., C) int8 or float16.
        calibration: on the codes' device; None for fp16.
    """
    values = codes.float()
    if calibration is None:
        return values
    return torch.addcmul(calibration.centre, values, calibration.step)


def measure(features: Tensor, reconstruction: Tensor, clip_count: int) -> Fidelity:
    """Compare decoded features with their originals, both (..., C) float32."""
    cosine = (
        torch.nn.functional.cosine_similarity(features.double(), reconstruction.double(), dim=-1)
        .flatten()
        .cpu()
        .numpy()
    )
    # A histogram over log10(1 - cosine) adds up over shards and still gives percentiles.
    exponent = np.log10(
        np.clip(1 - cosine, 10.0 ** HISTOGRAM_EDGES[0], 10.0 ** HISTOGRAM_EDGES[-1])
    )
    histogram = np.histogram(exponent, HISTOGRAM_EDGES)[0]
    return Fidelity(
        cosine.size,
        float(cosine.sum()),
        float(cosine.min()),
        tuple(histogram.tolist()),
        clip_count,
        features.numel(),
    )
