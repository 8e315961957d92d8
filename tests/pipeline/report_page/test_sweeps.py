"""Sweeps of the 3D view: what they decode to, and how much of the similarity they keep."""

from base64 import b64decode
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clever.pipeline.pictures.class_colours import class_colours
from clever.pipeline.pictures.labels import LabelledCloud
from clever.pipeline.pictures.recording import RecordedFrame
from clever.pipeline.report_page.sweeps import ReducedFeatures, Sweep

NAMES = ("car", "road", "pole")


def decoded(text: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(b64decode(text), kind)


def unit(features: torch.Tensor) -> NDArray[np.float64]:
    return torch.nn.functional.normalize(features.double(), dim=1).numpy()


def low_rank(rank: int, noise: float, channels: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    inner = torch.randn(500, rank, generator=generator)
    return inner @ torch.randn(rank, channels, generator=generator) + noise * torch.randn(
        500, channels, generator=generator
    )


def frame(features: torch.Tensor | None, truth: bool = True) -> RecordedFrame:
    rng = np.random.default_rng(2)
    xyz = rng.uniform([-50, -30, -2], [50, 30, 4], (500, 3))
    prediction = rng.integers(0, 3, 500)
    labels = np.where(rng.random(500) < 0.2, 255, rng.integers(0, 3, 500))
    cloud = LabelledCloud(xyz, prediction, labels if truth else None, 255, NAMES)
    return RecordedFrame("a/1", xyz, cloud.panels(), {}, features, cloud)


def test_few_dimensions_keep_all_of_what_has_few() -> None:
    features = low_rank(5, 0.0)
    reduced = ReducedFeatures.of(features, 32)
    assert reduced.codes.shape == (500, 8)
    full = unit(features)
    for point in (0, 123):
        error = np.abs(reduced.similarity(point) - full @ full[point])
        assert error.max() < 0.02
    assert reduced.fidelity.share > 0.9999


def test_what_is_kept_is_measured_against_the_full_features() -> None:
    """All points as queries: the share and the error of the whole matrix of cosines."""
    features = low_rank(20, 3.0)[:64]
    reduced = ReducedFeatures.of(features, 16)
    full = unit(features) @ unit(features).T
    own = np.array([reduced.similarity(point) for point in range(64)])
    fidelity = reduced.fidelity
    assert (fidelity.dimensions, fidelity.of) == (16, 40)
    assert fidelity.error == pytest.approx(np.abs(full - own).mean(), abs=1e-12)
    assert fidelity.share == pytest.approx(1 - ((full - own) ** 2).mean() / full.var(), abs=1e-12)
    assert 0.5 < fidelity.share < 0.995
    assert (
        f"16 of 40 principal dimensions in 8 bits: they keep {100 * fidelity.share:.2f} %"
        in str(fidelity)
    )
    # No 16 directions keep more of the Gram matrix (Eckart-Young); 8 bits cost next to nothing.
    values = np.linalg.eigvalsh(full)
    best = 1 - (values[:-16] ** 2).sum() / full.size / full.var()
    assert best - 2e-3 < fidelity.share <= best + 1e-4


def test_more_dimensions_than_channels_and_equal_features() -> None:
    assert ReducedFeatures.of(low_rank(3, 1.0, channels=6), 32).codes.shape == (500, 6)
    alike = ReducedFeatures.of(torch.ones(10, 6), 32)
    assert alike.fidelity.share == pytest.approx(1)
    assert alike.similarity(3) == pytest.approx(np.ones(10), abs=1e-2)


def test_places_and_classes_decode_to_the_sweep() -> None:
    own = frame(low_rank(5, 0.1))
    sweep = Sweep.of(own, "probe", 1000, 16)
    data = sweep.data
    codes = decoded(data["xyz"], "<i2").reshape(-1, 3)
    assert np.abs(codes * data["step"] + data["middle"] - own.xyz).max() <= data["step"] / 2 + 1e-9
    assert data["step"] == 0.01
    assert sweep.points == (500, 500)
    by_key = {colouring["key"]: colouring for colouring in data["colourings"]}
    assert list(by_key) == ["class", "truth", "error", "features"]
    assert own.cloud
    assert own.cloud.truth is not None
    palette = class_colours(NAMES).tolist()
    prediction = decoded(by_key["class"]["values"], "u1")
    assert [by_key["class"]["legend"][n]["colour"] for n in prediction] == [
        palette[n] for n in own.cloud.prediction
    ]
    labels = [
        by_key["truth"]["legend"][n]["name"] for n in decoded(by_key["truth"]["values"], "u1")
    ]
    names = [*NAMES, "no label"]
    assert labels == [names[3 if n == 255 else n] for n in own.cloud.truth]
    errors = [
        by_key["error"]["legend"][n]["name"] for n in decoded(by_key["error"]["values"], "u1")
    ]
    pairs = zip(own.cloud.truth, own.cloud.prediction, strict=True)
    assert errors == [
        "no label" if label == 255 else "right" if label == guess else "wrong"
        for label, guess in pairs
    ]
    assert decoded(by_key["features"]["rgb"], "u1").shape == (1500,)
    assert data["features"]["dimensions"] == 8
    assert sweep.picture.url.startswith("data:image/webp;base64,")


def test_of_many_points_some_are_drawn_and_the_page_says_so() -> None:
    own = frame(low_rank(5, 0.1), truth=False)
    sweep = Sweep.of(own, "probe", 60, 16, seed=4)
    assert sweep.points == (60, 500)
    assert sweep.words.startswith("60 of 500 points, drawn at random; features: 8 of 40 principal")
    codes = decoded(sweep.data["xyz"], "<i2").reshape(-1, 3)
    places = codes * sweep.data["step"] + np.array(sweep.data["middle"])
    nearest = [int(np.abs(own.xyz - place).sum(1).argmin()) for place in places]
    assert len(set(nearest)) == 60
    assert own.cloud
    prediction = decoded(sweep.data["colourings"][0]["values"], "u1")
    assert prediction.tolist() == own.cloud.prediction[nearest].tolist()
    assert [colouring["key"] for colouring in sweep.data["colourings"]] == ["class", "features"]
    again = Sweep.of(own, "probe", 60, 16, seed=4)
    assert again.data == sweep.data


def test_wide_sweeps_get_a_wider_step_and_no_features_none() -> None:
    xyz = np.array([[-1000.0, 0, 0], [1000, 1, 2], [3, 4, 5]])
    colours = {"teacher, where a camera sees": np.eye(3), "similarity, student": np.eye(3)}
    sweep = Sweep.of(RecordedFrame("f", xyz, colours, {}), "run", 10, 16)
    assert sweep.data["step"] == pytest.approx(1000 / 32767)
    codes = decoded(sweep.data["xyz"], "<i2").reshape(-1, 3)
    assert codes[:, 0].tolist() == [-32767, 32767, 98]
    assert [colouring["key"] for colouring in sweep.data["colourings"]] == ["teacher"]
    assert (
        decoded(sweep.data["colourings"][0]["rgb"], "u1").reshape(3, 3).tolist()
        == (255 * np.eye(3)).tolist()
    )
    assert "features" not in sweep.data
    assert not sweep.has_classes
    assert sweep.words == "3 points"
