"""Weights under Pointcept's names: each lands where its layer is, none is lost."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from clever.errors import CleverError
from clever.student.published.pointcept import from_pointcept
from clever.student.student import Student

from .pointcept_names import (
    PTV3,
    PTV3_256,
    PTV3_TINY,
    SPUNET_18,
    SPUNET_34,
    SPUNET_TINY,
    Weights,
    ptv3,
    spunet,
)

HEADS = {"final.weight", "final.bias"}


def fingerprints(state: Mapping[str, Tensor]) -> list[tuple[int, float]]:
    """Size and sum of every tensor: with random values no two are alike."""
    sums = ((tensor.numel(), tensor.double().sum().item()) for tensor in state.values())
    return sorted((size, round(total, 6)) for size, total in sums)


def same(
    student: Student, own_name: str, weights: Mapping[str, Tensor], pointcept_name: str
) -> bool:
    return torch.equal(student.backbone.state_dict()[own_name], weights[pointcept_name])


@pytest.mark.parametrize(
    ("make", "name", "form", "network", "tensors"),
    [
        pytest.param(lambda: spunet(*SPUNET_TINY), "minkunet-tiny", None, "SpUNet-v1m1", 174),
        pytest.param(lambda: ptv3(*PTV3_TINY), "ptv3-tiny", "v3m1", "PT-v3m1", 195),
        pytest.param(
            lambda: spunet(*SPUNET_34), "minkunet34", None, "SpUNet-v1m1", 354,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: spunet(*SPUNET_18), "minkunet18", None, "SpUNet-v1m1", 270,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: ptv3(*PTV3), "ptv3", "v3m1", "PT-v3m1", 486, marks=pytest.mark.slow
        ),
        pytest.param(
            lambda: ptv3(*PTV3_256), "ptv3-256", "v3m1", "PT-v3m1", 486, marks=pytest.mark.slow
        ),
    ],
)  # fmt: skip
def test_every_tensor_is_taken_once(
    make: Callable[[], Weights], name: str, form: str | None, network: str, tensors: int
):
    weights = make()
    result = from_pointcept(weights, "file", 0.1)
    student = result.student
    assert (student.name, student.ptv3_form, student.voxel_size) == (name, form, 0.1)
    assert (result.network, result.tensors) == (network, tensors)
    assert set(result.head_names) == HEADS & weights.keys()
    assert not student.training
    body = {name: tensor for name, tensor in weights.items() if name not in HEADS}
    assert fingerprints(student.backbone.state_dict()) == fingerprints(body)


def test_layers_of_spunet():
    weights = spunet(*SPUNET_TINY)
    student = from_pointcept(weights, "file", 0.1).student
    for own_name, pointcept_name in {
        "stem.conv.weight": "conv_input.0.weight",
        "stem.norm.running_var": "conv_input.1.running_var",
        "down.2.conv.weight": "down.2.0.weight",
        "encoder.1.0.first.conv.weight": "enc.1.block0.conv1.weight",
        "encoder.1.0.first.norm.bias": "enc.1.block0.bn1.bias",
        "encoder.1.0.conv.weight": "enc.1.block0.conv2.weight",
        "encoder.1.0.norm.running_mean": "enc.1.block0.bn2.running_mean",
        "up.0.conv.weight": "up.3.0.weight",
        "up.3.norm.weight": "up.0.1.weight",
        "decoder.0.0.first.conv.weight": "dec.3.block0.conv1.weight",
        "decoder.3.0.shortcut.1.weight": "dec.0.block0.proj.1.weight",
    }.items():
        assert same(student, own_name, weights, pointcept_name), own_name
    # A pointwise convolution is stored (out, 1, 1, 1, in); spconv multiplies by its numbers as if
    # they were (in, out).
    stored = weights["dec.1.block0.proj.0.weight"]
    x = torch.randn(3, stored.shape[4])
    layer = student.backbone.get_parameter("decoder.2.0.shortcut.0.weight")
    product = x @ stored.flatten().view(stored.shape[4], stored.shape[0])
    torch.testing.assert_close(torch.nn.functional.linear(x, layer), product)


def test_layers_of_ptv3():
    weights = ptv3(*PTV3_TINY)
    student = from_pointcept(weights, "file", 0.1).student
    for own_name, pointcept_name in {
        "stem_conv.weight": "embedding.stem.conv.weight",
        "stem.0.weight": "embedding.stem.norm.weight",
        "down.1.projection.bias": "enc.enc2.down.proj.bias",
        "down.1.activate.0.running_var": "enc.enc2.down.norm.0.running_var",
        "encoder.3.0.position_conv.weight": "enc.enc3.block0.cpe.0.weight",
        "encoder.3.0.position_conv.shift": "enc.enc3.block0.cpe.0.bias",
        "encoder.3.0.position.0.weight": "enc.enc3.block0.cpe.1.weight",
        "encoder.3.0.position.1.weight": "enc.enc3.block0.cpe.2.weight",
        "encoder.3.0.attention_norm.bias": "enc.enc3.block0.norm1.0.bias",
        "encoder.3.0.mlp.0.bias": "enc.enc3.block0.norm2.0.bias",
        "up.0.below.0.weight": "dec.dec2.up.proj.0.weight",
        "up.0.skip.1.running_mean": "dec.dec2.up.proj_skip.1.running_mean",
        "up.2.skip.0.weight": "dec.dec0.up.proj_skip.0.weight",
        "decoder.0.0.qkv.weight": "dec.dec2.block0.attn.qkv.weight",
        "decoder.0.0.projection.weight": "dec.dec2.block0.attn.proj.weight",
        "decoder.2.0.mlp.1.weight": "dec.dec0.block0.mlp.0.fc1.weight",
        "decoder.2.0.mlp.3.weight": "dec.dec0.block0.mlp.0.fc2.weight",
    }.items():
        assert same(student, own_name, weights, pointcept_name), own_name


def test_prefixes_and_heads():
    plain = ptv3(*PTV3_TINY)
    expected = from_pointcept(plain, "file", 0.1).student.state_dict()
    segmenter = {f"backbone.{name}": tensor for name, tensor in plain.items()}
    segmenter |= {"seg_head.weight": torch.zeros(16, 64), "seg_head.bias": torch.zeros(16)}
    parallel = {f"module.{name}": tensor for name, tensor in segmenter.items()}
    for state in (segmenter, parallel, {f"module.{name}": plain[name] for name in plain}):
        result = from_pointcept(state, "file", 0.1)
        assert all(torch.equal(v, expected[k]) for k, v in result.student.state_dict().items())
        heads = ("seg_head.bias", "seg_head.weight") if len(state) > len(plain) else ()
        assert result.head_names == heads
    whole = {f"module.backbone.{name}": tensor for name, tensor in spunet(*SPUNET_TINY).items()}
    assert from_pointcept(whole, "file", 0.1).head_names == ("final.bias", "final.weight")


def test_half_precision_becomes_float32():
    weights = spunet(*SPUNET_TINY)
    half = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    student = from_pointcept(half, "file", 0.1).student
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    assert same(
        student, "stem.conv.weight", {"x": weights["conv_input.0.weight"].half().float()}, "x"
    )


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {**spunet(*SPUNET_TINY)}
    for name, tensor in changes.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            changed(**{"up.0.0.weight": None}),
            "fits no student here; of the tensors of minkunet-tiny it is nearest to: 1 missing "
            "(up.0.0.weight)",
        ),
        (
            changed(**{f"extra.{n}": torch.zeros(1) for n in range(5)}),
            "5 left over (extra.0, extra.1, extra.2, ...)",
        ),
        (
            changed(**{"down.1.1.bias": torch.zeros(9)}),
            "1 of another shape (down.1.1.bias)",
        ),
        (
            changed(**{"enc.0.block0.bn1.weight": torch.full((24,), torch.nan)}),
            "values of enc.0.block0.bn1.weight are not finite",
        ),
        (
            changed(**{"conv_input.0.weight": torch.zeros(16, 3, 3, 3, 6)}),
            "takes 6 features a point, students here 4: x, y, z in metres and intensity",
        ),
        (
            changed(**{"conv_input.0.weight": torch.zeros(3, 3, 3, 4, 16)}),
            "its first convolution is (3, 3, 3, 4, 16), not (out, k, k, k, in) as spconv 2",
        ),
        (
            {f"backbone.{k}": v for k, v in changed().items()} | {"mask_token": torch.zeros(1)},
            "1 tensors that belong to no backbone: mask_token",
        ),
        (
            {"layer1.weight": torch.zeros(1)},
            "nor PT-v3m1 of Pointcept nor ScaLR's WaffleIron: its first names are layer1.weight",
        ),
        ({}, "holds neither SpUNet-v1m1 nor PT-v3m1 of Pointcept"),
    ],
)
def test_what_does_not_fit_is_one_line(state: dict[str, Tensor], message: str):
    with pytest.raises(CleverError) as error:
        from_pointcept(state, "some.pth", 0.1)
    assert message in str(error.value)
    assert str(error.value).startswith("some.pth")
    assert "\n" not in str(error.value)


def test_widths_tell_networks_with_the_same_names_apart():
    encoder, depths, _, decoder_depths = PTV3_TINY
    other = ptv3(encoder, depths, (64, 64, 64), decoder_depths)
    with pytest.raises(CleverError, match=r"nearest to: \d+ of another shape \(dec\.dec0\."):
        from_pointcept(other, "some.pth", 0.1)
