"""The order of the frames of several stores."""

from collections import Counter
from itertools import pairwise

import pytest

from clever.pipeline.training.batches import FrameDraw, FrameOrder
from clever.pipeline.training.mixture import MixedOrder, MixedStore, Mixture, whole_turns


def mixture(*stores: tuple[int, float], together: int = 1) -> Mixture:
    return Mixture(
        tuple(
            MixedStore(frames, weight, f"store {number}")
            for number, (frames, weight) in enumerate(stores)
        ),
        together,
    )


def draws(order: FrameOrder) -> list[FrameDraw]:
    return [draw for step in range(order.steps) for draw in order.batch(step)]


@pytest.mark.parametrize("together", [1, 2, 4])
def test_a_single_store_is_drawn_as_ever(together: int) -> None:
    order = MixedOrder(mixture((10, 10), together=together), 3, 4, 7)
    assert draws(order) == draws(FrameOrder(10, 3, 4, 7))


def test_what_a_single_store_s_run_draws_never_changes() -> None:
    """Runs of earlier versions go on with the same bits."""
    assert FrameOrder(5, 2, 3, 5).batch(1) == [
        FrameDraw(0, 5957850023816253441),
        FrameDraw(4, 5054003487710088258),
        FrameDraw(2, 4769780580079695947),
    ]


def test_concatenated_every_frame_comes_once_a_pass() -> None:
    order = MixedOrder(mixture((10, 10), (39, 39)), 3, 7, 1)
    frames = [draw.frame for draw in draws(order)]
    for epoch in range(3):
        assert sorted(frames[49 * epoch : 49 * (epoch + 1)]) == list(range(49))
    assert frames[:49] != frames[49:98]
    sides = "".join("ab"[frame >= 10] for frame in frames[:49])
    assert sides not in ("a" * 10 + "b" * 39, "b" * 39 + "a" * 10)


@pytest.mark.parametrize(
    ("weights", "shares"), [((1, 1), (22, 22)), ((3, 1), (33, 11)), ((1, 10**6), (1, 43))]
)
def test_shares_of_a_pass_are_those_of_the_weights(
    weights: tuple[float, float], shares: tuple[int, int]
) -> None:
    order = MixedOrder(mixture((4, weights[0]), (40, weights[1])), 5, 11, 2)
    assert order.steps == 20
    frames = [draw.frame for draw in draws(order)]
    for epoch in range(5):
        own = Counter(frame >= 4 for frame in frames[44 * epoch : 44 * (epoch + 1)])
        assert (own[False], own[True]) == shares
    for first, count in ((0, 4), (4, 40)):
        own_frames = [frame for frame in frames if first <= frame < first + count]
        for start in range(0, len(own_frames) - count + 1, count):
            assert len(set(own_frames[start : start + count])) == count


def test_frames_come_in_pairs_or_batches_of_one_store() -> None:
    for together in (2, 6):
        order = MixedOrder(mixture((10, 10), (39, 39), together=together), 4, 6, 0)
        for step in range(order.steps):
            sides = [draw.frame >= 10 for draw in order.batch(step)]
            for start in range(0, 6, together):
                assert len(set(sides[start : start + together])) == 1
    assert whole_turns(mixture((10, 10), (39, 39), together=6)) == [2, 7]


def test_turns_are_shared_out_by_largest_remainder() -> None:
    assert whole_turns(mixture((10, 1), (10, 1), (10, 1.5))) == [9, 8, 13]
    assert whole_turns(mixture((1, 1), (1, 1000), (1, 1))) == [1, 1, 1]
    assert whole_turns(mixture((3, 1), (1, 1), together=16)) == [1, 1]


def test_keys_depend_on_seed_pass_frame_and_store_alone() -> None:
    stores = (MixedStore(6, 6, "a"), MixedStore(6, 6, "b"))
    forth = draws(MixedOrder(Mixture(stores), 2, 4, 0))
    back = draws(MixedOrder(Mixture(stores[::-1]), 2, 4, 0))
    balanced = draws(MixedOrder(Mixture((stores[0], MixedStore(6, 18, "b"))), 8, 4, 0))
    keys = [{draw.key for draw in part} for part in (forth, back)]
    assert len(keys[0]) == 24  # two stores, the same numbers of frames, no key twice
    assert keys[0] == keys[1]
    assert keys[0] <= {draw.key for draw in balanced}
    assert not keys[0] & {draw.key for draw in draws(MixedOrder(Mixture(stores), 2, 4, 1))}


def test_more_passes_go_on_where_fewer_end() -> None:
    parts = mixture((10, 10), (39, 20), together=2)
    short, long = (MixedOrder(parts, epochs, 4, 3) for epochs in (2, 5))
    assert draws(long)[: short.steps * 4] == draws(short)
    assert all(first.frame != second.frame for first, second in pairwise(draws(short)))
