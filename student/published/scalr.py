"""Published weights of ScaLR: its WaffleIron is the student of that name here.

ScaLR feeds intensities of each dataset less their mean, over their deviation; students here take
intensities in [0, 1]. The batch norm behind the input takes up the difference exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...errors import CleverError
from ..backbones.waffleiron import ARCHITECTURES
from ..choices import ScalrIntensity
from ..registry import build_student
from .imported import ImportedStudent
from .tensors import plain_tensors

EPSILON = 1e-5
"""Of torch's batch norms."""
SHOWN = 3
"""Names in an error."""
HEADS = ("classif.",)
"""The distillation head or classifier, which a backbone here has not."""
_MODULES = {
    "embedding.norm": "embed.norm",
    "embedding.point": "embed.conv1",
    "embedding.difference_norm": "embed.conv2.0",
    "embedding.difference": "embed.conv2.1",
    "embedding.neighbour_norm": "embed.conv2.2",
    "embedding.neighbour": "embed.conv2.4",
    "embedding.merge": "embed.final",
}
_LAYERS = {
    "spatial": ("spatial_mix", {"convolutions.0": "ffn.0", "convolutions.2": "ffn.2"}),
    "channel": ("channel_mix", {"perceptron.0": "mlp.0", "perceptron.2": "mlp.2"}),
}


@dataclass(frozen=True, slots=True)
class IntensityScale:
    """Mean and deviation by which ScaLR normalises a dataset's intensities, in its files' units.

    Attributes:
        full: the files' value of full intensity, 1 here.
    """

    mean: float
    deviation: float
    full: float


INTENSITIES: dict[ScalrIntensity, IntensityScale] = {
    "nuscenes": IntensityScale(18.742355, 22.04632, 255),
    "semantickitti": IntensityScale(0.28613698, 0.14090556, 1),
    "pandar64": IntensityScale(18.23640649, 25.86983417, 255),
    "pandargt": IntensityScale(23.06113565, 16.76273235, 255),
}
"""Of ScaLR's dataset files."""


def is_scalr(state: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint's tensors are those of a WaffleIron."""
    return any("waffleiron." in name for name in state)


def from_scalr(
    state: Mapping[str, Tensor], source: str, voxel_size: float, intensity: ScalrIntensity
) -> ImportedStudent:
    """The student whose weights these are.

    Args:
        state: tensors by name, as in a checkpoint of ScaLR, trained by one process or by several
            (`module.`).
        source: where they are from, for messages.
        voxel_size: metres; no file says it. ScaLR's is 0.1.
        intensity: the dataset whose intensities the student will read.

    Raises:
        CleverError: as `plain_tensors`; of another WaffleIron (with batch norms, of other sizes), a
            tensor that is missing, left over or of another shape, or values that are not finite.
    """
    plain = plain_tensors(state, source)
    heads = tuple(sorted(name for name in plain if name.startswith(HEADS)))
    tensors = {name: tensor for name, tensor in plain.items() if name not in heads}
    name = _student_name(tensors, source)
    student = build_student(name, voxel_size)
    own = student.backbone.state_dict()
    names = {tensor: _scalr_name(tensor) for tensor in own}
    _check_names(set(names.values()), tensors, f"{source}: of the tensors of {name}")
    weights = {}
    for tensor, scalr_name in names.items():
        value = tensors[scalr_name].to(own[tensor].dtype, copy=True)
        if _lengths(value) != _lengths(own[tensor]):
            raise CleverError(
                f"{source}: {scalr_name} is {tuple(value.shape)}, not {tuple(own[tensor].shape)}; "
                "it is of another WaffleIron"
            )
        if not value.isfinite().all():
            raise CleverError(f"{source}: values of {scalr_name} are not finite; get it again")
        weights[tensor] = value.reshape(own[tensor].shape)
    _take_up_intensity(weights, INTENSITIES[intensity])
    student.backbone.load_state_dict(weights)
    return ImportedStudent(student.eval(), "WaffleIron", "ScaLR", len(own), heads)


def _lengths(tensor: Tensor) -> list[int]:
    """The shape without ones: a convolution of one cell here may be a linear layer there."""
    return [length for length in tensor.shape if length != 1]


def _student_name(tensors: Mapping[str, Tensor], source: str) -> str:
    """The student of as many layers and channels.

    Raises:
        CleverError: there is none, or it has batch norms.
    """
    numbers = {
        name.partition("spatial_mix.")[2].partition(".")[0]
        for name in tensors
        if "spatial_mix." in name
    }
    merge = tensors.get("embed.final.weight")
    channels = 0 if merge is None else merge.shape[:1].numel()
    if any("spatial_mix.0.norm.running_mean" in name for name in tensors):
        raise CleverError(
            f"{source} holds a WaffleIron with batch norms, the first one; students here have "
            "ScaLR's layer norms"
        )
    # Of ScaLR and ScaLR+, which differ in what has no weights, ScaLR.
    for name, size in ARCHITECTURES.items():
        if (size.depth, size.channels) == (len(numbers), channels):
            return name
    raise CleverError(
        f"{source} holds a WaffleIron of {len(numbers)} layers and {channels} channels; students "
        f"here are {', '.join(ARCHITECTURES)}"
    )


def _scalr_name(tensor: str) -> str:
    """ScaLR's name of a tensor here."""
    module, _, kind = tensor.rpartition(".")
    if module in _MODULES:
        return f"{_MODULES[module]}.{kind}"
    side, number, *path = tensor.split(".")
    mix, modules = _LAYERS[side]
    prefix = f"waffleiron.{mix}.{number}"
    if path == ["scale"]:
        return f"{prefix}.scale.weight"
    inner = ".".join(path[:-1])
    return f"{prefix}.{modules.get(inner, inner)}.{kind}"


def _check_names(expected: set[str], tensors: Mapping[str, Tensor], what: str) -> None:
    faults = {"missing": expected - tensors.keys(), "left over": tensors.keys() - expected}
    words = [
        f"{len(names)} {fault} ({', '.join(sorted(names)[:SHOWN])})"
        for fault, names in faults.items()
        if names
    ]
    if words:
        raise CleverError(f"{what} there are {' and '.join(words)}; get the file again")


def _take_up_intensity(weights: dict[str, Tensor], scale: IntensityScale) -> None:
    """Let the first batch norm read intensities i in [0, 1] where it read z = (full i - mean) /
    deviation: (z - m) / sqrt(v + e) = (i - m') / sqrt(v' + e)."""
    mean, variance = (weights[f"embedding.norm.running_{part}"] for part in ("mean", "var"))
    ratio = scale.deviation / scale.full
    mean[0] = (scale.mean + mean[0] * scale.deviation) / scale.full
    variance[0] = (variance[0] + EPSILON) * ratio**2 - EPSILON
