"""The weights of a pre-training run: its files, taken up again, and a start for other runs."""

from pathlib import Path
from typing import Any

from torch import nn

from ...errors import CleverError
from ...student.checkpoint import (
    WEIGHTS,
    load_module,
    read_meta,
    save_module,
    save_student,
)
from ..settings.pretrain import PretrainSettings
from ..steps.contrast import ContrastStep
from ..steps.distillation import DistillationStep
from ..steps.mixed_frames import MixedFrames

TERMS_FILE = "terms.safetensors"
OCCUPANCY_FILE = "occupancy.safetensors"
CLASS_TOKEN_FILE = "class-token.safetensors"


def start_from(folder: Path, step: DistillationStep) -> str:
    """Fill a fresh step with the weights of a run: its student, and those heads that fit; returns
    in words what was taken.

    Raises:
        CleverError: `folder` holds no student, or another one.
    """
    student = step.student
    description = read_meta(folder / WEIGHTS)
    own = (student.name, student.voxel_size)
    if (description.get("student"), description.get("voxel_size")) != own:
        raise CleverError(
            f"{folder} holds a {description.get('student')} with voxels of "
            f"{description.get('voxel_size')} m, not a {own[0]} with {own[1]} m; change `student` "
            "and `voxel_size`, or `init`"
        )
    # What was written before forms were told apart has no form and is the refreshed one.
    form = description.get("ptv3_form") or ("refreshed" if student.ptv3_form else None)
    if form != student.ptv3_form:
        raise CleverError(
            f"{folder} holds the {form} form of PTv3, another network than {student.ptv3_form} "
            f"with the same weights; give `ptv3_form={form}`, or leave `init` out"
        )
    load_module(folder / WEIGHTS, student)
    parts: dict[str, nn.Module] = {"occupancy": step.occupancy} if step.occupancy else {}
    parts |= {"class token": step.class_head} if step.class_head else {}
    parts |= {f"head of {name}": head for name, head in zip(step.teachers, step.heads, strict=True)}
    fresh = [name for name, module in parts.items() if not _filled(folder, name, module)]
    part_names = ["student", *(name for name in parts if name not in fresh)]
    anew = f"; new: {', '.join(fresh)}" if fresh else ""
    patch = description.get("patch", student.patch)
    attention = (
        f", patches of {student.patch} voxels, not {patch}" if patch != student.patch else ""
    )
    return (
        f"starts from {folder}: {', '.join(part_names)}{attention}{anew}; optimiser and schedule "
        "begin anew"
    )


def check_intensity(settings: PretrainSettings) -> None:
    """Whether the student of `init` takes intensities as this run gives them.

    Raises:
        CleverError: it does not.
    """
    assert settings.init
    own = "standardised" if read_meta(settings.init / WEIGHTS).get("intensities") else "raw"
    if own != settings.intensity:
        raise CleverError(
            f"the student in {settings.init} takes intensities {own}; change `intensity` or `init`"
        )


def load_last(folder: Path, step: DistillationStep) -> None:
    """Fill a step with the last weights of its own run.

    Raises:
        CleverError: one of the files is missing or damaged.
    """
    load_module(folder / WEIGHTS, step.student)
    for name, head in zip(step.teachers, step.heads, strict=True):
        load_module(folder / head_file(name, len(step.teachers)), head)
    for file, module in _further_parts(step).items():
        load_module(folder / file, module)


def _further_parts(step: DistillationStep) -> dict[str, nn.Module]:
    """What is trained beside student and projection heads, by its file."""
    parts: dict[str, nn.Module | None] = {
        OCCUPANCY_FILE: step.occupancy,
        CLASS_TOKEN_FILE: step.class_head,
        TERMS_FILE: step.terms if isinstance(step, ContrastStep) else None,
    }
    return {file: module for file, module in parts.items() if module is not None}


def _filled(folder: Path, name: str, module: nn.Module) -> bool:
    """Fill a head from the file of a run; False where it has none that fits."""
    teacher = name.removeprefix("head of ")
    own_file = {"occupancy": OCCUPANCY_FILE, "class token": CLASS_TOKEN_FILE}.get(name)
    files = [folder / (own_file or head_file(teacher, count)) for count in (1, 2)]
    for file in files:
        if file.is_file() and (own_file or read_meta(file)["teacher"] == teacher):
            try:
                load_module(file, module)
            except CleverError:
                return False
            return True
    return False


def export(step: DistillationStep, frames: MixedFrames, init: Path | None, folder: Path) -> None:
    """Write the student, its heads and what else is trained into a folder, each with what it is.

    Args:
        init: the run from whose weights this one began; None for fresh ones.
    """
    teachers = [cache.teacher for cache in frames.first.caches]
    norms = step.stores.intensities
    sources = dict.fromkeys(teacher.description for teacher in teachers)
    origin = f"distilled from {' and '.join(sources)}"
    origin += ", intensities standardised" if norms else ""
    meta: dict[str, Any] = {
        "teacher": [teacher.id for teacher in teachers],
        "origin": f"{origin}, begun from {init}" if init else origin,
        "dataset": frames.dataset,
        "scenes": frames.scenes,
    }
    if frames.first.input_sweeps:
        meta["input_sweeps"] = frames.first.input_sweeps.count
    save_student(folder, step.student, meta, norms)
    for name, head in zip(step.teachers, step.heads, strict=True):
        save_module(folder / head_file(name, len(step.heads)), head, {**meta, "teacher": name})
    for file, module in _further_parts(step).items():
        save_module(folder / file, module, meta)


def head_file(name: str, heads: int) -> str:
    """Name of the file of a projection head, with its own name where there are several."""
    return "head.safetensors" if heads == 1 else f"head-{name}.safetensors"
