"""Students: sizes, equivariance, gradients, names."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import nn

from clever.errors import CleverError
from clever.student.backbones.base import Backbone
from clever.student.backbones.sparse import SubmanifoldConv
from clever.student.choices import StudentName
from clever.student.draws import Draws
from clever.student.points import PointBatch
from clever.student.registry import STUDENTS, build_student
from clever.student.student import Student
from clever.student.voxelize import Voxels, voxelize

Make = Callable[..., PointBatch]


@pytest.fixture(params=["minkunet-tiny", "ptv3-tiny"])
def tiny(request: pytest.FixtureRequest) -> Student:
    torch.manual_seed(0)
    return build_student(request.param, 0.25)


def test_sizes():
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(build_student("minkunet34", 0.05)) == 39_147_904
    # 34 differs from 18 by 1, 2 and 4 more blocks in the deeper stages of its encoder.
    block = {width: 2 * 27 * width * width + 4 * width for width in (64, 128, 256)}
    assert (
        count(build_student("minkunet18", 0.05))
        == 39_147_904 - block[64] - 2 * block[128] - 4 * block[256]
    )
    assert count(build_student("ptv3", 0.05)) == 46_158_272
    assert count(build_student("ptv3-256", 0.05)) == 60_127_680
    for tiny in ("minkunet-tiny", "ptv3-tiny"):
        assert count(build_student(tiny, 0.2)) < 1_000_000


def test_table_gives_the_widths():
    for name, channels in {
        "minkunet34": 96,
        "minkunet18": 96,
        "minkunet-tiny": 64,
        "ptv3": 64,
        "ptv3-256": 256,
    }.items():
        assert build_student(name, 0.05).out_channels == channels, name


def test_batch_norm_settings(tiny: Student):
    norms = [module for module in tiny.modules() if isinstance(module, nn.BatchNorm1d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_every_point_gets_the_feature_of_its_voxel(tiny: Student, make_batch: Make):
    points = make_batch(400, 0, 300, extent=2.0)
    out = tiny.eval()(points)
    assert out.shape == (700, tiny.out_channels)
    cells = torch.cat([points.scene[:, None], torch.floor(points.xyz.double() / 0.25).long()], 1)
    _, voxel = torch.unique(cells, dim=0, return_inverse=True)
    for member in range(int(voxel.max()) + 1):
        rows = out[voxel == member]
        assert torch.equal(rows, rows[:1].expand_as(rows))


def test_a_scene_does_not_depend_on_its_batch(tiny: Student, make_batch: Make):
    tiny.eval()
    both, alone = make_batch(300, 200, seed=5), make_batch(300, seed=5)
    torch.testing.assert_close(tiny(both)[:300], tiny(alone), atol=1e-5, rtol=1e-5)


def test_shift_by_whole_voxels_changes_nothing_but_the_input_coordinates(
    tiny: Student, make_batch: Make
):
    tiny.eval()
    points = make_batch(500, extent=2.0)
    points = replace(points, xyz=(points.xyz * 1024).round() / 1024)
    moved = replace(points, xyz=points.xyz + torch.tensor([2.5, -1.25, 0.75]))
    assert not torch.allclose(tiny(points), tiny(moved), atol=1e-4)
    with torch.no_grad():
        stem = next(module for module in tiny.modules() if isinstance(module, SubmanifoldConv))
        stem.weight[..., :3] = 0  # blind to x, y, z
    assert torch.equal(tiny(points), tiny(moved))
    other = replace(points, intensity=1 - points.intensity)
    assert not torch.allclose(tiny(points), tiny(other), atol=1e-4)


def test_every_weight_is_trained(tiny: Student, make_batch: Make):
    tiny(make_batch(300)).square().mean().backward()
    for parameter_name, parameter in tiny.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", ["minkunet-tiny", "ptv3-tiny", "waffleiron-tiny"])
def test_same_seed_same_bits(make_batch: Make, name: str):
    def train() -> list[torch.Tensor]:
        torch.manual_seed(0)
        student = build_student(name, 0.5)
        points = make_batch(1500, extent=6.0)
        optimizer = torch.optim.AdamW(student.parameters(), 1e-3)
        for step in range(2):
            optimizer.zero_grad()
            student(points, Draws(points, [step])).square().sum().backward()
            optimizer.step()
        return [parameter.detach() for parameter in student.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(train(), train(), strict=True))


class _Table(Backbone):
    """Voxel i has row i of a table, whatever its input."""

    out_channels = 64
    halvings = 0

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(30_000, 64))

    def forward(
        self, features: torch.Tensor, voxels: Voxels, draws: Draws | None = None
    ) -> torch.Tensor:
        return self.rows[: len(features)]


def test_gradients_of_points_add_up_in_voxels_in_a_fixed_order(make_batch: Make):
    torch.set_num_threads(2)
    student = Student("table", _Table(), 0.5)
    points = make_batch(100_000, extent=8.0)
    probe = torch.randn(100_000, 64, generator=torch.Generator().manual_seed(0))
    first, *others = (
        torch.autograd.grad(student(points), list(student.parameters()), probe)[0] for _ in range(6)
    )
    assert all(torch.equal(first, other) for other in others)
    voxel = voxelize(points, 0.5).inverse
    row = int(voxel[0])
    torch.testing.assert_close(first[row], probe[voxel == row].sum(0))


def test_it_learns(tiny: Student, make_batch: Make):
    points = make_batch(400)
    target = torch.cat([points.xyz / 4, points.intensity[:, None]], 1)
    reader = nn.Linear(tiny.out_channels, 4)
    optimizer = torch.optim.AdamW([*tiny.parameters(), *reader.parameters()], 3e-3)
    losses = []
    for _ in range(25):
        loss = (reader(tiny(points)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_student_built_on_the_cpu_gives_the_same_on_cuda(tiny: Student, make_batch: Make):
    points = make_batch(3000, 0, 2000, extent=8.0)
    expected = tiny.eval()(points)
    features = tiny.to("cuda")(points.to("cuda")).cpu()
    torch.testing.assert_close(features, expected, atol=1e-3, rtol=1e-3)
    with torch.autocast("cuda", torch.bfloat16):
        moved = points.to("cuda")
        tiny.train()(moved, Draws(moved, [1, 2, 3])).square().mean().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in tiny.parameters()
    )


def test_draws_choose_other_representatives(tiny: Student, make_batch: Make):
    tiny.eval()
    points = make_batch(2000, extent=1.0)
    first, again, other = (tiny(points, Draws(points, [key])) for key in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, tiny(points))


def test_one_point_and_no_points(tiny: Student, make_batch: Make):
    tiny.eval()
    assert tiny(make_batch(1)).isfinite().all()
    assert tiny(make_batch(0, 0)).shape == (0, tiny.out_channels)


def test_batch_within_one_coarse_voxel_cannot_train(tiny: Student, make_batch: Make):
    for points in (make_batch(0, 50, extent=0.9), make_batch(50, 0, extent=0.9), make_batch(1)):
        with pytest.raises(CleverError, match="fits into a single voxel of the coarsest level"):
            tiny(points)
    assert tiny(make_batch(50, 50, extent=1.9)).isfinite().all()  # two voxels


def test_choices_are_the_students_of_the_table():
    assert get_args(StudentName) == tuple(STUDENTS)


def test_unknown_student_names_the_known():
    with pytest.raises(
        CleverError, match=r"unknown student minkunet35; known: minkunet34, .*, waffleiron-tiny"
    ):
        build_student("minkunet35", 0.05)
    with pytest.raises(CleverError, match="must be positive"):
        build_student("minkunet34", 0.0)


def test_peak_learning_rates():
    assert build_student("minkunet-tiny", 0.25).backbone.peak_lr == 1e-3
    assert build_student("ptv3-tiny", 0.25).backbone.peak_lr == 2e-3


def test_attention_blocks_train_slower(make_batch: Make):
    assert build_student("minkunet-tiny", 0.25).backbone.block_parameters() == []
    student = build_student("ptv3", 0.25)
    inside = {id(parameter) for parameter in student.backbone.block_parameters()}
    outside = [
        name for name, parameter in student.named_parameters() if id(parameter) not in inside
    ]
    assert {name.split(".")[1] for name in outside} == {"stem_conv", "stem", "down", "up"}
    # A block of c channels: convolution 27 c^2 + c, position c^2 + c, qkv 3 c^2 + 3 c, projection
    # c^2 + c, MLP 8 c^2 + 5 c, three layer norms of 2 c.
    widths = (
        [32] * 2 + [64] * 2 + [128] * 2 + [256] * 6 + [512] * 2 + [256] * 2 + [128] * 2 + [64] * 4
    )
    expected = sum(40 * width**2 + 17 * width for width in widths)
    assert sum(parameter.numel() for parameter in student.backbone.block_parameters()) == expected


def test_patch_is_an_option_of_students_that_have_one(make_batch: Make):
    students = []
    for patch in (None, 128, 16, 10_000):
        torch.manual_seed(0)
        students.append(build_student("ptv3-tiny", 0.25, patch).eval())
    assert [student.patch for student in students] == [128, 128, 16, 10_000]
    points = make_batch(600)
    default, same, smaller, larger = (student(points) for student in students)
    assert torch.equal(default, same)
    for other in (smaller, larger):
        assert not torch.allclose(default, other, atol=1e-4)
    assert build_student("minkunet-tiny", 0.25).patch is None
    with pytest.raises(
        CleverError, match="student minkunet-tiny has no attention, so there is no patch to set"
    ):
        build_student("minkunet-tiny", 0.25, 128)
    with pytest.raises(CleverError, match="patch of 0 voxels; it must be positive"):
        build_student("ptv3-tiny", 0.25, 0)


def test_form_is_an_option_of_ptv3():
    assert build_student("ptv3-tiny", 0.25).ptv3_form == "v3m1"
    assert build_student("ptv3-tiny", 0.25, None, "refreshed").ptv3_form == "refreshed"
    assert build_student("minkunet-tiny", 0.25).ptv3_form is None
    with pytest.raises(
        CleverError, match="minkunet-tiny is no PTv3, so there is no form to choose; leave"
    ):
        build_student("minkunet-tiny", 0.25, None, "v3m1")
