"""Activation checkpointing: the same bits from fewer stored bytes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clever.student.backbones import sparse
from clever.student.backbones.recompute import recompute
from clever.student.draws import Draws
from clever.student.points import PointBatch
from clever.student.registry import build_student
from clever.student.student import Student

Make = Callable[..., PointBatch]
NAMES = ["minkunet-tiny", "ptv3-tiny"]


class Stored:
    """Counts the bytes that a forward pass stores for the backward pass."""

    def __init__(self) -> None:
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.storages[storage._cdata] = storage
        return tensor

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


def train(
    name: str, points: PointBatch, again: bool, half: bool = False
) -> tuple[dict[str, Tensor], int]:
    """Losses, gradients, weights and buffers of two steps, and the bytes stored for the first one's
    backward pass."""
    torch.manual_seed(0)
    student = build_student(name, 0.25)
    student.recompute = again
    optimizer = torch.optim.SGD(student.parameters(), 1e-3)
    result, stored = {}, Stored()
    for step in range(2):
        optimizer.zero_grad()
        counted = torch.autograd.graph.saved_tensors_hooks(
            stored if step == 0 else lambda x: x, lambda x: x
        )
        with counted, torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = student(points, Draws(points, [step, 7, 8])).float().square().mean()
        loss.backward()
        result |= {f"{step} {key}": parameter.grad for key, parameter in student.named_parameters()}
        result |= {
            f"{step} buffer {key}": buffer.clone() for key, buffer in student.named_buffers()
        }
        result[f"{step} loss"] = loss.detach()
        optimizer.step()
    return result, stored.bytes


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_from_fewer_bytes(make_batch: Make, name: str, half: bool):
    points = make_batch(600, 0, 500)
    (plain, stored), (again, fewer) = (train(name, points, flag, half) for flag in (False, True))
    assert plain.keys() == again.keys()
    assert [key for key in plain if not torch.equal(plain[key], again[key])] == []
    assert sum("num_batches_tracked" in key for key in plain) > 5
    assert fewer < 0.5 * stored


@pytest.mark.parametrize("name", NAMES)
def test_every_part_runs_twice_in_training_alone(make_batch: Make, name: str):
    torch.manual_seed(0)
    student, points = build_student(name, 0.25), make_batch(300)
    deepest = student.backbone.get_submodule("encoder.3.0")
    runs: list[int] = []
    deepest.register_forward_pre_hook(lambda *_: runs.append(1))

    def count(backward: bool) -> int:
        runs.clear()
        out = student(points, Draws(points, [1])).square().sum()
        if backward:
            out.backward()
        return len(runs)

    assert count(backward=True) == 1
    student.recompute = True
    assert student.backbone.recompute
    assert count(backward=True) == 2
    assert count(backward=False) == 1
    with torch.no_grad():
        assert count(backward=False) == 1
    student.eval()
    assert count(backward=True) == 1


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(("name", "keys"), [("minkunet-tiny", 10), ("ptv3-tiny", 5)])
def test_neighbours_are_searched_once_a_key(
    make_batch: Make, monkeypatch: pytest.MonkeyPatch, name: str, keys: int, again: bool
):
    # The stem's, each level's and, for MinkUNet, each halving's: not once a block, nor again for
    # the gradient.
    searches: list[str] = []
    for name_of_search in ("submanifold_map", "halving_map"):
        search = getattr(sparse, name_of_search)
        monkeypatch.setattr(
            sparse,
            name_of_search,
            lambda *args, search=search: (searches.append(search.__name__), search(*args))[1],
        )
    student, points = build_student(name, 0.25), make_batch(300)
    student.recompute = again
    student(points, Draws(points, [1])).square().sum().backward()
    assert len(searches) == keys


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_the_state(name: str):
    student: Student = build_student(name, 0.25)
    assert not student.recompute
    before = set(student.state_dict())
    student.recompute = True
    assert set(student.state_dict()) == before


def test_running_statistics_move_once_even_where_the_gradient_is_not_finite():
    norm = nn.BatchNorm1d(3)
    x = torch.tensor([[1.0, 2, 3], [5, 6, 7], [0, 0, float("inf")]], requires_grad=True)
    mean, count = norm.running_mean, norm.num_batches_tracked
    recompute(norm, norm, x).sum().backward()
    assert norm.running_mean is mean
    assert norm.num_batches_tracked is count
    assert count is not None
    assert count.item() == 1
    assert mean is not None
    torch.testing.assert_close(mean[:2], torch.tensor([0.2, 0.8 / 3]))


def test_statistics_come_back_after_an_error():
    norm = nn.BatchNorm1d(2)
    calls: list[int] = []

    def fails_the_second_time(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("second run")
        return norm(x).sin()

    x = torch.ones(2, 2, requires_grad=True)
    mean = norm.running_mean
    with pytest.raises(RuntimeError, match="second run"):
        recompute(norm, fails_the_second_time, x).sum().backward()
    assert norm.running_mean is mean
