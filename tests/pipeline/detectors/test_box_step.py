"""Frames with boxes in batches, and a step of a detector on a tiny student."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clever.cache.frame import Frame
from clever.pipeline.datasets.boxes import BoxDataset, LabelledBoxes
from clever.pipeline.detection.box_augmentation import BoxAugmentation
from clever.pipeline.detection.box_frame import BoxFrame
from clever.pipeline.detection.coders import PointCoder
from clever.pipeline.detection.object_bank import ObjectBank
from clever.pipeline.detectors import box_step
from clever.pipeline.detectors.box_batch import BoxBatch, collate_boxes
from clever.pipeline.detectors.box_heads import PointBoxHead
from clever.pipeline.detectors.box_step import BoxFrames, BoxStep, Sampling
from clever.pipeline.training.batches import FrameDraw
from clever.student.points import PointBatch
from clever.student.registry import build_student

NAMES = ("Car", "Cyclist")


class MemoryDataset(BoxDataset):
    """Two frames of 300 points with two boxes each."""

    name = "memory"
    cameras = ()
    class_names = ()
    frame_ids = ("a", "b")
    scenes = ("a", "b")

    def __len__(self) -> int:
        return 2

    def frame(self, index: int) -> Frame:
        raise NotImplementedError

    def points(self, index: int) -> NDArray[np.float32]:
        rng = np.random.default_rng(index)
        ground = rng.uniform([-8, -8, -1.2, 0], [8, 8, -1, 1], (200, 4))
        inside = rng.uniform([-1, -0.5, -0.5, 0], [1, 0.5, 0.5, 1], (2, 50, 4))
        inside[..., :3] += self.boxes(index).rows[:, None, :3]
        return np.concatenate([ground, inside.reshape(-1, 4)]).astype(np.float32)

    def has_labels(self, index: int) -> bool:
        return False

    def labels(self, index: int) -> NDArray[np.uint8]:
        raise NotImplementedError

    def boxes(self, index: int) -> LabelledBoxes:
        rows = [[4 + index, 0, 0, 3, 1.6, 1.5, 0.1], [-4, 3 * index + 2, 0, 3, 1.6, 1.5, -0.1]]
        return LabelledBoxes(("Car", ("Van", "Cyclist")[index]), np.array(rows))


@pytest.fixture(scope="module")
def frames() -> BoxFrames:
    plain = BoxFrames(MemoryDataset(), [0, 1], NAMES)
    bank = ObjectBank.of(plain[n, 0][2] for n in range(2))
    sampling = Sampling(bank, {0: 2, 1: 2})
    return BoxFrames(MemoryDataset(), [1, 0], NAMES, sampling, BoxAugmentation())


def batch(frames: BoxFrames, *draws: tuple[int, int]) -> BoxBatch:
    return collate_boxes([frames[FrameDraw(*draw)] for draw in draws])


def test_frames_are_those_of_the_dataset_augmented_by_key(frames: BoxFrames) -> None:
    plain = BoxFrames(MemoryDataset(), [1, 0], NAMES)
    ids, key, frame = plain[0, 7]
    assert (ids, key, len(plain)) == ("b", 7, 2)
    assert frame.classes.tolist() == [0, 1]
    np.testing.assert_array_equal(frame.points, MemoryDataset().points(1))
    np.testing.assert_allclose(frame.boxes.rows, MemoryDataset().boxes(1).rows, rtol=1e-6)
    assert plain[1, 7][2].classes.tolist() == [0]  # the van is no class of these
    first, again, other = (frames[1, key][2] for key in (7, 7, 8))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.boxes.rows, other.boxes.rows)
    # Sampled objects come before the motion: each box holds the points that it held in the bank.
    assert first.classes.tolist() == [0, 1]
    assert first.points_inside().min() >= 45


def test_frames_are_read_once_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    class CountingDataset(MemoryDataset):
        def points(self, index: int) -> NDArray[np.float32]:
            reads.append(index)
            return super().points(index)

    whole = BoxFrames(CountingDataset(), [0, 1], NAMES, None, BoxAugmentation())
    first, *_ = [whole[number, key][2] for number, key in ((0, 3), (1, 3), (0, 4), (1, 4))]
    assert reads == [0, 1]
    # What was done to a frame is not done to the one in memory.
    assert torch.equal(whole[0, 3][2].points, first.points)
    assert torch.equal(whole[0, 3][2].boxes.rows, first.boxes.rows)
    monkeypatch.setattr(box_step, "MEMORY_POINTS", 599)
    half = BoxFrames(CountingDataset(), [0, 1], NAMES)
    assert len(half[0, 0][2].points) == 300
    reads.clear()
    for _ in range(2):
        _ = half[0, 0], half[1, 0]
    assert reads == [1, 1]


def test_a_batch_moves_as_one(frames: BoxFrames) -> None:
    ours = batch(frames, (0, 1), (1, 2))
    assert (ours.ids, ours.keys) == (["b", "a"], [1, 2])
    moved = ours.to(torch.device("meta"))
    assert {part.device.type for one in moved.frames for part in
            (one.points, one.boxes.rows, one.classes)} == {"meta"}  # fmt: skip
    assert isinstance(moved.frames[0], BoxFrame)


def make_step(frozen: bool) -> BoxStep:
    torch.manual_seed(0)
    student = build_student("minkunet-tiny", 0.4)
    head = PointBoxHead(PointCoder(((3.0, 1.6, 1.5),) * 2), student.out_channels)
    return BoxStep(student, head, frozen=frozen).train()


def test_a_step_gives_the_heads_losses(frames: BoxFrames) -> None:
    ours, step = batch(frames, (0, 1), (1, 2)), make_step(frozen=True)
    assert step.counts(ours) == {"frames": 2}
    losses = step(ours, {"frames": torch.tensor(4.0)})
    points = PointBatch.from_clouds([one.points for one in ours.frames])
    expected = step.head.losses(step.student.eval()(points), points, ours)
    assert losses.keys() == {"loss", "classes", "codes"}
    for name, loss in expected.items():
        assert losses[name].item() == pytest.approx(loss.item() / 2, rel=1e-5)
    total = (expected["classes"] + expected["codes"]).item()
    assert losses["loss"].item() == pytest.approx(total / 2, rel=1e-5)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_student_stays_as_it_is(frames: BoxFrames, frozen: bool) -> None:
    step = make_step(frozen)
    state = {name: value.clone() for name, value in step.student.state_dict().items()}
    step(batch(frames, (0, 1), (1, 2)), {"frames": torch.tensor(2.0)})["loss"].backward()
    assert all(part.grad is not None for part in step.head.parameters())
    assert all((part.grad is None) == frozen for part in step.student.parameters())
    same = [torch.equal(value, state[name]) for name, value in step.student.state_dict().items()]
    assert all(same) == frozen  # statistics of batch norms
    assert step.changing() is (step.head if frozen else step)
    assert (step.block_parameters() == []) or not frozen
    results = step.eval().detections([one.points for one in batch(frames, (0, 1)).frames])
    assert len(results) == 1
    assert not results[0].scores.requires_grad
