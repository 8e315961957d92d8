"""How a grid of float features becomes bytes and back.

``int8``: per-channel affine, feature = centre + step * code with code in [-127, 127], the step from
the channel's range; ``int8-zstd``: the same with a step of `ZSTD_STEP` standard deviations, so that
codes are few and zstd's entropy coder packs them; ``fp16``: IEEE half precision. Lossless
compression of int8 and fp16 gains little and reads slower.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from numcodecs.zstd import Zstd
from torch import Tensor

from ..errors import CleverError

CODECS = ("int8", "int8-zstd", "fp16")
LEVELS = 127
MARGIN = 0.05
"""Share of the sample's range added at each end for values that the sample did not hold."""
ZSTD_STEP = 0.125
"""Step of ``int8-zstd`` in standard deviations of the channel."""
ZSTD_LEVEL = 3
HISTOGRAM_EDGES = np.linspace(-8, 0.5, 86)
"""Bins of log10(1 - cosine): a tenth of a decade each."""


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


def calibrate(sample: list[Statistics], codec: str) -> Calibration | None:
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
    whole = reduce(add, sample)
    if codec == "int8":
        centre = (whole.low + whole.high) / 2
        step = (whole.high - whole.low) * (0.5 + MARGIN) / LEVELS
    else:
        centre = whole.total / whole.count
        step = ZSTD_STEP * (whole.squares / whole.count - centre.square()).clamp_min(0).sqrt()
    # A constant channel still needs a step that can be divided by.
    smallest = centre.abs().clamp_min(1) * torch.finfo(torch.float32).eps
    return Calibration(centre.float(), torch.maximum(step, smallest).float())


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
        raise CleverError(f"the codec {codec} needs a calibration")
    scaled = (
        (features - calibration.centre.to(features.device)) / calibration.step.to(features.device)
    ).round_()
    clipped = (scaled.abs() > LEVELS).sum()
    return scaled.clamp_(-LEVELS, LEVELS).to(torch.int8), clipped


def stored_dtype(codec: str) -> str:
    """NumPy dtype of the stored codes."""
    return "<f2" if codec == "fp16" else "i1"


def compressor(codec: str) -> dict[str, Any] | None:
    """Zarr metadata of the compressor of a codec's chunks."""
    if codec != "int8-zstd":
        return None
    return {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}


def pack(data: bytes, codec: str) -> bytes:
    """Bytes of a chunk as they are stored."""
    return Zstd(ZSTD_LEVEL).encode(data) if codec == "int8-zstd" else data


def unpack(data: bytes | memoryview, codec: str) -> bytes | memoryview:
    """The inverse of `pack`."""
    return Zstd().decode(data) if codec == "int8-zstd" else data


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
        histogram: counts over log10(1 - cosine), bins `HISTOGRAM_EDGES`; below and above fall in
            the end bins.
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
        """Cosine that 99 % of the tokens reach, to a tenth of a decade in 1 - cosine, rounded
        down."""
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
    cosine = (
        torch.nn.functional.cosine_similarity(features.double(), decoded.double(), dim=-1)
        .flatten()
        .cpu()
        .numpy()
    )
    exponent = np.log10(
        np.clip(1 - cosine, 10.0 ** HISTOGRAM_EDGES[0], 10.0 ** HISTOGRAM_EDGES[-1])
    )
    histogram = np.histogram(exponent, HISTOGRAM_EDGES)[0]
    return Fidelity(
        cosine.size,
        float(cosine.sum()),
        float(cosine.min()),
        tuple(histogram.tolist()),
        clipped,
        features.numel(),
    )
