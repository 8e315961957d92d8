"""The order of a run's frames and how processes share it."""

from collections import Counter

import pytest
import torch

from clever.pipeline.training.batches import Batch, FrameOrder, Parts


@pytest.mark.parametrize(
    ("frames", "epochs", "batch"), [(10, 3, 4), (5, 4, 5), (7, 2, 16), (1, 12, 1), (16, 1, 4)]
)
def test_every_pass_sees_every_frame_once(frames: int, epochs: int, batch: int) -> None:
    order = FrameOrder(frames, epochs, batch, seed=3)
    draws = [draw for step in range(order.steps) for draw in order.batch(step)]
    assert len(draws) == order.steps * batch
    assert 0 <= len(draws) - frames * epochs < batch
    assert order.draws == pytest.approx(len(draws) / frames)
    for epoch in range(epochs):
        assert sorted(draw.frame for draw in draws[epoch * frames : (epoch + 1) * frames]) == list(
            range(frames)
        )
    assert max(Counter(draw.key for draw in draws).values()) == 1


def test_the_order_changes_with_pass_and_seed_and_with_nothing_else() -> None:
    def frames(seed: int, batch: int) -> list[int]:
        order = FrameOrder(20, 3, batch, seed)
        return [draw.frame for step in range(order.steps) for draw in order.batch(step)][:60]

    first = frames(0, 4)
    assert first[:20] != first[20:40] != first[40:]
    assert first == frames(0, 4) == frames(0, 5)
    assert first != frames(1, 4)


def test_passes_end_with_the_step_that_reaches_their_last_frame() -> None:
    order = FrameOrder(5, 2, 2, 0)
    assert [order.epoch(step) for step in range(5)] == [0, 0, 0, 1, 1]
    assert [order.ends_epoch(step) for step in range(5)] == [False, False, True, False, True]
    order = FrameOrder(2, 4, 6, 0)  # a step longer than a pass
    assert [order.epoch(step) for step in range(2)] == [0, 3]
    assert [order.ends_epoch(step) for step in range(2)] == [True, True]


@pytest.mark.parametrize(("processes", "micro"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
@pytest.mark.parametrize("start", [0, 3])
def test_the_parts_of_a_step_are_the_step(processes: int, micro: int, start: int) -> None:
    order = FrameOrder(13, 2, 4, 9)
    lists = [list(Parts(order, start, micro, rank, processes)) for rank in range(processes)]
    assert all(len(parts) == (order.steps - start) * micro for parts in lists)
    for step in range(start, order.steps):
        first = (step - start) * micro
        joined = [draw for parts in lists for part in parts[first : first + micro] for draw in part]
        assert joined == order.batch(step)


def test_a_batch_moves_as_a_whole() -> None:
    from clever.pipeline.steps.labelled import LabelledBatch
    from clever.student.points import PointBatch

    points = PointBatch.from_clouds([torch.rand(3, 4), torch.rand(2, 4)])
    batch = LabelledBatch(["a", "b"], [1, 2], points, torch.arange(5))
    moved = batch.to(torch.device("meta"))
    assert isinstance(moved, Batch)
    assert (moved.ids, moved.keys, moved.points.counts) == (["a", "b"], [1, 2], (3, 2))
    tensors = (moved.labels, moved.points.xyz, moved.points.intensity, moved.points.scene)
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 4
    assert batch.labels.device.type == "cpu"
