"""RankMe and matrix rank against closed forms and numpy."""

import math

import numpy as np
import pytest
import torch

from clever.errors import CleverError
from clever.student.rank import EPSILON, feature_rank, rankme


def orthonormal(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(
        torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()
    ).Q


def by_formula(values: list[float]) -> float:
    """RankMe written out in plain Python."""
    shares = [value / sum(values) + 1e-7 for value in values]
    return math.exp(-sum(share * math.log(share) for share in shares))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_identity_has_full_rank(size: int):
    share = 1 / size + EPSILON
    rank = feature_rank(torch.eye(size))
    assert rank.rankme == pytest.approx(share ** (-size * share), rel=1e-12)
    assert rank.rankme == pytest.approx(size, rel=1e-4)
    assert rank.matrix_rank == size


def test_rank_one_is_one_but_for_the_epsilon():
    features = torch.outer(torch.arange(1.0, 51), torch.tensor([3.0, -1, 2, 5]))
    rank = feature_rank(features)
    assert rank.rankme == pytest.approx(by_formula([1, 0, 0, 0]), rel=1e-9)
    assert 1 < rank.rankme < 1 + 1e-5
    assert rank.matrix_rank == 1


def test_known_spectrum():
    spectrum = [8.0, 4.0, 2.0, 1.0, 1e-5, 0.0]
    features = (
        orthonormal(200, 6, 0) @ torch.diag(torch.tensor(spectrum).double()) @ orthonormal(6, 6, 1)
    )
    rank = feature_rank(features)
    assert rank.rankme == pytest.approx(by_formula(spectrum), rel=1e-9)
    # Four equal values and two of nothing: exactly four directions, without the epsilon.
    assert rankme(torch.tensor([2.0, 2, 2, 2]).double()) == pytest.approx(4, rel=1e-5)
    assert [feature_rank(features, tolerance=t).matrix_rank for t in (0.2, 2e-6, 1e-6)] == [3, 4, 5]
    assert feature_rank(features).matrix_rank == 5


def test_invariant_to_rotation_scale_and_the_order_of_rows():
    features = torch.randn(
        300, 16, generator=torch.Generator().manual_seed(2)
    ).double() @ torch.diag(torch.logspace(0, -2, 16).double())
    order = torch.randperm(300, generator=torch.Generator().manual_seed(3))
    for centred in (False, True):
        full_rank = feature_rank(features, centred)
        for same in (
            features @ orthonormal(16, 16, 4),
            features[order],
            1e-6 * features,
            -features,
        ):
            rank = feature_rank(same, centred)
            assert rank.rankme == pytest.approx(full_rank.rankme, rel=1e-9)
            assert rank.matrix_rank == full_rank.matrix_rank
    shifted = feature_rank(features + 5, centred=True)
    assert shifted.rankme == pytest.approx(feature_rank(features, centred=True).rankme, rel=1e-9)


def test_centring_takes_away_the_mean():
    direction = torch.tensor([0.1, 1 / 3, -2.0, 0.7], dtype=torch.float64)
    constant = direction.repeat(1000, 1)
    assert feature_rank(constant).matrix_rank == 1
    for rows in (3, 997, 1000):  # whatever the mean is rounded to
        assert feature_rank(constant[:rows], centred=True) == feature_rank(
            torch.zeros(rows, 4).double()
        )
    assert feature_rank(torch.zeros(1000, 4)).rankme == 0
    assert feature_rank(torch.zeros(1000, 4)).matrix_rank == 0
    features = constant + torch.outer(torch.linspace(-1, 1, 1000), torch.tensor([0, 0, 0, 1.0]))
    assert [feature_rank(features, centred, 1e-6).matrix_rank for centred in (False, True)] == [
        2,
        1,
    ]


@pytest.mark.parametrize("shape", [(400, 12), (5, 12)])
def test_matrix_rank_is_that_of_numpy(shape: tuple[int, int]):
    """By default as numpy on float32, whose rounding makes a product of rank 3 look full in
    float64."""
    draw = np.random.default_rng(5)
    features = (draw.normal(size=(shape[0], 3)) @ draw.normal(size=(3, shape[1]))).astype(
        np.float32
    )
    assert (
        feature_rank(torch.from_numpy(features)).matrix_rank == np.linalg.matrix_rank(features) == 3
    )
    exact = features.astype(np.float64)
    assert (
        feature_rank(torch.from_numpy(exact)).matrix_rank
        == np.linalg.matrix_rank(exact)
        == min(shape)
    )
    values = np.linalg.svd(exact, compute_uv=False).tolist()
    assert feature_rank(torch.from_numpy(features)).rankme == pytest.approx(
        by_formula(values), rel=1e-9
    )
    assert feature_rank(torch.from_numpy(features)).tolerance == max(shape) * 2**-23


def test_features_of_lower_precision_count_as_float32():
    features = torch.randn(4000, 8, generator=torch.Generator().manual_seed(6)).bfloat16()
    rank = feature_rank(features)
    assert (rank.matrix_rank, rank.tolerance) == (8, 4000 * 2**-23)
    assert rank == feature_rank(features.float())


@pytest.mark.parametrize(
    "bad", [torch.zeros(0, 4), torch.tensor([[1.0, math.nan]]), torch.tensor([[math.inf, 0]])]
)
def test_empty_and_infinite_features_are_refused(bad: torch.Tensor):
    with pytest.raises(CleverError, match="empty or not finite"):
        feature_rank(bad)
