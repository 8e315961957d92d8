"""Published weights of Pointcept: its SpUNet-v1m1 is a MinkUNet here, its PT-v3m1 a PTv3 of that
form.

Names are translated by rules that follow the architecture, so that every tensor is accounted for.
Values stay as they are: both store convolutions as spconv 2 does, (out, kx, ky, kz, in).
"""

from collections.abc import Mapping

from torch import Tensor

from ...errors import CleverError
from ..backbones import minkunet, ptv3
from ..backbones.base import IN_CHANNELS
from ..registry import build_student
from ..student import Student
from .imported import ImportedStudent
from .tensors import plain_tensors

Names = dict[str, str]
"""Names of modules: here, there."""
HEADS = ("seg_head.", "final.")
"""Classifiers, which a backbone here has not."""
SHOWN = 3
"""Names in an error."""


def from_pointcept(state: Mapping[str, Tensor], source: str, voxel_size: float) -> ImportedStudent:
    """The student whose weights these are.

    Args:
        state: tensors by name, as in `state_dict` of a Pointcept checkpoint: of a backbone or of a
            segmenter around it (`backbone.`), trained by one process or by several (`module.`).
        source: where they are from, for messages.
        voxel_size: metres; no file says it. Pointcept's outdoor configurations have 0.05.

    Raises:
        CleverError: as `plain_tensors`; of another network, for other input features, a tensor that
            is missing, left over or of another shape, or values that are not finite.
    """
    backbone, classifier_names = _backbone(state, source)
    if "conv_input.0.weight" in backbone:
        network, stem, tables = "SpUNet-v1m1", "conv_input.0.weight", _SPUNETS
    elif "embedding.stem.conv.weight" in backbone:
        network, stem, tables = "PT-v3m1", "embedding.stem.conv.weight", _PTV3S
    else:
        raise CleverError(
            f"{source} holds neither SpUNet-v1m1 nor PT-v3m1 of Pointcept nor ScaLR's WaffleIron: "
            f"its first names are {_shown(state)}"
        )
    _check_stem(backbone[stem], source)
    student, names = _fitting(backbone, tables, voxel_size, source)
    own = student.backbone.state_dict()
    weights = {name: _value(backbone[names[name]], tensor) for name, tensor in own.items()}
    infinite = [names[name] for name, value in weights.items() if not value.isfinite().all()]
    if infinite:
        raise CleverError(f"{source}: values of {_shown(infinite)} are not finite; get it again")
    student.backbone.load_state_dict(weights)
    return ImportedStudent(student.eval(), network, "Pointcept", len(own), classifier_names)


