"""PointTransformer V3: curves, patches, attention and pooling against brute force."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch

from clever.errors import CleverError
from clever.student.backbones.curves import DEPTH, ORDERS, bits_needed, encode
from clever.student.backbones.patches import _voxels_per_scene, levels, patches
from clever.student.backbones.ptv3 import (
    ARCHITECTURES,
    Architecture,
    PointTransformerV3,
    _Block,
    _curves,
    _Down,
    _Up,
)
from clever.student.choices import PTv3Form
from clever.student.draws import Draws, key
from clever.student.points import PointBatch
from clever.student.voxelize import Voxels, voxelize

Make = Callable[..., PointBatch]
SMALL = Architecture(((16, 1, 2), (16, 1, 2), (32, 1, 2)), ((16, 1, 2), (16, 1, 2)), patch=32)


def cube(side: int) -> torch.Tensor:
    """(side ** 3, 4): every voxel of a cube."""
    return torch.tensor(
        [[0, *place] for place in product(range(side), repeat=3)], dtype=torch.int32
    )


def interleave(x: int, y: int, z: int) -> int:
    digits = zip(f"{x:016b}", f"{y:016b}", f"{z:016b}", strict=True)
    return int("".join("".join(three) for three in digits), 2)


def test_z_order_interleaves_bits():
    draw = torch.randint(0, 2**DEPTH, (200, 3), generator=torch.Generator().manual_seed(0))
    coords = torch.cat(
        [
            torch.arange(200)[:, None] % 5,
            draw,
        ],
        1,
    ).int()
    coords[0, 1:], coords[1, 1:] = 0, 2**DEPTH - 1
    for swap, order in ((False, "z"), (True, "z-trans")):
        expected = [
            (s << 48) + (interleave(y, x, z) if swap else interleave(x, y, z))
            for s, x, y, z in coords.tolist()
        ]
        assert encode(coords, order).tolist() == expected


@pytest.mark.parametrize("order", ["hilbert", "hilbert-trans"])
@pytest.mark.parametrize("side", [2, 8, 16])
def test_hilbert_curve_visits_every_voxel_by_single_steps(order: str, side: int):
    coords = cube(side)
    codes = encode(coords, order)
    assert codes.sort().values.tolist() == list(range(side**3))
    walk = coords[codes.argsort(), 1:]
    assert walk.diff(dim=0).abs().sum(1).tolist() == [1] * (side**3 - 1)


def test_hilbert_curve_steps_across_the_largest_cube():
    # Both sides of the planes that halve the cube: the codes of the eight octants are the eight
    # blocks, in order.
    near = torch.tensor(
        [[0, *place] for place in product((2**15 - 1, 2**15), repeat=3)], dtype=torch.int32
    )
    far = torch.tensor(
        [[0, *place] for place in product((0, 2**16 - 1), repeat=3)], dtype=torch.int32
    )
    for order in ORDERS:
        octants = encode(near, order) >> 45
        assert sorted(octants.tolist()) == list(range(8))
        assert torch.equal(octants, encode(far, order) >> 45)


def test_transposed_orders_exchange_x_and_y():
    coords = cube(8)
    for order in ("z", "hilbert"):
        assert torch.equal(encode(coords[:, [0, 2, 1, 3]], order), encode(coords, f"{order}-trans"))
        assert not torch.equal(encode(coords, order), encode(coords, f"{order}-trans"))


@pytest.mark.parametrize("order", ORDERS)
def test_shifted_codes_are_those_of_larger_voxels(order: str):
    coords = cube(16)
    parents = coords.clone()
    parents[:, 1:] >>= 1
    _, parent = torch.unique(parents, dim=0, return_inverse=True)
    shifted = encode(coords, order) >> 3
    values, by_code = torch.unique(shifted, return_inverse=True)
    pairs = torch.stack([parent, by_code], 1).unique(dim=0)
    assert len(pairs) == len(values) == 512  # one code a parent, one parent a code
    walk = torch.stack([parents[shifted == value][0, 1:] for value in values])
    if order.startswith("hilbert"):
        assert walk.diff(dim=0).abs().sum(1).max() == 1


def test_scenes_follow_each_other():
    coords = cube(4).repeat(3, 1)
    coords[:, 0] = torch.arange(3).repeat_interleave(64)
    for order in ORDERS:
        assert (encode(coords, order) >> 48).tolist() == coords[:, 0].tolist()


@pytest.mark.parametrize("counts", [[40], [8], [3], [0, 5, 0, 16, 17, 1, 8, 31, 0], [2, 5, 3]])
def test_patches_equal_brute_force(counts: list[int]):
    patch, total = 8, sum(counts)
    generator = torch.Generator().manual_seed(0)
    parts, first = [], 0
    for count in counts:
        parts.append(
            torch.stack([torch.randperm(count, generator=generator) + first for _ in range(2)])
        )
        first += count
    order = torch.cat(parts, 1)
    members, place, mask = patches(order, counts, patch)
    width = members.shape[2]
    assert width == min(patch, max(counts))
    valid = torch.ones(members.shape[1:], dtype=torch.bool) if mask is None else mask[:, 0, 0]
    assert (mask is None) == (min(count for count in counts if count) >= width)
    for curve in range(2):
        expected, first = [], 0
        for count in counts:
            line = order[curve, first : first + count].tolist()
            expected += [
                line[s : s + patch] if s + patch <= count else line[-patch:]
                for s in range(0, count, patch)
            ]
            first += count
        assert [
            row[keep].tolist() for row, keep in zip(members[curve], valid, strict=True)
        ] == expected
        assert members[curve].flatten()[place[curve]].tolist() == list(range(total))
        # Every voxel takes its result from the patch that its rank in the scene falls into.
        rank = torch.cat([torch.arange(count) for count in counts])
        before = torch.cat(
            [
                torch.full((c,), sum(-(-d // patch) for d in counts[:i]))
                for i, c in enumerate(counts)
            ]
        )
        assert torch.equal(place[curve][order[curve]] // width, before + rank // patch)


def test_attention_equals_softmax_over_the_patch(make_batch: Make):
    torch.manual_seed(0)
    voxels = voxelize(make_batch(150, 0, 20, 90), 0.5)
    (level,) = levels(voxels, 1, 32)
    assert level.mask is not None
    block = _Block("a", 16, 2, 0.0).double()
    x = torch.randn(len(voxels.coords), 16).double()
    for curve, order in enumerate(ORDERS):
        result = block._attention(x, level, curve)
        query, key, value = (part.view(-1, 2, 8) for part in block.qkv(x).chunk(3, 1))
        codes = encode(voxels.coords, order)
        expected = torch.empty_like(x)
        for scene in range(4):
            line = (voxels.coords[:, 0] == scene).nonzero()[:, 0]
            line = line[codes[line].argsort()]
            for rank, voxel in enumerate(line):
                start = rank // 32 * 32
                patch = line[start : start + 32] if start + 32 <= len(line) else line[-32:]
                weight = (torch.einsum("hd,khd->hk", query[voxel], key[patch]) / 8**0.5).softmax(1)
                expected[voxel] = torch.einsum("hk,khd->hd", weight, value[patch]).flatten()
        torch.testing.assert_close(result, block.projection(expected), atol=1e-10, rtol=0)


def test_pooling_takes_the_maximum_over_each_parent(make_batch: Make):
    torch.manual_seed(0)
    voxels = voxelize(make_batch(200, 0, 100), 0.5)
    fine, coarse = levels(voxels, 2, 32)
    cells = voxels.coords.clone()
    cells[:, 1:] >>= 1
    assert fine.parent is not None
    assert torch.equal(coarse.sparse.indices[fine.parent], cells)
    assert len(coarse.sparse.indices) == len(cells.unique(dim=0))
    down = _Down(5, 7)
    x = torch.randn(len(cells), 5, requires_grad=True)
    projected = down.projection(x)
    expected = torch.stack(
        [projected[fine.parent == p].amax(0) for p in range(len(coarse.sparse.indices))]
    )
    result, reference = down(x, fine), down.activate(expected)
    torch.testing.assert_close(result, reference)
    probe = torch.randn(result.shape)
    torch.testing.assert_close(
        torch.autograd.grad(result, x, probe, retain_graph=True)[0],
        torch.autograd.grad(reference, x, probe)[0],
    )


@pytest.mark.parametrize(
    ("shape", "bits"),
    [((1, 1, 1), 1), ((2, 1, 1), 2), ((1, 3, 1), 2), ((3, 4, 4), 3), ((7, 2, 3), 3), ((9, 1, 8), 4),
     ((1, 1073, 40), 11), ((2**15, 1, 1), 16), ((2**16 - 1, 1, 1), 16), ((2**16, 1, 1), 16)],
)  # fmt: skip
def test_bits_hold_the_number_of_voxels(shape: tuple[int, int, int], bits: int):
    assert bits_needed(shape) == bits


@pytest.mark.parametrize("bits", range(4, DEPTH + 1))
def test_each_bit_more_exchanges_the_axes_of_a_hilbert_curve(bits: int):
    coords = cube(8)
    for order in ("z", "z-trans"):
        assert torch.equal(encode(coords, order, bits), encode(coords, order))
    for order in ("hilbert", "hilbert-trans"):
        codes = encode(coords, order, bits)
        walk = coords[codes.argsort(), 1:]
        assert walk.diff(dim=0).abs().sum(1).tolist() == [1] * 511
        scene, *axes = coords.unbind(1)
        turned = torch.stack([scene, axes[2], axes[0], axes[1]], 1)
        if order == "hilbert":
            assert torch.equal(codes, encode(turned, order, bits - 1))
        if bits > 6:
            assert torch.equal(codes, encode(coords, order, bits - 3))
        assert not torch.equal(codes, encode(coords, order, bits - 1))


@pytest.mark.parametrize("form", get_args(PTv3Form))
def test_a_far_scene_matters_where_the_batch_sets_the_bits(make_batch: Make, form: PTv3Form):
    torch.manual_seed(0)
    network = PointTransformerV3(SMALL).double().eval()
    network.ptv3_form = form
    near = make_batch(400, extent=3.0)
    alone = voxelize(near, 0.5)
    assert bits_needed(alone.shape) == 4
    features = torch.randn(len(alone.coords), 4).double()

    def beside(extent: int) -> torch.Tensor:
        """Features of the near scene beside one of two voxels, `extent` voxels wide."""
        far = torch.tensor([[1, 0, 0, 0], [1, extent - 1, 0, 0]], dtype=torch.int32)
        shape = (max(extent, alone.shape[0]), *alone.shape[1:])
        unused = torch.zeros(0, dtype=torch.int64)
        batch = Voxels(torch.cat([alone.coords, far]), shape, 2, unused, unused)
        return network(torch.cat([features, torch.zeros(2, 4).double()]), batch)[: len(features)]

    own = network(features, alone)
    same = {
        extent: torch.allclose(beside(extent), own, atol=1e-9) for extent in (2, 15, 16, 32, 64)
    }
    by_batch = {2: True, 15: True, 16: False, 32: False, 64: True}  # the axes are back after 3 bits
    assert same == (by_batch if form == "v3m1" else dict.fromkeys(same, True))


def last_decoder_stage(network: PointTransformerV3) -> tuple[_Up, list[_Block]]:
    up, blocks = network.up[-1], network.decoder[-1]
    assert isinstance(up, _Up)
    assert isinstance(blocks, torch.nn.ModuleList)
    return up, [block for block in blocks if isinstance(block, _Block)]


@pytest.mark.parametrize("form", get_args(PTv3Form))
def test_what_the_positions_of_a_decoder_stage_come_from(make_batch: Make, form: PTv3Form):
    """Other features from below: in v3m1 the first convolution of the stage sees nothing of them,
    the second does; in the refreshed form both do."""
    torch.manual_seed(0)
    network = PointTransformerV3(Architecture(SMALL.encoder, ((16, 2, 2), (16, 2, 2)), 32)).eval()
    network.ptv3_form = form
    voxels = voxelize(make_batch(300), 0.5)
    features = torch.randn(len(voxels.coords), 4)
    inputs_by_call: list[torch.Tensor] = []
    up, blocks = last_decoder_stage(network)
    for block in blocks:
        block.position_conv.register_forward_pre_hook(
            lambda _, inputs: inputs_by_call.append(inputs[0].features)
        )
    before = network(features, voxels)
    with torch.no_grad():
        for parameter in up.below[0].parameters():
            parameter.mul_(-2)
    after = network(features, voxels)
    assert not torch.allclose(before, after, atol=1e-3)
    first, second, first_after, second_after = inputs_by_call
    assert torch.equal(first, first_after) == (form == "v3m1")
    assert not torch.allclose(second, second_after, atol=1e-3)


def test_the_first_position_of_a_decoder_stage_is_the_projected_skip(make_batch: Make):
    torch.manual_seed(0)
    network = PointTransformerV3(SMALL).eval()
    voxels = voxelize(make_batch(300), 0.5)
    features: dict[str, torch.Tensor] = {}
    encoder, (up, (block,)) = network.encoder[0], last_decoder_stage(network)
    assert isinstance(encoder, torch.nn.ModuleList)
    encoder[-1].register_forward_hook(lambda *call: features.update(encoded=call[2]))
    block.position_conv.register_forward_pre_hook(
        lambda _, inputs: features.update(placed=inputs[0].features)
    )
    network(torch.randn(len(voxels.coords), 4), voxels)
    torch.testing.assert_close(features["placed"], up.skip(features["encoded"]))


@pytest.mark.parametrize("form", get_args(PTv3Form))
def test_placed_features_get_their_gradient_recomputed_too(make_batch: Make, form: PTv3Form):
    gradients = []
    voxels = voxelize(make_batch(300), 0.5)
    for again in (False, True):
        torch.manual_seed(0)
        network = PointTransformerV3(SMALL)
        network.ptv3_form, network.recompute = form, again
        network(torch.randn(len(voxels.coords), 4), voxels).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert plain is not None
        assert plain.abs().max() > 0
        torch.testing.assert_close(recomputed, plain)


def test_neither_padding_nor_other_scenes_change_a_result(make_batch: Make):
    torch.manual_seed(0)
    network = PointTransformerV3(SMALL).double().eval()
    network.ptv3_form = "refreshed"
    points = make_batch(150, 7, 0, 90, 400, 1, extent=3.0)
    far = replace(points, xyz=points.xyz.clone())
    far.xyz[points.scene == 4] *= 50.0  # many more bits of coordinates, in another scene

    def run(batch: PointBatch) -> torch.Tensor:
        voxels = voxelize(batch, 0.5)
        return network(batch.xyz.double().repeat(1, 2)[:, :4][voxels.representative], voxels)[
            voxels.inverse
        ]

    together, beside_far = run(points), run(far)
    for scene in (0, 1, 3, 5):
        mask = points.scene == scene
        alone = run(
            PointBatch(
                points.xyz[mask], points.intensity[mask], points.scene[mask] * 0, (int(mask.sum()),)
            )
        )
        torch.testing.assert_close(together[mask], alone, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(beside_far[mask], alone, atol=1e-9, rtol=1e-9)


def test_orders_are_shuffled_where_the_form_says(make_batch: Make):
    assert [_curves(stage, None, False) for stage in range(5)] == [[0, 1, 2, 3]] * 5
    fixed = [_curves(stage, None, True) for stage in range(5)]
    assert fixed == [_curves(stage, None, True) for stage in range(5)]
    assert [sorted(curves) for curves in fixed] == [[0, 1, 2, 3]] * 5
    assert len({tuple(curves) for curves in [*fixed, [0, 1, 2, 3]]}) > 3
    assert fixed == [
        torch.randperm(4, generator=torch.Generator().manual_seed(key(f"curves {stage}"))).tolist()
        for stage in range(5)
    ]


@pytest.mark.parametrize("form", get_args(PTv3Form))
def test_orders_follow_the_draws(make_batch: Make, form: PTv3Form):
    torch.manual_seed(0)
    network = PointTransformerV3(SMALL).eval()
    network.ptv3_form = form
    points = make_batch(600)
    voxels = voxelize(points, 0.5)
    features = torch.randn(len(voxels.coords), 4)
    results = [network(features, voxels, Draws(points, [n])) for n in (1, 1, 2)]
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[0], results[2], atol=1e-5)
    assert torch.equal(network(features, voxels), network(features, voxels))
    curves = torch.tensor(
        [_curves(stage, Draws(points, [n]), True) for n in range(100) for stage in range(5)]
    )
    assert curves.sort(1).values.tolist() == [[0, 1, 2, 3]] * 500
    counts = torch.unique(curves, dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 500 / 24) ** 2 / (500 / 24)).sum() < 23 + 5 * 46**0.5


def test_dropped_branches_keep_their_mean(make_batch: Make):
    points = make_batch(10)
    draws = Draws(points, [0])
    block, other = _Block("a", 16, 2, 0.3), _Block("b", 16, 2, 0.3)
    branch = torch.ones(20_000, 3)
    result = block._drop(branch, "mlp", draws)
    assert set(result.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    assert torch.equal(result[:, 0], result[:, 2])
    assert result.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(block._drop(branch, "mlp", draws), result)  # as the recomputation needs it
    for drawn in (
        block._drop(branch, "attention", draws),
        other._drop(branch, "mlp", draws),
        block._drop(branch, "mlp", Draws(points, [1])),
    ):
        assert (drawn == result)[:, 0].double().mean().item() == pytest.approx(
            0.7**2 + 0.3**2, abs=0.02
        )
    assert torch.equal(block._drop(branch, "mlp", None), branch)
    assert torch.equal(block.eval()._drop(branch, "mlp", draws), branch)


def test_blocks_draw_apart():
    names = [
        module.name
        for module in PointTransformerV3(ARCHITECTURES["ptv3"]).modules()
        if isinstance(module, _Block)
    ]
    assert len(set(names)) == len(names) == 22


def test_levels_halve_every_scene_by_itself(make_batch: Make):
    points = make_batch(300, 0, 1, 150, extent=6.0)
    voxels = voxelize(points, 0.25)
    sizes = levels(voxels, 5, 32)
    cells = voxels.coords
    counts = _voxels_per_scene(encode(voxels.coords, "z"), 4, 5)
    for number, level in enumerate(sizes):
        occupied = level.sparse.indices
        assert torch.equal(torch.unique(occupied, dim=0), torch.unique(cells, dim=0))
        assert len(occupied) == len(torch.unique(cells, dim=0))
        assert counts[number].tolist() == torch.bincount(occupied[:, 0], minlength=4).tolist()
        assert level.sparse.spatial_shape == [-(-extent // 2**number) for extent in voxels.shape]
        coarser = torch.cat([occupied[:, :1], occupied[:, 1:] >> 1], 1)
        if number == 4:
            assert level.parent is level.children is level.by_parent is None
            break
        assert level.parent is not None
        assert level.children is not None
        assert level.by_parent is not None
        assert torch.equal(sizes[number + 1].sparse.indices[level.parent], coarser)
        assert torch.equal(level.children, torch.bincount(level.parent))
        assert level.by_parent.sort().values.tolist() == list(range(len(occupied)))
        assert level.parent[level.by_parent].diff().min() >= 0
        cells = torch.unique(coarser, dim=0)


def test_drop_rates_grow_to_the_deepest_block_and_fall_again():
    network = PointTransformerV3(Architecture(SMALL.encoder, SMALL.decoder, 32, 0.3))
    rates = [module.drop_path for module in network.modules() if isinstance(module, _Block)]
    assert rates == pytest.approx([0.0, 0.15, 0.3, 0.3, 0.0])


def test_codes_too_deep_are_refused():
    coords = torch.tensor([[0, 0, 0, 0], [0, 2**16, 0, 0]], dtype=torch.int32)
    voxels = Voxels(coords, (2**16 + 1, 1, 1), 1, torch.arange(2), torch.arange(2))
    with pytest.raises(
        CleverError, match="the batch spans 65537 voxels; serialised codes reach 65536"
    ):
        PointTransformerV3(SMALL)(torch.zeros(2, 4), voxels)
