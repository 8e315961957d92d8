"""spconv against dense convolution, and the choices that sparse.py makes."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clever.student.backbones.sparse import DownConv, SubmanifoldConv, UpConv, sparse_tensor

SHAPE = (6, 7, 5)
SCENES = 2


@pytest.fixture
def voxels() -> tuple[Tensor, Tensor]:
    """Random features (V, 3) at unsorted unique coordinates of a small grid."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.cartesian_prod(*(torch.arange(n, dtype=torch.int32) for n in (SCENES, *SHAPE)))
    coords = grid[torch.randperm(len(grid), generator=generator)[:150]]
    return torch.randn(len(coords), 3, generator=generator), coords


def dense(features: Tensor, coords: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(S, C, X, Y, Z), zero where there is no voxel; differentiable."""
    scene, x, y, z = coords.long().unbind(1)
    index = ((scene * shape[0] + x) * shape[1] + y) * shape[2] + z
    flat = features.new_zeros(SCENES * shape[0] * shape[1] * shape[2], features.shape[1])
    return flat.index_add(0, index, features).view(SCENES, *shape, -1).permute(0, 4, 1, 2, 3)


def rows(grid: Tensor, coords: Tensor) -> Tensor:
    scene, x, y, z = coords.long().unbind(1)
    return grid.permute(0, 2, 3, 4, 1)[scene, x, y, z]


def torch_weight(weight: Tensor) -> Tensor:
    """spconv's (out, x, y, z, in) to torch's (out, in, x, y, z)."""
    return weight.permute(0, 4, 1, 2, 3)


def same_with_gradients(ours: Tensor, reference: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)
    probe = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for a, b in zip(
        torch.autograd.grad(ours, inputs, probe, retain_graph=True),
        torch.autograd.grad(reference, inputs, probe, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("kernel", "bias"), [(3, False), (5, False), (3, True)])
def test_submanifold_convolution_equals_dense_at_its_voxels(
    voxels: tuple[Tensor, Tensor], kernel: int, bias: bool, training: bool
):
    features, coords = voxels
    features.requires_grad_()
    conv = SubmanifoldConv(3, 4, kernel, "k", bias=bias).train(training)
    if conv.shift is not None:
        nn.init.normal_(conv.shift)
    ours = conv(sparse_tensor(features, coords, SHAPE, SCENES, 0)).features
    grid = F.conv3d(
        dense(features, coords, SHAPE), torch_weight(conv.weight), conv.shift, padding=kernel // 2
    )
    same_with_gradients(ours, rows(grid, coords), [features, *conv.parameters()])


def test_down_and_up_equal_dense_strided_and_transposed_convolution(voxels: tuple[Tensor, Tensor]):
    features, coords = voxels
    features.requires_grad_()
    down, up = DownConv(3, 4, 2, "step"), UpConv(4, 5, 2, "step")
    x = sparse_tensor(features, coords, SHAPE, SCENES, 1)
    assert x.spatial_shape == [6, 8, 6]  # odd extents grow, or their last voxels would vanish

    half = down(x)
    grid = F.conv3d(dense(features, coords, (6, 8, 6)), torch_weight(down.weight), stride=2)
    expected = torch.unique(torch.cat([coords[:, :1], coords[:, 1:] // 2], 1), dim=0)
    assert torch.equal(torch.unique(half.indices, dim=0), expected)
    assert len(half.indices) == len(expected)
    same_with_gradients(half.features, rows(grid, half.indices), [features, down.weight])

    back = up(half)
    assert torch.equal(back.indices, coords)
    transposed = F.conv_transpose3d(grid, up.weight.permute(4, 0, 1, 2, 3), stride=2)
    same_with_gradients(back.features, rows(transposed, coords), [features, down.weight, up.weight])


def test_grid_larger_than_int32_still_finds_the_right_neighbours():
    shape = (60_000, 60_000, 60_000)
    corner = torch.tensor([[1, 59_990, 59_990, 59_990]])
    near = torch.tensor([[0, x, y, 0] for x in range(3) for y in range(3)])
    coords = torch.cat([near, corner + near]).int()
    features = torch.randn(len(coords), 2, generator=torch.Generator().manual_seed(0))
    conv = SubmanifoldConv(2, 2, 3, "k")
    far = conv(sparse_tensor(features, coords, shape, 2, 0)).features
    for part in (slice(0, 9), slice(9, 18)):
        alone = conv(
            sparse_tensor(features[part].contiguous(), near.int(), (3, 3, 1), 1, 0)
        ).features
        torch.testing.assert_close(far[part], alone)


def test_algorithm_follows_the_device(voxels: tuple[Tensor, Tensor]):
    conv = SubmanifoldConv(3, 4, 3, "k")
    chosen = conv.algo_on_device
    assert (
        chosen.name == "MaskImplicitGemm"
    )  # spconv's own choice for a 3x3x3 kernel, which the CPU does not have
    conv(sparse_tensor(*voxels, SHAPE, SCENES, 0))
    assert conv.algo.name == "Native"
    assert conv.algo_on_device == chosen


def test_bfloat16_autocast_runs_in_the_precision_of_the_weights(voxels: tuple[Tensor, Tensor]):
    features, coords = voxels
    conv = SubmanifoldConv(3, 4, 3, "k")
    rounded = features.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(sparse_tensor(rounded, coords, SHAPE, SCENES, 0)).features
    assert torch.equal(out, conv(sparse_tensor(rounded.float(), coords, SHAPE, SCENES, 0)).features)


def test_gradients_in_double_precision(voxels: tuple[Tensor, Tensor]):
    features, coords = voxels[0][:20].double().requires_grad_(), voxels[1][:20].contiguous()
    layers = nn.ModuleList(
        [DownConv(3, 2, 2, "a"), SubmanifoldConv(2, 2, 3, "b"), UpConv(2, 2, 2, "a")]
    ).double()

    def network(features: Tensor) -> Tensor:
        x = sparse_tensor(features, coords, SHAPE, SCENES, 1)
        for layer in layers:
            x = layer(x)
        return x.features

    assert torch.autograd.gradcheck(network, (features,))


def test_import_prints_nothing():
    script = "import warnings; warnings.simplefilter('default'); "
    script += "import clever.student.backbones.sparse as s, torch; "
    script += "coords = torch.zeros(1, 4, dtype=torch.int32); "
    script += "s.sparse_tensor(torch.zeros(1, 1), coords, (1, 1, 1), 1, 0); "
    script += "warnings.warn('of our own', FutureWarning)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "amp.custom" not in ran.stderr
    assert "is_fx_tracing" not in ran.stderr
    assert "of our own" in ran.stderr  # only spconv's are silenced
