"""WaffleIron against its layers written out, and what holds of every student.

On shared random weights it was compared once with the public network (valeoai/WaffleIron 0.3.1 with
layer norms): relative differences of 3.5e-7 (6 layers of 64), 7.6e-7 (48 of 256) and 5.8e-7 (48 of
768), and the same numbers of parameters.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clever.student.backbones.planes import Plane
from clever.student.backbones.waffleiron import (
    ARCHITECTURES,
    PLANES,
    Architecture,
    WaffleIron,
    build,
)
from clever.student.draws import Draws
from clever.student.groups import Groups
from clever.student.points import PointBatch
from clever.student.sampling.neighbours import _distance_others, _tree_others, nearest_voxels
from clever.student.student import Student


def cloud(points: int, seed: int, size: float = 20.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(points, 3, generator=generator) - 0.5) * torch.tensor([size, size, 6.0])
    return torch.cat([xyz, torch.rand(points, 1, generator=generator)], 1)


def randomised(network: WaffleIron) -> WaffleIron:
    """With statistics and affine parts that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
        if isinstance(module, (nn.BatchNorm1d, nn.LayerNorm)):
            module.weight.data.normal_(1, 0.3, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
    return network


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("waffleiron-48-768", 59_435_540), ("waffleiron-48-256", 6_835_732), ("waffleiron-tiny", 0)],
)
def test_numbers_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = build(name)
    size = ARCHITECTURES[name]
    c = size.channels
    embedding = 10 + 6 * c + 10 + 5 * c + 2 * c + c * c + 2 * c * c + c
    spatial = 2 * c + 2 * (9 * c + c) + c
    channel = 2 * c + 2 * (c * c + c) + c
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert counted == embedding + size.depth * (spatial + channel)
    assert parameters in (counted, 0)


def mean_of_cell(x: Tensor, cell: list[tuple[int, int]], of: tuple[int, int]) -> Tensor:
    rows = [number for number, own in enumerate(cell) if own == of]
    return x[rows].mean(0) if rows else torch.zeros(x.shape[1])


