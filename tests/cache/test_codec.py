"""Codecs against their own definition, and the measure of fidelity against NumPy."""

import numpy as np
import pytest
import torch

from clever.cache.choices import Codec
from clever.cache.codec import (
    ZSTD_STEP,
    Calibration,
    Statistics,
    calibrate,
    decode,
    encode,
    measure,
    pack,
    unpack,
)
from clever.cache.fidelity import Fidelity
from clever.errors import CleverError


def random_features(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-3, 2, 16)
    return torch.randn(400, 16, generator=generator) * scale + 10 * scale


def test_int8_error_is_half_a_step() -> None:
    features = random_features()
    calibration = calibrate([Statistics.of(features[:200]), Statistics.of(features[200:])], "int8")
    assert calibration is not None
    codes, clipped = encode(features, "int8", calibration)
    assert int(clipped) == 0
    error = (decode(codes, calibration) - features).abs()
    assert bool((error <= calibration.step * 0.5001).all())
    assert bool((error.amax(0) > calibration.step * 0.4).all())


def test_margin_of_the_range() -> None:
    """Five per cent of the range at each end: the sample's extremes sit at 127 / 1.1."""
    features = random_features()
    codes = encode(features, "int8", calibrate([Statistics.of(features)], "int8"))[0]
    np.testing.assert_array_equal(codes.amax(0).numpy(), np.full(16, round(127 / 1.1)))
    np.testing.assert_array_equal(codes.amin(0).numpy(), np.full(16, -round(127 / 1.1)))


def test_zstd_step_is_a_share_of_the_deviation() -> None:
    features = random_features()
    calibration = calibrate(
        [Statistics.of(features[:50]), Statistics.of(features[50:])], "int8-zstd"
    )
    assert calibration is not None
    np.testing.assert_allclose(
        calibration.centre.numpy(), features.double().mean(0).numpy(), rtol=1e-6
    )
    deviation = features.double().numpy().std(0)
    np.testing.assert_allclose(calibration.step.numpy(), ZSTD_STEP * deviation, rtol=1e-5)
    assert unpack(pack(b"clever" * 99, "int8-zstd"), "int8-zstd") == b"clever" * 99


def test_clipping_is_counted() -> None:
    calibration = calibrate([Statistics.of(torch.tensor([[0.0], [1.0]]))], "int8")
    codes, clipped = encode(torch.tensor([[0.5], [1.0], [3.0], [-9.0]]), "int8", calibration)
    assert int(clipped) == 2
    assert codes.flatten().tolist() == [0, 115, 127, -127]
    half, overflow = encode(torch.tensor([[1e6, 2.0]]), "fp16", None)
    assert int(overflow) == 1
    assert half.tolist() == [[65504.0, 2.0]]


def test_constant_channel() -> None:
    features = torch.full((5, 2), 3.0)
    calibration = calibrate([Statistics.of(features)], "int8")
    assert calibration is not None
    codes = encode(features, "int8", calibration)[0]
    assert torch.equal(decode(codes, calibration), features)


def test_fidelity_against_numpy() -> None:
    features = random_features()
    noise = (
        torch.randn(features.shape, generator=torch.Generator().manual_seed(3))
        * features.std(0)
        * 0.3
    )
    decoded = features + noise
    a, b = features.double().numpy(), decoded.double().numpy()
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    parts = [measure(features[part], decoded[part], 3) for part in (slice(0, 150), slice(150, 400))]
    total = sum(parts, Fidelity.none())
    assert total.mean == pytest.approx(cosine.mean(), abs=1e-12)
    assert total.cosine_min == pytest.approx(cosine.min(), abs=1e-12)
    assert total.clip_rate == 6 / 6400
    percentile = np.sort(cosine)[int(0.01 * 400)]
    assert total.percentile1 <= percentile
    assert 1 - total.percentile1 <= (1 - percentile) * 10**0.2


def test_nothing_to_calibrate_on() -> None:
    with pytest.raises(CleverError, match="no frame could be read"):
        calibrate([], "int8")


def test_calibrations_are_equal_in_both_halves_or_not_at_all() -> None:
    centre, step = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25])
    calibration = Calibration(centre, step)
    assert calibration.equals(Calibration(centre.clone(), step.clone()))
    assert not calibration.equals(Calibration(centre + 1, step))
    assert not calibration.equals(Calibration(centre, step * 2))
    assert not calibration.equals(Calibration(centre + 1, step * 2))


def test_what_eight_bits_hold_is_not_clipped() -> None:
    """Codes of 127 and what rounds to them; one more is clipped, at both ends."""
    calibration = Calibration(torch.tensor([1.0]), torch.tensor([0.5]))
    steps = torch.tensor([[127.0], [-127.0], [127.25], [-127.25], [127.75], [-128.0], [300.0]])
    codes, clip_count = encode(1 + 0.5 * steps, "int8", calibration)
    assert codes.flatten().tolist() == [127, -127, 127, -127, 127, -127, 127]
    assert int(clip_count) == 3
    limit = torch.tensor([[65504.0, -65504.0, 65536.0]])
    half, overflow = encode(limit, "fp16", None)
    assert half.tolist() == [[65504.0, -65504.0, 65504.0]]
    assert int(overflow) == 1


@pytest.mark.parametrize("codec", ["int8", "int8-zstd"])
def test_the_smallest_step_is_the_rounding_of_the_centre(codec: Codec) -> None:
    """Of channels that do not vary: of the centre's size, or of 1 where that is smaller."""
    values = torch.tensor([[0.0, 0.125, -4.0, 1024.0]]).repeat(5, 1)
    calibration = calibrate([Statistics.of(values)], codec)
    assert calibration is not None
    assert torch.equal(calibration.centre, values[0])
    eps = torch.finfo(torch.float32).eps
    assert torch.equal(calibration.step, torch.tensor([1.0, 1.0, 4.0, 1024.0]) * eps)


def test_codecs_that_need_no_fit_and_those_that_need_one() -> None:
    assert calibrate([], "fp16") is None
    with pytest.raises(CleverError, match="the codec int8-zstd needs a calibration"):
        encode(torch.zeros(1, 1), "int8-zstd", None)
    for codec in ("int8", "fp16", None):
        assert pack(b"clever" * 99, codec) == unpack(b"clever" * 99, codec) == b"clever" * 99
    assert len(pack(b"clever" * 99, "int8-zstd")) < 60


def test_the_ends_of_the_histogram_hold_what_lies_beyond() -> None:
    """Equal and opposite features: every token is counted, in the first and in the last bin."""
    features = torch.eye(4)
    signs = torch.tensor([[1.0], [1.0], [1.0], [-1.0]])
    histogram = measure(features, features * signs, 0).histogram
    assert (histogram[0], sum(histogram)) == (3, 4)
    assert np.flatnonzero(histogram).tolist() == [0, int(np.floor((np.log10(2) + 8) / 0.1))]
