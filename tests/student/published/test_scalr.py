"""Published weights of ScaLR: every tensor in its place, intensities taken up by the batch norm."""

import math

import pytest
import torch
from torch import Tensor

from clever.errors import CleverError
from clever.student.points import PointBatch
from clever.student.published.scalr import from_scalr, is_scalr
from clever.student.registry import build_student

C, DEPTH = 64, 9


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes in a checkpoint of ScaLR's WaffleIron of 9 layers and 64 channels."""
    norm = {"weight": (5,), "bias": (5,), "running_mean": (5,), "running_var": (5,)}
    wide = dict.fromkeys(norm, (C,))
    table: dict[str, tuple[int, ...]] = {}
    for module, tensors in {
        "embed.norm": {**norm, "num_batches_tracked": ()},
        "embed.conv1": {"weight": (C, 5, 1), "bias": (C,)},
        "embed.conv2.0": {**norm, "num_batches_tracked": ()},
        "embed.conv2.1": {"weight": (C, 5, 1, 1)},
        "embed.conv2.2": {**wide, "num_batches_tracked": ()},
        "embed.conv2.4": {"weight": (C, C, 1, 1)},
        "embed.final": {"weight": (C, 2 * C, 1), "bias": (C,)},
        "classif": {"weight": (1024, C, 1), "bias": (1024,)},
    }.items():
        table |= {f"{module}.{name}": shape for name, shape in tensors.items()}
    for layer in range(DEPTH):
        for mix, names, shape in (
            ("spatial_mix", ("ffn.0", "ffn.2"), (C, 1, 3, 3)),
            ("channel_mix", ("mlp.0", "mlp.2"), (C, C, 1)),
        ):
            prefix = f"waffleiron.{mix}.{layer}"
            table |= {f"{prefix}.norm.weight": (C,), f"{prefix}.norm.bias": (C,)}
            table |= {f"{prefix}.{name}.weight": shape for name in names}
            table |= {f"{prefix}.{name}.bias": (C,) for name in names}
            table[f"{prefix}.scale.weight"] = (C, 1, 1)
    return table


@pytest.fixture
def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes().items():
        value = torch.rand(shape, generator=generator) / math.sqrt(max(1, math.prod(shape[1:])))
        tensors[name] = torch.tensor(7) if name.endswith("tracked") else value + 0.01
    return tensors


def test_every_tensor_has_its_place(state: dict[str, Tensor]) -> None:
    result = from_scalr(state, "file", 0.1, "semantickitti")
    assert result.student.name == "waffleiron-tiny"
    assert (result.network, result.publisher) == ("WaffleIron", "ScaLR")
    assert result.head_names == ("classif.bias", "classif.weight")
    own = result.student.backbone.state_dict()
    assert result.tensors == len(own) == len(state) - 2
    for here, there in {
        "embedding.point.weight": "embed.conv1.weight",
        "embedding.difference_norm.running_var": "embed.conv2.0.running_var",
        "embedding.neighbour.weight": "embed.conv2.4.weight",
        "embedding.merge.bias": "embed.final.bias",
        "spatial.4.convolutions.2.weight": "waffleiron.spatial_mix.4.ffn.2.weight",
        "spatial.8.norm.bias": "waffleiron.spatial_mix.8.norm.bias",
        "channel.0.perceptron.0.weight": "waffleiron.channel_mix.0.mlp.0.weight",
        "channel.3.scale": "waffleiron.channel_mix.3.scale.weight",
    }.items():
        assert torch.equal(own[here].flatten(), state[there].flatten()), here
    values = sorted(tensor.double().sum().item() for tensor in own.values())
    theirs = [t.double().sum().item() for name, t in state.items() if "classif" not in name]
    moved = {"embedding.norm.running_mean", "embedding.norm.running_var"}
    same = [value for value in values if any(math.isclose(value, other) for other in theirs)]
    assert len(values) - len(same) <= len(moved)


@pytest.mark.parametrize(
    ("dataset", "mean", "deviation", "full"),
    [("nuscenes", 18.742355, 22.04632, 255), ("semantickitti", 0.28613698, 0.14090556, 1),
     ("pandar64", 18.23640649, 25.86983417, 255), ("pandargt", 23.06113565, 16.76273235, 255)],
)  # fmt: skip
def test_intensities_in_0_to_1_give_what_scaled_ones_gave(
    state: dict[str, Tensor], dataset: str, mean: float, deviation: float, full: float
) -> None:
    student = from_scalr(state, "file", 0.1, dataset).student  # pyright: ignore
    original = build_student("waffleiron-tiny", 0.1).eval()
    weights = student.backbone.state_dict()
    for part in ("mean", "var"):
        name = f"running_{part}"
        weights[f"embedding.norm.{name}"] = state[f"embed.norm.{name}"]
    original.backbone.load_state_dict(weights)
    points = torch.rand(50, 4, generator=torch.Generator().manual_seed(1))
    points[:, :3] *= 4
    scaled = points.clone()
    scaled[:, 3] = (full * points[:, 3] - mean) / deviation
    with torch.no_grad():
        expected = original(PointBatch.from_clouds([scaled]))
        features = student(PointBatch.from_clouds([points]))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_the_given_tensors_stay_as_they_are(state: dict[str, Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in state.items()}
    several = {f"module.{name}": tensor for name, tensor in state.items()}
    from_scalr(several, "file", 0.1, "nuscenes")
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.items())
    assert is_scalr(several)
    assert not is_scalr({"backbone.conv_input.0.weight": torch.zeros(1)})


def test_other_networks_are_one_line(state: dict[str, Tensor]) -> None:
    def line(changed: dict[str, Tensor]) -> str:
        with pytest.raises(CleverError) as error:
            from_scalr(changed, "ckpt.pth", 0.1, "nuscenes")
        assert "\n" not in str(error.value)
        return str(error.value)

    without = {name: value for name, value in state.items() if name != "embed.conv1.bias"}
    assert "1 missing (embed.conv1.bias)" in line(without)
    assert "1 left over (more.weight)" in line({**state, "more.weight": torch.zeros(1)})
    short = {name: value for name, value in state.items() if "_mix.8." not in name}
    assert "a WaffleIron of 8 layers and 64 channels; students here are waf" in line(short)
    first = {**state, "waffleiron.spatial_mix.0.norm.running_mean": torch.zeros(C)}
    assert "with batch norms" in line(first)
    other = {**state, "embed.conv1.weight": torch.zeros(C, 6, 1)}
    assert "embed.conv1.weight is (64, 6, 1), not (64, 5)" in line(other)
    turned = {**state, "embed.final.weight": state["embed.final.weight"].mT.reshape(C, C, 2)}
    assert "embed.final.weight is (64, 64, 2), not (64, 128)" in line(turned)
    scalar = {**state, "embed.final.weight": torch.tensor(1.0)}
    assert "layers and 1 channels" in line(scalar)
    nan = {**state, "embed.final.bias": torch.full((C,), torch.nan)}
    assert "values of embed.final.bias are not finite" in line(nan)