def _backbone(
    state: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The backbone's tensors by their names in it, and the names of the classifier's."""
    plain = plain_tensors(state, source)
    inner = {
        name.removeprefix("backbone."): tensor
        for name, tensor in plain.items()
        if name.startswith("backbone.")
    }
    outer = {name for name in plain if not name.startswith("backbone.")} if inner else set[str]()
    tensors = inner or plain
    heads = {name for name in outer | tensors.keys() if name.startswith(HEADS)}
    if strange := outer - heads:
        raise CleverError(
            f"{source} holds {len(strange)} tensors that belong to no backbone: {_shown(strange)}"
        )
    return {name: tensors[name] for name in tensors if name not in heads}, tuple(sorted(heads))


def _check_stem(weight: Tensor, source: str) -> None:
    """Refuse weights of another spconv or for other features."""
    if weight.ndim != 5 or weight.shape[1:4] != weight.shape[1:2] * 3:
        raise CleverError(
            f"{source}: its first convolution is {tuple(weight.shape)}, not (out, k, k, k, in) as "
            "spconv 2 stores it; convert it with the spconv that wrote it"
        )
    if weight.shape[4] != IN_CHANNELS:
        raise CleverError(
            f"{source} takes {weight.shape[4]} features a point, students here {IN_CHANNELS}: x, "
            "y, z in metres and intensity in [0, 1] (Pointcept's coord and strength)"
        )


def _fitting(
    backbone: Mapping[str, Tensor], tables: dict[str, Names], voxel_size: float, source: str
) -> tuple[Student, Names]:
    """The student of `tables` whose tensors these are, and the name there of each tensor here.

    Raises:
        CleverError: there is none; it says what is missing or too much for the nearest.
    """
    module_names = {name.rpartition(".")[0] for name in backbone}
    distance = {name: len(module_names ^ set(modules.values())) for name, modules in tables.items()}
    nearest: tuple[int, str] | None = None
    for candidate in (name for name in tables if distance[name] == min(distance.values())):
        modules = tables[candidate]
        student = build_student(candidate, voxel_size)
        own = student.backbone.state_dict()
        names = {name: _pointcept_name(name, modules) for name in own}
        missing = set(names.values()) - backbone.keys()
        over = backbone.keys() - set(names.values())
        other = {
            source_name
            for name, source_name in names.items()
            if source_name in backbone
            and _shape(backbone[source_name], own[name]) != own[name].shape
        }
        if not (missing or over or other):
            return student, names
        parts = ((missing, "missing"), (over, "left over"), (other, "of another shape"))
        words = [f"{len(part)} {fault} ({_shown(part)})" for part, fault in parts if part]
        count = len(missing) + len(over) + len(other)
        if nearest is None or count < nearest[0]:
            nearest = count, f"{candidate} it is nearest to: {', '.join(words)}"
    assert nearest is not None
    raise CleverError(f"{source} fits no student here; of the tensors of {nearest[1]}")


def _shown(names: Mapping[str, Tensor] | set[str] | list[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return ", ".join(sorted(names)[:SHOWN]) + more


def _pointcept_name(name: str, modules: Names) -> str:
    """Pointcept's name of a tensor here."""
    module, _, tensor = name.rpartition(".")
    return f"{modules[module]}.{'bias' if tensor == 'shift' else tensor}"


def _is_pointwise(value: Tensor, own: Tensor) -> bool:
    """Whether a convolution with one weight a channel stands for a linear layer here."""
    return own.ndim == 2 and value.ndim == 5 and value.shape[1:4] == (1, 1, 1)


def _shape(value: Tensor, own: Tensor) -> tuple[int, ...]:
    if _is_pointwise(value, own):
        return value.shape[0], value.shape[4]
    return tuple(value.shape)


def _value(value: Tensor, own: Tensor) -> Tensor:
    """A tensor as it is here: (out, in) for a pointwise convolution, which spconv stores as (out,
    1, 1, 1, in) but reads as (in, out)."""
    if _is_pointwise(value, own):
        value = value.reshape(own.shape[1], own.shape[0]).T
    return value.to(own.dtype).contiguous()


def _spunet(architecture: minkunet.Architecture) -> Names:
    """SpUNet-v1m1 numbers the levels of its decoder from the finest, MinkUNet from the coarsest."""
    names = {"stem.conv": "conv_input.0", "stem.norm": "conv_input.1"}
    last = len(architecture.encoder) - 1
    sides = (("down", "encoder", "enc"), ("up", "decoder", "dec"))
    for (step, side, pointcept_side), stages in zip(
        sides, (architecture.encoder, architecture.decoder), strict=True
    ):
        for stage, (_, depth) in enumerate(stages):
            pointcept_stage = stage if step == "down" else last - stage
            names[f"{step}.{stage}.conv"] = f"{step}.{pointcept_stage}.0"
            names[f"{step}.{stage}.norm"] = f"{step}.{pointcept_stage}.1"
            for block in range(depth):
                names |= _under(
                    f"{side}.{stage}.{block}.",
                    f"{pointcept_side}.{pointcept_stage}.block{block}.",
                    {
                        "first.conv": "conv1",
                        "first.norm": "bn1",
                        "conv": "conv2",
                        "norm": "bn2",
                        "shortcut.0": "proj.0",
                        "shortcut.1": "proj.1",
                    },
                )
    return names


def _ptv3(architecture: ptv3.Architecture) -> Names:
    """PT-v3m1 numbers the stages of its decoder by the level that they reach, PTv3 from the
    coarsest."""
    names = {"stem_conv": "embedding.stem.conv", "stem.0": "embedding.stem.norm"}
    last = len(architecture.decoder) - 1
    for stage, (_, depth, _) in enumerate(architecture.encoder):
        prefix = f"enc.enc{stage}"
        if stage:
            names[f"down.{stage - 1}.projection"] = f"{prefix}.down.proj"
            names[f"down.{stage - 1}.activate.0"] = f"{prefix}.down.norm.0"
        for block in range(depth):
            names |= _ptv3_block(f"encoder.{stage}.{block}.", f"{prefix}.block{block}.")
    for stage, (_, depth, _) in enumerate(architecture.decoder):
        prefix = f"dec.dec{last - stage}"
        for layer in (0, 1):
            names[f"up.{stage}.below.{layer}"] = f"{prefix}.up.proj.{layer}"
            names[f"up.{stage}.skip.{layer}"] = f"{prefix}.up.proj_skip.{layer}"
        for block in range(depth):
            names |= _ptv3_block(f"decoder.{stage}.{block}.", f"{prefix}.block{block}.")
    return names


def _ptv3_block(prefix: str, pointcept_prefix: str) -> Names:
    return _under(
        prefix,
        pointcept_prefix,
        {
            "position_conv": "cpe.0",
            "position.0": "cpe.1",
            "position.1": "cpe.2",
            "attention_norm": "norm1.0",
            "qkv": "attn.qkv",
            "projection": "attn.proj",
            "mlp.0": "norm2.0",
            "mlp.1": "mlp.0.fc1",
            "mlp.3": "mlp.0.fc2",
        },
    )


def _under(prefix: str, pointcept_prefix: str, names: Names) -> Names:
    return {prefix + name: pointcept_prefix + other for name, other in names.items()}


_SPUNETS = {name: _spunet(table) for name, table in minkunet.ARCHITECTURES.items()}
_PTV3S = {name: _ptv3(table) for name, table in ptv3.ARCHITECTURES.items()}
