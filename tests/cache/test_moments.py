"""Mean and deviation of channels against those of all values at once."""

import numpy as np
import pytest
import torch

from clever.cache.codec import Statistics, calibrate, decode, encode
from clever.cache.moments import CodeSums, Moments, dominance_warning, total_moments


@pytest.fixture
def features() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 0.1, 30.0, 2.0])
    return torch.randn(7, 5, 4, generator=random) * scale + torch.tensor([0.0, 5.0, -100.0, 1.0])


def test_moments_of_parts_add_up(features: torch.Tensor) -> None:
    parts = total_moments(Moments.of(part) for part in features.split([1, 4, 2]))
    values = features.reshape(-1, 4).double().numpy()
    assert parts.count == 35
    np.testing.assert_allclose(parts.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.deviation, values.std(0), rtol=1e-10)


@pytest.mark.parametrize("codec", ["int8", "int8-zstd", "fp16"])
def test_sums_over_codes_are_the_moments_of_what_is_decoded(
    features: torch.Tensor, codec: str
) -> None:
    calibration = calibrate([Statistics.of(features)], codec)  # type: ignore[arg-type]
    codes, _ = encode(features, codec, calibration)  # type: ignore[arg-type]
    sums = CodeSums.of(codes[:3]) + CodeSums.of(codes[3:])
    affine = (calibration.centre.numpy(), calibration.step.numpy()) if calibration else ()
    moments = sums.moments(*affine)
    expected = Moments.of(decode(codes, calibration))
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(moments.deviation, expected.deviation, rtol=1e-5)
    if codec != "fp16":  # whole numbers, which add up the same in any order
        assert (sums.total == np.round(sums.total)).all()
        again = CodeSums.of(codes)
        assert (again.total == sums.total).all()
        assert (again.squares == sums.squares).all()


def test_dominating_channels_are_named_with_the_remedy() -> None:
    mean = np.zeros(9)
    deviation = np.ones(9)
    assert Moments(5, mean, deviation).dominance == 1
    mean[3] = 30.0
    moments = Moments(5, mean, deviation)
    assert moments.dominance == pytest.approx(np.sqrt(901))
    line = dominance_warning("x-1", "pre-norm", moments)
    assert line is not None
    for part in ("30 times", "`targets=standardised`", "`layer=post-norm`"):
        assert part in line
    post = dominance_warning("x-1", "post-norm", moments)
    assert post is not None
    assert "layer=" not in post
    assert dominance_warning("x-1", "pre-norm", Moments(5, mean / 2, deviation)) is None


def test_constant_channels_are_not_blown_up() -> None:
    moments = Moments(5, np.zeros(3), np.array([0.0, 2.0, 4.0]))
    np.testing.assert_allclose(moments.scale, [2e-3, 2, 4])
