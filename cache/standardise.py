"""Targets whose channels all count alike: each less its mean, over its deviation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import CleverError
from .codec import Calibration, decode
from .moments import Moments, total_moments
from .store.reader import FeatureCache

SAMPLE = 512
"""Frames, evenly spread, that are read of a store that does not know its channels."""


def channel_moments(cache: FeatureCache) -> Moments:
    """Mean and deviation of every channel over the tokens of a layer: as the store knows them from
    writing, else from at most `SAMPLE` frames that are read now."""
    if cache.stored_moments is not None:
        return cache.stored_moments
    positions = sorted({number * len(cache) // SAMPLE for number in range(SAMPLE)})
    return total_moments(
        Moments.of(decode(_stored(cache.tokens(number)), cache.calibration)) for number in positions
    )


def standardise(caches: Sequence[FeatureCache]) -> Moments:
    """Make opened caches of one teacher give standardised features: (feature - mean) / deviation by
    channel, over the tokens of all of them.

    Decoding is an affine map of every channel, so another centre and step do it.

    Returns:
        What was subtracted (`mean`) and divided by (`scale`).

    Raises:
        CleverError: no channel varies.
    """
    moments = total_moments([channel_moments(cache) for cache in caches])
    if not moments.deviation.any():
        places = ", ".join(str(cache.path) for cache in caches)
        raise CleverError(
            f"{caches[0].teacher.id} of {places} has the same feature everywhere, so that "
            "standardised ones are 0 and teach nothing; look at the teacher's weights"
        )
    mean, scale = torch.from_numpy(moments.mean), torch.from_numpy(moments.scale)
    for cache in caches:
        old = cache.calibration
        centre = torch.zeros_like(mean) if old is None else old.centre.double()
        step = torch.ones_like(mean) if old is None else old.step.double()
        cache.calibration = Calibration(((centre - mean) / scale).float(), (step / scale).float())
    return moments


def _stored(tokens: Tensor) -> Tensor:
    """The (n, C) tokens that are stored of (M, h, w, C): a ``hit`` layer gives zeros for the
    others."""
    flat = tokens.flatten(0, -2)
    return flat[flat.any(-1)]
