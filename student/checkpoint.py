"""Checkpoints without pickle: safetensors, with all that is needed to rebuild the network in the
file's header.

Each file is written in one atomic step and carries the SHA-256 of its weights, so a reader sees a
whole checkpoint or an error. `student.json` repeats the header for people and other programs;
nothing here reads it.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import CleverError
from ..files import atomic_write
from .clouds.intensity import IntensityNorm
from .registry import build_student
from .student import Student

WEIGHTS = "student.safetensors"
DESCRIPTION = "student.json"
DATASETS_JOINED = " + "
"""Between the names of several datasets that a student was pre-trained on."""
_HEADER = "clever"
_LOG = logging.getLogger(__name__)


def save_student(
    folder: Path | str,
    student: Student,
    meta: dict[str, Any],
    intensities: Sequence[IntensityNorm] | None = None,
) -> None:
    """Write `student.safetensors` and `student.json` into `folder`; `meta` is anything JSON can
    hold.

    Args:
        intensities: by which a user's intensities are to be standardised; None: the student's own.

    Raises:
        CleverError: the folder cannot be written.
    """
    description = {
        "student": student.name,
        "voxel_size": student.voxel_size,
        "patch": student.patch,
        "ptv3_form": student.ptv3_form,
        "meta": meta,
    }
    norms = student.intensities if intensities is None else intensities
    if norms:
        description["intensities"] = [asdict(norm) for norm in norms]
    save_module(Path(folder) / WEIGHTS, student, description)
    atomic_write(Path(folder) / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def load_student(folder: Path | str) -> Student:
    """The student saved in `folder`, on the CPU and in evaluation mode.

    A PTv3 whose file does not say its form is from before forms were told apart; it is the
    refreshed one, and a warning is logged.

    Raises:
        CleverError: there is none, it is damaged, or its name or weights are not known here.
    """
    path = Path(folder) / WEIGHTS
    description = read_meta(path)
    if not {"student", "voxel_size"} <= description.keys():
        raise CleverError(
            f"{path} holds no student; give the output folder of a pre-training or fine-tuning run"
        )
    student = build_student(
        description["student"],
        description["voxel_size"],
        description.get("patch"),
        description.get("ptv3_form"),
    )
    if student.ptv3_form and not description.get("ptv3_form"):
        student.backbone.ptv3_form = "refreshed"
        _LOG.warning(
            f"{path} does not say which form of PTv3 it is; it was written when there was only the "
            "refreshed one, and is loaded as that"
        )
    student.intensities = read_intensities(folder)
    load_module(path, student)
    return student.eval()


def read_intensities(folder: Path | str) -> tuple[IntensityNorm, ...]:
    """By which statistics the student in `folder` standardises intensities, see `Student`; raises
    CleverError as `load_student`."""
    norms = read_meta(Path(folder) / WEIGHTS).get("intensities", ())
    return tuple(IntensityNorm(**norm) for norm in norms)


def weights_digest(folder: Path | str, file: str = WEIGHTS) -> str:
    """SHA-256 of the weights in a file of `folder`, the student's by default, as it says itself.

    Raises:
        CleverError: as `load_module`.
    """
    return _read(Path(folder) / file, weights=False)[0]["sha256"]


def save_module(path: Path | str, module: nn.Module, meta: dict[str, Any]) -> None:
    """Write any module's weights, with `meta` in the header.

    Raises:
        CleverError: the file cannot be written.
    """
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    header = json.dumps({"meta": meta, "sha256": _checksum(state)})
    atomic_write(Path(path), safetensors.torch.save(state, {_HEADER: header}))


def load_module(path: Path | str, module: nn.Module) -> dict[str, Any]:
    """Fill `module` with the weights of a file of `save_module` and return its meta.

    Raises:
        CleverError: the file is missing or damaged, or holds the weights of another architecture.
    """
    header, state = _read(Path(path))
    if _checksum(state) != header["sha256"]:
        raise CleverError(
            f"{path} is damaged: its weights do not match their checksum; restore it or train again"
        )
    own = {name: tensor.shape for name, tensor in module.state_dict().items()}
    different = [
        name
        for name in own.keys() | state.keys()
        if name not in state or state[name].shape != own.get(name)
    ]
    if different:
        raise CleverError(
            f"{path} holds weights of another architecture: {len(different)} of {len(own)} tensors "
            "differ, "
            f"e.g. {min(different)}; load it into the network it was saved from"
        )
    module.load_state_dict(state)
    return header["meta"]


def read_meta(path: Path | str) -> dict[str, Any]:
    """The `meta` of a file of `save_module`, without its weights.

    Raises:
        CleverError: as `load_module`.
    """
    return _read(Path(path), weights=False)[0]["meta"]


def _read(path: Path, weights: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if path.parent.is_file():
        raise CleverError(f"{path.parent} is a file; give the folder of a run")
    if not path.is_file():
        raise CleverError(f"{path} does not exist; give the output folder of a finished run")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            names = file.keys() if weights else ()
            return header, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CleverError(
            f"{path} is damaged or no checkpoint of this program; restore it or train again"
        ) from error


def _checksum(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {state[name].dtype} {list(state[name].shape)};".encode())
        digest.update(state[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
