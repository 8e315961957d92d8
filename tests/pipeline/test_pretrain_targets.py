"""Standardised targets and centring in a pre-training, on the small store."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from clever.cache import FeatureCache
from clever.cache.codec import decode
from clever.cache.moments import Moments
from clever.cache.standardise import standardise
from clever.errors import CleverError
from clever.pipeline.pretrain import pretrain
from clever.pipeline.settings.pretrain import PretrainSettings

from .test_pretrain_options import log, settings

MakeCache = Callable[..., Path]


def all_tokens(cache: FeatureCache) -> torch.Tensor:
    return torch.cat(
        [
            decode(cache.tokens(number), cache.calibration).flatten(0, -2)
            for number in range(len(cache))
        ]
    ).double()


@pytest.mark.parametrize("layer", ["toy-3x5", "other"])
def test_standardised_features_have_mean_0_and_deviation_1(
    make_cache: MakeCache, layer: str
) -> None:
    caches = [FeatureCache(make_cache(second=True), layer)]
    before = all_tokens(caches[0])
    moments = standardise(caches)
    after = all_tokens(caches[0])
    np.testing.assert_allclose(moments.mean, before.mean(0).numpy(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        after, (before - before.mean(0)) / before.std(0, correction=0), rtol=1e-3, atol=1e-3
    )


def test_several_caches_share_one_mean(make_cache: MakeCache) -> None:
    caches = [
        FeatureCache(make_cache(name=name, seed=seed, frames=frames), "toy")
        for name, seed, frames in (("a.zarr", 1, 2), ("b.zarr", 2, 5))
    ]
    standardise(caches)
    tokens = torch.cat([all_tokens(cache) for cache in caches])
    torch.testing.assert_close(tokens.mean(0), torch.zeros(6).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        tokens.std(0, correction=0), torch.ones(6).double(), rtol=1e-3, atol=1e-3
    )


def test_features_that_never_vary_are_refused(make_cache: MakeCache) -> None:
    cache = FeatureCache(make_cache(), "toy")
    cache.stored_moments = Moments(9, np.ones(6), np.zeros(6))
    with pytest.raises(CleverError, match=r"toy-3x5-fefd of .*toy.zarr has the same feature"):
        standardise([cache])


def test_runs_name_their_targets_and_differ(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, losses = make_cache(second=True), {}
    kinds: dict[str, dict[str, object]] = {
        "raw": {},
        "standardised": {"targets": "standardised"},
        "standardised, centred by frames": {"targets": "standardised", "centre": "frames"},
        "raw, centred by patches": {"centre": "patches"},
    }
    for number, (words, changes) in enumerate(kinds.items()):
        out = tmp_path / f"run-{number}"
        result = pretrain(settings(cache, out, teacher=("toy",), epochs=1, **changes))
        assert result.targets == words
        assert (f"targets {words}, " in str(result)) == (words != "raw")
        losses[words] = log(out)[0]["distillation"]
        assert PretrainSettings.recorded(out / "settings.yaml").targets == changes.get(
            "targets", "raw"
        )
    assert len(set(losses.values())) == len(kinds)


@pytest.mark.parametrize("word", ["flip", "image-flip", "hflip", "image_crop", "crop"])
def test_changes_of_images_are_refused(word: str) -> None:
    with pytest.raises(ValidationError, match=r"a mirrored or cut feature map is not"):
        PretrainSettings(cache=Path("x"), augmentation=word)  # type: ignore[arg-type]