def convolved(grid: dict[tuple[int, int], Tensor], conv: nn.Module, at: tuple[int, int]) -> Tensor:
    """A depthwise 3 x 3 convolution at one cell, zero beyond the cells of `grid`."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    total = conv.bias.clone()
    for i in range(3):
        for j in range(3):
            value = grid.get((at[0] + i - 1, at[1] + j - 1))
            if value is not None:
                total += conv.weight[:, 0, i, j] * value
    return total


def layers_written_out(network: WaffleIron, features: Tensor) -> Tensor:
    """The network of one scene, voxel by voxel and cell by cell."""
    embedding, xyz = network.embedding, features[:, :3]
    inputs = torch.cat([features[:, 3:], xyz, xyz.norm(dim=1, keepdim=True)], 1)
    normal = embedding.norm(inputs)
    distance = torch.cdist(xyz.double(), xyz.double())
    rows = []
    for row in range(len(xyz)):
        near = [n for n in distance[row].argsort().tolist() if n != row][:16]
        answers = [
            embedding.neighbour(
                embedding.neighbour_norm(
                    embedding.difference(embedding.difference_norm((normal[n] - normal[row])[None]))
                ).relu()
            )[0]
            for n in near
        ]
        largest = torch.stack(answers).max(0).values
        rows.append(embedding.merge(torch.cat([embedding.point(normal[row]), largest])))
    x = torch.stack(rows)
    kept = [(0, 1), (0, 2), (1, 2)]
    for number, (spatial, channel) in enumerate(zip(network.spatial, network.channel, strict=True)):
        assert isinstance(spatial.convolutions, nn.Sequential)  # pyright: ignore
        lowest = {0: -64, 1: -64, 2: -8}
        cell = [
            tuple(math.floor((float(p[axis]) - lowest[axis]) / 0.5) for axis in kept[number % 3])
            for p in xyz
        ]
        counts = {0: 256, 1: 256, 2: 32}
        sizes = [counts[axis] for axis in kept[number % 3]]
        first, activation, second = spatial.convolutions  # pyright: ignore
        normal = spatial.norm(x)  # pyright: ignore
        branch = []
        for own in cell:
            around: dict[tuple[int, int], Tensor] = {}
            for i in range(own[0] - 1, own[0] + 2):
                for j in range(own[1] - 1, own[1] + 2):
                    if 0 <= i < sizes[0] and 0 <= j < sizes[1]:
                        near = {
                            (a, b): mean_of_cell(normal, cell, (a, b))  # pyright: ignore
                            for a in range(i - 1, i + 2)
                            for b in range(j - 1, j + 2)
                            if 0 <= a < sizes[0] and 0 <= b < sizes[1]
                        }
                        around[i, j] = activation(convolved(near, first, (i, j)))
            branch.append(convolved(around, second, own) * spatial.scale)  # pyright: ignore
        x = x + torch.stack(branch)
        x = x + channel.perceptron(channel.norm(x)) * channel.scale  # pyright: ignore
    return x


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_layers_written_out(activation: str) -> None:
    torch.manual_seed(0)
    network = randomised(WaffleIron(Architecture(3, 6, activation)))  # pyright: ignore
    student = Student("x", network, 0.1).eval()
    points = cloud(40, 1, 6.0)
    points[0, :2] = torch.tensor([63.9, -63.9])  # a corner of the grid seen from above
    batch = PointBatch.from_clouds([points])
    with torch.no_grad():
        features, voxels = student.voxel_features(batch)
        expected = layers_written_out(network, points[voxels.representative])
    torch.testing.assert_close(features, expected, rtol=2e-5, atol=2e-5)


def test_a_scene_does_not_depend_on_the_rest_of_the_batch() -> None:
    torch.manual_seed(0)
    student = Student("x", randomised(build("waffleiron-tiny")), 0.2).eval()
    clouds = [cloud(300, 1), cloud(5, 2), torch.zeros(0, 4), cloud(200, 3)]
    with torch.no_grad():
        together = student(PointBatch.from_clouds(clouds))
        alone = torch.cat([student(PointBatch.from_clouds([points])) for points in clouds])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_voxels_beyond_the_planes_join_the_border() -> None:
    places = torch.tensor(
        [[-64.0, -64, -8], [63.99, 63.99, 7.99], [64, 64, 8], [900, -900, 3], [-0.01, 0.0, 0.49]]
    )
    from_above, from_the_side, from_the_front = (plane.cells(places, 0.5) for plane in PLANES)
    assert from_above.tolist() == [0, 65535, 65535, 255 * 256, 127 * 256 + 128]
    assert from_the_side.tolist() == [0, 8191, 8191, 255 * 32 + 22, 127 * 32 + 16]
    assert from_the_front.tolist() == [0, 8191, 8191, 22, 128 * 32 + 16]


def test_means_and_spread_with_their_gradients() -> None:
    cell = torch.tensor([3, 0, 3, 1, 3])
    cells = Groups.of(cell, 5)
    rows = torch.arange(10.0).reshape(5, 2).double().requires_grad_()
    means = cells.means(rows)
    assert means.tolist() == [[2, 3], [6, 7], [0, 0], [4, 5], [0, 0]]
    values = torch.arange(10.0).reshape(5, 2).double().requires_grad_()
    assert torch.equal(cells.spread(values), values[cell])
    assert torch.autograd.gradcheck(cells.means, rows)
    assert torch.autograd.gradcheck(cells.spread, values)
    assert Groups.of(Plane((0, 1), (0, 0), (2, 2)).cells(torch.zeros(1, 3), 1), 4).group == 0


@pytest.mark.parametrize("search", [_tree_others, _distance_others])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 60])
def test_nearest_voxels(search: Callable[[Tensor, int], Tensor], count: int) -> None:
    places = cloud(count, count)[:, :3]
    if count == 60:
        places[7] = places[9]  # two at one place are each other's nearest
    nearest = search(places, 4)
    assert nearest.shape == (count, 4)
    distance = torch.cdist(places.double(), places.double()).fill_diagonal_(torch.inf)
    for row in range(count):
        expected = distance[row].sort().values[: min(4, count - 1)]
        others = nearest[row, : len(expected)]
        torch.testing.assert_close(distance[row][others], expected)
        assert (nearest[row, len(expected) :] == row).all()


def test_nearest_voxels_are_of_the_same_scene() -> None:
    places = torch.cat([cloud(20, 1)[:, :3], cloud(3, 2)[:, :3], cloud(9, 3)[:, :3]])
    scene = torch.tensor([0] * 20 + [2] * 3 + [3] * 9)
    nearest = nearest_voxels(places, scene, 5, 4)
    assert torch.equal(scene[nearest], scene[:, None].expand(-1, 4))
    assert torch.equal(nearest[23:], 23 + _tree_others(places[23:], 4))


def training_features(student: Student, keys: tuple[int, ...], recompute: bool = False) -> Tensor:
    student.train()
    student.recompute = recompute
    batch = PointBatch.from_clouds([cloud(80, 1), cloud(80, 2)])
    return student(batch, Draws(batch, keys))


def test_mixes_are_dropped_by_scene_and_key() -> None:
    torch.manual_seed(0)
    network = WaffleIron(Architecture(4, 8, drop_path=0.5))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
            module.train = lambda mode=True, module=module: module  # keeps its statistics
    student = Student("x", network, 0.2)
    with torch.no_grad():
        first, again = training_features(student, (1, 2)), training_features(student, (1, 2))
        other = training_features(student, (1, 3))
    assert torch.equal(first, again)
    assert torch.equal(first[:80], other[:80])  # the first scene's key is the same
    assert not torch.allclose(first[80:], other[80:])


def test_a_dropped_mix_leaves_the_input_and_the_others_grow() -> None:
    mix = WaffleIron(Architecture(1, 2, drop_path=0.75)).channel[0].train()
    batch = PointBatch.from_clouds([cloud(1, number) for number in range(400)])
    x, scene = torch.zeros(400, 2), torch.arange(400)
    out = mix.residual(x, torch.ones(400, 2), scene, Draws(batch, range(400)))  # pyright: ignore
    kept = out[:, 0] != 0
    assert 60 < kept.sum() < 140
    torch.testing.assert_close(out[kept], (4 * mix.scale).expand_as(out[kept]))  # pyright: ignore
    undrawn = mix.residual(x, torch.ones(400, 2), scene, None)  # pyright: ignore
    assert torch.equal(undrawn, mix.scale.expand_as(x))  # pyright: ignore


def test_recomputing_changes_no_bit() -> None:
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        student = Student("x", WaffleIron(Architecture(3, 8, drop_path=0.3)), 0.2)
        training_features(student, (5, 6), recompute).square().sum().backward()
        results.append([parameter.grad for parameter in student.parameters()])
    for plain, recomputed in zip(*results, strict=True):
        assert plain is not None
        assert torch.equal(plain, recomputed)


def test_it_learns_heights() -> None:
    torch.manual_seed(0)
    student = Student("x", WaffleIron(Architecture(3, 16)), 0.2).train()
    layer = nn.Linear(16, 1)
    optimiser = torch.optim.Adam([*student.parameters(), *layer.parameters()], 3e-3)
    batch = PointBatch.from_clouds([cloud(200, 1), cloud(200, 2)])
    losses = []
    for step in range(30):
        loss = (layer(student(batch, Draws(batch, (step, step + 99)))) - batch.xyz[:, 2:]).square()
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
        losses.append(loss.mean().item())
    assert losses[-1] < 0.3 * losses[0]
