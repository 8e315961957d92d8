"""How often a training step makes the host wait for the device: counted without one, see the
fixture `host_reads`.

Unavoidable, and asserted here one by one:

- `voxelize`: the extents of the scenes (one read: they decide the grid, and points without a place
  must be refused) and the number of occupied voxels, which is the size of all that follows.
- PointTransformer V3: the number of voxels of every scene at every level, all in one read.
- spconv, on a GPU: the number of voxels after each of MinkUNet's halvings. It is read inside
  spconv, not seen here.

Everything else works with sizes that the host knows.
"""

from collections.abc import Callable

import pytest
import torch

from clever.student.backbones.sparse import DownConv, SubmanifoldConv, UpConv
from clever.student.choices import DistillationLoss
from clever.student.clouds.augment import PRESETS
from clever.student.clouds.mix3d import mix3d
from clever.student.draws import Draws
from clever.student.losses.pairs import distillation_loss, pair_weights
from clever.student.points import PointBatch
from clever.student.registry import build_student
from clever.student.student import Student
from clever.student.voxelize import voxelize

Make = Callable[..., PointBatch]
HostReads = Callable[..., list[str]]
VOXELIZE = ["tolist", "_unique2"]
OWN = {"minkunet-tiny": [], "ptv3-tiny": ["tolist"]}


@pytest.fixture
def points(make_batch: Make) -> PointBatch:
    return make_batch(300, 0, 200, 100)


@pytest.fixture
def draws(points: PointBatch) -> Draws:
    return Draws(points, [1, 2, 3, 4])


@pytest.fixture(params=OWN)
def student(request: pytest.FixtureRequest) -> Student:
    torch.manual_seed(0)
    return build_student(request.param, 0.25)


WAITS: dict[str, Callable[[torch.Tensor], object]] = {
    "_local_scalar_dense": lambda x: bool(x[0] > 0),
    "_unique2": lambda x: x.unique(),
    "nonzero": lambda x: (x > 0).nonzero(),
    "masked_select": lambda x: x.masked_select(x > 0),
    "index": lambda x: x[x > 0],
    "index_put_": lambda x: x.clone().__setitem__(x > 0, x[:2]),
    "repeat_interleave": lambda x: x.repeat_interleave(x.abs().long()),
    "bincount": lambda x: torch.bincount(x.abs().long()),
    "equal": lambda x: torch.equal(x, x + 1),
    "tolist": lambda x: (2 * x).tolist(),
    "numpy": lambda x: x.flip(0).numpy(),
    "cpu": lambda x: x.to(x.device).cpu().tolist(),
    "to": lambda x: torch.ones(3).to(x.device),
    "tensor": lambda x: torch.tensor([1.0], device=x.device),
    "new_tensor": lambda x: x.new_tensor([1.0]),
}


@pytest.mark.parametrize("name", WAITS)
def test_every_kind_of_wait_is_seen(host_reads: HostReads, name: str):
    x = torch.tensor([-1.0, 2.0, 3.0])
    assert host_reads(lambda: WAITS[name](x), x) == [name]


def test_waits_are_seen_behind_gradients_and_in_the_backward_pass(host_reads: HostReads):
    class Reads(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
            return gradients[0] * (1 if gradients[0].sum() > 0 else 2)

    x, layer = torch.ones(3), torch.nn.Linear(3, 2)

    def step() -> None:
        out = Reads.apply(layer(x))
        assert isinstance(out, torch.Tensor)
        out.sum().backward()

    assert host_reads(step, x, layer) == ["_local_scalar_dense"]


def test_what_the_host_holds_is_no_wait(host_reads: HostReads):
    x = torch.tensor([-1.0, 2.0, 3.0])

    def hosts_own() -> None:
        counts = torch.tensor([2, 1])
        assert int(counts.sum()) == 3
        assert counts[counts > 1].tolist() == [2]
        scene = torch.arange(2).repeat_interleave(counts)
        moved = scene.to(x.device, non_blocking=True)
        assert (x + moved).shape == (3,)
        assert scene.unique().tolist() == [0, 1]  # the one that stayed
        torch.arange(3, device=x.device).repeat_interleave(moved + 1, output_size=4)

    assert host_reads(hosts_own, x) == []
    assert host_reads(lambda: torch.arange(2).to(x.device, non_blocking=True).tolist(), x) == [
        "tolist"
    ]
    with pytest.raises(AssertionError, match="add mixes tensors of host and device"):
        host_reads(lambda: torch.add(x, torch.ones(3)), x)


def test_no_draw_waits(host_reads: HostReads, points: PointBatch):
    def draw() -> None:
        draws = Draws(points, [1, 2, 3, 4])
        draws.for_scenes("a", 5).tolist()
        draws.for_points("a", 2)
        draws.for_points("a", 2, torch.arange(5, device=points.xyz.device))
        draws.normal("a", 3)
        draws.order("a")
        draws.generator("a", points.xyz.device)

    assert host_reads(draw, points) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_neither_augmentation_nor_mixing_waits(
    host_reads: HostReads, points: PointBatch, draws: Draws, preset: str
):
    def prepare() -> None:
        mixed = mix3d(PRESETS[preset](points, draws)[0], draws, 1.0)
        assert mixed.size < points.size  # or nothing was mixed

    assert host_reads(prepare, points, draws.points) == []


def test_voxels_wait_twice(host_reads: HostReads, points: PointBatch, draws: Draws):
    assert host_reads(lambda: voxelize(points, 0.25, draws), points, draws.points) == VOXELIZE
    assert host_reads(lambda: voxelize(points, 0.25), points) == VOXELIZE


@pytest.mark.parametrize("kind", ["l2", "mse", "cosine"])
def test_no_loss_waits(host_reads: HostReads, kind: DistillationLoss):
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    student.requires_grad_()

    def loss() -> None:
        weight = pair_weights([2, 0, 4]).to(student.device, non_blocking=True)
        distillation_loss(student, teacher, kind, weight).backward()
        distillation_loss(student[:0], teacher[:0], kind).backward()

    assert host_reads(loss, student, teacher) == []
    assert student.grad is not None


@pytest.mark.parametrize("recompute", [False, True])
def test_a_student_waits_for_sizes_alone(
    host_reads: HostReads, student: Student, points: PointBatch, draws: Draws, recompute: bool
):
    pytest.importorskip("spconv.pytorch", exc_type=ImportError)
    for conv in student.modules():
        if isinstance(conv, SubmanifoldConv | DownConv | UpConv):
            conv.by_spconv = True  # as on a GPU
    student.recompute = recompute
    reads = host_reads(
        lambda: student(points, draws).square().sum().backward(), student, points, draws.points
    )
    assert reads == VOXELIZE + OWN[student.name]
    assert all(parameter.grad is not None for parameter in student.parameters())
    student.eval()
    assert host_reads(lambda: student(points), student, points) == VOXELIZE + OWN[student.name]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_itself_reports_no_wait(points: PointBatch):
    points = points.to("cuda")
    student, teacher = torch.randn(2, 600, 5, device="cuda").unbind(0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        draws = Draws(points, [1, 2, 3, 4])
        for augmentation in PRESETS.values():
            mix3d(augmentation(points, draws)[0], draws)
        distillation_loss(
            student, teacher, "l2", pair_weights([200, 400]).to("cuda", non_blocking=True)
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
