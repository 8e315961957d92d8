"""Sparse convolution against dense convolution, and against spconv where it is installed."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

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


def test_bfloat16_autocast_rounds_products_and_sums_once(voxels: tuple[Tensor, Tensor]):
    """Against the same sums in float64 of bfloat16 inputs: an error of a few roundings of 2**-9."""
    features, coords = voxels
    wide = features.repeat(1, 32).bfloat16().requires_grad_()
    layers = [
        SubmanifoldConv(96, 96, 3, "k"),
        DownConv(96, 96, 2, "s"),
        UpConv(96, 8, 2, "s"),
        SubmanifoldConv(8, 8, 5, "l"),
    ]

    def network(dtype: torch.dtype, autocast: bool) -> tuple[list[Tensor], list[Tensor]]:
        convs = [deepcopy(layer).to(dtype) for layer in layers]
        if not autocast:
            for conv in convs:
                conv.weight.data = conv.weight.bfloat16().to(dtype)
        start = wide.detach().to(dtype).requires_grad_()
        x, outs = sparse_tensor(start, coords, SHAPE, SCENES, 1), []
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            for conv in convs:
                x = conv(x)
                outs.append(x.features)
        assert x.features.dtype == (torch.bfloat16 if autocast else dtype)
        x.features.double().square().sum().backward()
        gradients = [start.grad, *(conv.weight.grad for conv in convs)]
        assert all(gradient is not None and gradient.dtype == dtype for gradient in gradients)
        return outs, [gradient for gradient in gradients if gradient is not None]

    rough, rough_gradients = network(torch.float32, True)
    exact, exact_gradients = network(torch.float64, False)
    for ours, reference in zip(rough + rough_gradients, exact + exact_gradients, strict=True):
        error = (ours.double() - reference).norm() / reference.norm()
        assert error < 0.015
    # 27 products are added in more than bfloat16: their sum is no worse than one of them.
    first = (rough[0].double() - exact[0]).norm() / exact[0].norm()
    assert first < 2**-8


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_two_threads_give_the_same_bits_every_time(half: bool):
    """Rows are added up by voxel and by group. One thread's sums are made in another order: close,
    not equal."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.cartesian_prod(torch.arange(2), *(torch.arange(12),) * 3).int()
    coords = grid[torch.randperm(len(grid), generator=generator)[:1500]]
    features = torch.randn(1500, 40, generator=generator)
    layers = [
        SubmanifoldConv(40, 128, 3, "k"),
        SubmanifoldConv(128, 128, 3, "k"),
        DownConv(128, 40, 2, "s"),
        UpConv(40, 32, 2, "s"),
    ]
    weights = [layer.weight for layer in layers]

    def run(threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        x = sparse_tensor(features, coords, (12, 12, 12), 2, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            for layer in layers:
                x = layer(x)
        gradients = torch.autograd.grad(x.features.float().square().sum(), weights)
        return [x.features.detach().float(), *gradients]

    single, first, *others = (run(threads) for threads in (1, 2, 2, 2))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    for a, b in zip(single, first, strict=True):
        assert (a - b).norm() < (1e-2 if half else 1e-5) * a.norm()


def test_bfloat16_gives_the_same_bits_twice(voxels: tuple[Tensor, Tensor]):
    features, coords = voxels
    conv = SubmanifoldConv(3, 40, 3, "k")

    def run() -> list[Tensor]:
        conv.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(sparse_tensor(features, coords, SHAPE, SCENES, 0)).features
        out.float().square().sum().backward()
        assert conv.weight.grad is not None
        return [out.detach(), conv.weight.grad]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@pytest.mark.parametrize("kernel", [3, 5])
def test_weights_have_gradients_in_double_precision(voxels: tuple[Tensor, Tensor], kernel: int):
    features, coords = voxels[0][:12].double().requires_grad_(), voxels[1][:12].contiguous()
    conv = SubmanifoldConv(3, 2, kernel, "k").double()

    def out(features: Tensor, weight: Tensor) -> Tensor:
        return functional_call(
            conv, {"weight": weight}, sparse_tensor(features, coords, SHAPE, SCENES, 0)
        ).features

    assert torch.autograd.gradcheck(out, (features, conv.weight.detach().requires_grad_()))


def test_frozen_weights_and_inputs_without_gradient_cost_none(voxels: tuple[Tensor, Tensor]):
    features, coords = voxels
    conv = SubmanifoldConv(3, 4, 3, "k")
    conv(sparse_tensor(features, coords, SHAPE, SCENES, 0)).features.sum().backward()
    assert features.grad is None
    assert conv.weight.grad is not None
    conv.requires_grad_(False)
    features.requires_grad_()
    conv(sparse_tensor(features, coords, SHAPE, SCENES, 0)).features.sum().backward()
    assert features.grad is not None
    expected = rows(
        F.conv3d(
            dense(torch.ones(len(coords), 4), coords, SHAPE),
            torch_weight(conv.weight).transpose(0, 1).flip(2, 3, 4),
            padding=1,
        ),
        coords,
    )
    torch.testing.assert_close(features.grad, expected, atol=1e-5, rtol=1e-5)


def test_no_voxels(voxels: tuple[Tensor, Tensor]):
    x = sparse_tensor(voxels[0][:0].requires_grad_(), voxels[1][:0], SHAPE, SCENES, 1)
    same, down, up = SubmanifoldConv(3, 3, 3, "k"), DownConv(3, 4, 2, "s"), UpConv(4, 5, 2, "s")
    out = up(down(same(x)))
    assert out.features.shape == (0, 5)
    out.features.sum().backward()
    for layer in (same, down, up):
        assert layer.weight.grad is not None
        assert (layer.weight.grad == 0).all()


def test_the_order_of_voxels_changes_nothing_but_the_order(voxels: tuple[Tensor, Tensor]):
    features, coords = voxels
    conv = SubmanifoldConv(3, 4, 3, "k")
    order = torch.randperm(len(coords), generator=torch.Generator().manual_seed(2))
    out = conv(sparse_tensor(features, coords, SHAPE, SCENES, 0)).features
    other = conv(sparse_tensor(features[order], coords[order], SHAPE, SCENES, 0)).features
    torch.testing.assert_close(other, out[order])


def test_maps_are_shared_by_key_alone(voxels: tuple[Tensor, Tensor]):
    x = sparse_tensor(*voxels, SHAPE, SCENES, 1)
    first, other = SubmanifoldConv(3, 3, 3, "a"), SubmanifoldConv(3, 3, 3, "b")
    out = first(first(x))
    assert list(x.maps) == ["a"]
    assert list(other(out).maps) == ["a", "b"]
    assert x.maps is out.maps
    assert sparse_tensor(*voxels, SHAPE, SCENES, 1).maps == {}


def test_spconvs_weights_are_ours():
    """Names, shapes, layout and, from the same seed, the bits."""
    spconv = pytest.importorskip("spconv.pytorch", exc_type=ImportError)
    for ours, theirs in (
        (lambda: SubmanifoldConv(4, 32, 5, "k"), lambda: spconv.SubMConv3d(4, 32, 5, bias=False)),
        (lambda: SubmanifoldConv(7, 48, 3, "k"), lambda: spconv.SubMConv3d(7, 48, 3, bias=False)),
        (
            lambda: DownConv(64, 128, 2, "k"),
            lambda: spconv.SparseConv3d(64, 128, 2, stride=2, bias=False),
        ),
        (
            lambda: UpConv(96, 24, 2, "k"),
            lambda: spconv.SparseInverseConv3d(96, 24, 2, "k", bias=False),
        ),
    ):
        states = []
        for build in (ours, theirs):
            torch.manual_seed(5)
            states.append({**build().state_dict(), "next": torch.rand(3)})
        assert states[0].keys() == states[1].keys()
        for name, values in states[0].items():
            assert torch.equal(values, states[1][name]), name


@pytest.mark.parametrize("training", [True, False])
def test_spconv_gives_the_same(voxels: tuple[Tensor, Tensor], training: bool):
    """On the grid of a few metres, where its 32-bit index is right; the way that a GPU takes."""
    pytest.importorskip("spconv.pytorch", exc_type=ImportError)
    features, coords = voxels
    features.requires_grad_()
    convolutions = [
        SubmanifoldConv(3, 6, 5, "a"),
        SubmanifoldConv(6, 6, 3, "b", bias=True),
        DownConv(6, 8, 2, "s"),
        SubmanifoldConv(8, 8, 3, "c"),
        UpConv(8, 5, 2, "s"),
        SubmanifoldConv(5, 4, 3, "b"),
    ]
    layers = nn.ModuleList(convolutions).train(training)
    before = set(layers.state_dict())

    def network(by_spconv: bool) -> Tensor:
        x = sparse_tensor(features, coords, SHAPE, SCENES, 1)
        for layer in convolutions:
            layer.by_spconv = by_spconv
            x = layer(x)
        assert torch.equal(x.indices, coords)
        return x.features

    same_with_gradients(network(False), network(True), [features, *layers.parameters()])
    assert set(layers.state_dict()) == before
