"""Random numbers by scene: the generator against its reference, distributions, and who depends on
what."""

import math
from collections.abc import Callable

import pytest
import torch

from clever.student.draws import Draws, _hash, _int64, key
from clever.student.points import PointBatch

Make = Callable[..., PointBatch]
GAMMA = 0x9E3779B97F4A7C15


@pytest.fixture
def many(make_batch: Make) -> Draws:
    """One scene of 40,000 points."""
    return Draws(make_batch(40_000), [11])


def scenes(count: int) -> Draws:
    """That many scenes without points, keyed 0, 1, 2, ..."""
    return Draws(PointBatch.from_clouds([torch.zeros(0, 4)] * count), range(count))


def even(values: torch.Tensor, bins: int) -> bool:
    """Chi-square of values in [0, 1) in equal bins, within five standard deviations of its mean."""
    expected = values.numel() / bins
    counts = torch.histc(values.double().flatten(), bins, 0, 1)
    return abs(((counts - expected) ** 2 / expected).sum().item() - (bins - 1)) < 5 * math.sqrt(
        2 * (bins - 1)
    )


def test_hash_is_the_reference_generator():
    # SplitMix64 from seed 1234567, as published with its reference implementation.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    states = [_int64((1234567 + GAMMA * (step + 1)) % 2**64) for step in range(5)]
    assert [value % 2**64 for value in _hash(torch.tensor(states)).tolist()] == expected


def test_part_of_a_cloud_draws_what_it_draws_in_the_whole(make_batch: Make):
    whole, part = make_batch(60, 0, 40), make_batch(3, 0, 2)
    number = torch.tensor([0, 31, 59, 7, 39])
    draws, of_part = Draws(whole, [5, 6, 7]), Draws(part, [5, 6, 7], number)
    row = number + torch.tensor([0, 0, 0, 60, 60])
    assert torch.equal(of_part.for_points("a", 2), draws.for_points("a", 2)[row])
    assert torch.equal(of_part.normal("a", 3), draws.normal("a", 3)[row])
    assert torch.equal(of_part.for_scenes("a", 2), draws.for_scenes("a", 2))
    order = draws.order("a")
    assert row[of_part.order("a")].tolist() == [n for n in order.tolist() if n in row]
    assert torch.equal(
        Draws(part, [5, 6, 7], torch.tensor([0, 1, 2, 0, 1])).points, Draws(part, [5, 6, 7]).points
    )


def test_keys_are_the_same_everywhere():
    assert key("run", 0, 17, "frame") == 771635740499457098
    assert key("run", 0, 17, "frame") != key("run", 0, 1, "7frame")
    assert key(1) != key("1")
    assert all(0 <= key(number) < 2**63 for number in range(1000))


def test_uniform_numbers_fill_the_unit_interval_evenly(many: Draws):
    for values in (many.for_points("a", 2), scenes(20_000).for_scenes("a", 3)):
        assert values.min() >= 0
        assert values.max() < 1
        assert torch.equal(values * 2**24, (values * 2**24).round())  # exact in float32
        assert even(values, 64)
        for low_bits in (values * 2**12 % 1, values * 2**20 % 1):
            assert even(low_bits, 16)
    assert scenes(2).for_scenes("a", 3).dtype == torch.float64
    assert many.for_points("a", 2).dtype == torch.float32


def test_columns_points_scenes_and_purposes_are_independent(many: Draws):
    columns = many.for_points("a", 4).double()
    series = [*columns.unbind(1), many.for_points("b", 1)[:, 0].double(), columns[:, 0].roll(1)]
    correlation = torch.corrcoef(torch.stack(series)) - torch.eye(6)
    assert correlation.abs().max() < 5 / math.sqrt(40_000)
    keyed = scenes(20_000)  # neighbouring keys
    first = keyed.for_scenes("a", 2)
    series = [first[:, 0], first[:, 1], first[:, 0].roll(1), keyed.for_scenes("b", 1)[:, 0]]
    assert (torch.corrcoef(torch.stack(series)) - torch.eye(4)).abs().max() < 5 / math.sqrt(20_000)


def test_normal_numbers(many: Draws):
    values = many.normal("a", 3).double()
    assert values.shape == (40_000, 3)
    assert values.mean().abs() < 5 / math.sqrt(120_000)
    assert (torch.cov(values.T) - torch.eye(3)).abs().max() < 5 * math.sqrt(2 / 40_000)
    assert even(torch.special.ndtr(values), 64)
    assert many.normal("a", 1).shape == (40_000, 1)


def test_a_scene_draws_the_same_in_any_batch(make_batch: Make):
    both, second = make_batch(50, 0, 70), make_batch(50, 0, 70)
    second = PointBatch.from_clouds([torch.cat([second.xyz, second.intensity[:, None]], 1)[50:]])
    together, alone = Draws(both, [3, 4, 5]), Draws(second, [5])
    assert torch.equal(together.for_scenes("a", 5)[2:], alone.for_scenes("a", 5))
    assert torch.equal(together.for_points("a", 2)[50:], alone.for_points("a", 2))
    assert torch.equal(together.normal("a", 3)[50:], alone.normal("a", 3))
    order = together.order("a")
    assert torch.equal(order[order >= 50] - 50, alone.order("a"))
    other = Draws(second, [6])
    assert not torch.equal(alone.for_points("a", 2), other.for_points("a", 2))
    assert not torch.equal(alone.order("a"), other.order("a"))


def test_some_points_alone_draw_what_they_draw_among_all(many: Draws):
    index = torch.tensor([17, 3, 3, 39_999])
    assert torch.equal(many.for_points("a", 3, index), many.for_points("a", 3)[index])


def test_orders_are_uniform_permutations(make_batch: Make):
    points = make_batch(*[4] * 6000)
    order = Draws(points, range(6000)).order("a")
    assert torch.equal(order.sort().values, torch.arange(24_000))
    place = torch.empty_like(order)
    place[order] = torch.arange(24_000)
    rank = place.view(6000, 4).argsort(1)  # the order of each scene's four points
    _, counts = torch.unique(rank, dim=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 250) ** 2 / 250).sum() < 23 + 5 * math.sqrt(46)


def test_scenes_with_the_same_key_are_in_the_same_order(make_batch: Make):
    order = Draws(make_batch(30, 30), [9, 9]).order("a")
    assert torch.equal(order[order < 30], order[order >= 30] - 30)


def test_generators_depend_on_purpose_and_every_key(make_batch: Make):
    points = make_batch(5, 5)

    def draw(purpose: str, *keys: int) -> float:
        return torch.rand(1, generator=Draws(points, keys).generator(purpose)).item()

    assert draw("a", 1, 2) == draw("a", 1, 2)
    assert (
        len({draw("a", 1, 2), draw("b", 1, 2), draw("a", 1, 3), draw("a", 3, 2), draw("a", 2, 1)})
        == 5
    )


def test_every_scene_needs_a_key(make_batch: Make):
    with pytest.raises(ValueError, match="1 keys for a batch of 2 scenes"):
        Draws(make_batch(5, 5), [1])
