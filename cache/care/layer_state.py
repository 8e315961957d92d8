"""What is left of a layer on disk, read so that no damage stops the reading."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ...errors import CleverError
from ..codec import CODECS, Calibration
from ..store import layout
from ..store.layers import Json, TeacherInfo, fingerprint_hash, teacher_info
from ..store.records import Commit, commit_path, committed_shards, read_commit
from ..store.seals import read_seal, seal_path
from ..store.store import (
    base_content,
    calibration_of,
    check_schema,
    read_attributes,
    teacher_content,
)
from .problems import Problem


@dataclass(slots=True)
class LayerState:
    """A layer's seal and commit records.

    Attributes:
        name: ``points`` or a teacher id.
        content: content of its seal; read back from the views where the seal is damaged.
        sealed: the committed shards when the views were written.
        files: size and crc32c of every view; None where the seal is damaged.
        commits: the readable commit records, by shard.
        lost: shards whose record is damaged or missing, and how.
    """

    name: str
    content: Json
    sealed: list[int]
    files: dict[str, dict[str, int]] | None
    commits: dict[int, Commit] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)

    @property
    def info(self) -> TeacherInfo | None:
        """The teacher; None for points and pairs."""
        return None if self.name == "points" else teacher_info(self.name, self.content["info"])


def read_layer(path: Path, name: str) -> tuple[LayerState | None, list[Problem]]:
    """Read a layer; None where neither its seal nor its views say what it is, or it cannot be."""
    seal_file = seal_path(path, name).relative_to(path).as_posix()
    problems = []
    try:
        seal = read_seal(path, name)
        state = LayerState(name, seal.content, seal.shards, seal.files)
    except CleverError:
        what = "damaged" if (path / seal_file).is_file() else "missing"
        problems.append(Problem(seal_file, f"seal is {what}", "rewrite", name))
        try:
            state = LayerState(name, *content_of_views(path, name), None)
        except (CleverError, OSError, ValueError, KeyError, TypeError) as error:
            lost = f"nothing else says what the layer is ({error}); restore either from a copy"
            return None, [Problem(seal_file, f"seal is {what}, and {lost}", "none", name)]
    for shard in sorted({*committed_shards(path, name), *state.sealed}):
        try:
            commit = read_commit(path, name, shard)
        except (CleverError, OSError):
            state.lost[shard] = "damaged" if commit_path(path, name, shard).is_file() else "missing"
            continue
        if (commit.layer, commit.shard) == (name, shard):
            state.commits[shard] = commit
        else:
            state.lost[shard] = f"that of shard {commit.shard} of {commit.layer}"
    fault = _teacher_fault(state, state.info) if state.info else _rows_fault(state.content)
    if fault:
        problems.append(Problem(seal_file, fault, "none", name))
    return (None if fault and state.info else state), problems


def _rows_fault(content: Json) -> str:
    ids, scenes = content["ids"], content["scenes"]
    used = [frame for frame in ids if frame]
    if twice := sorted(frame for frame, count in Counter(used).items() if count > 1):
        return f"frame ids come twice: {', '.join(twice)}"
    if [bool(frame) for frame in ids] != [bool(scene) for scene in scenes]:
        return "rows have a frame id and no scene, or the other way round"
    return ""


def _teacher_fault(state: LayerState, info: TeacherInfo) -> str:
    if info.codec not in CODECS or (info.codec, info.tokens) != tuple(
        map(info.fingerprint.get, ("codec", "tokens"))
    ):
        return f"codec {info.codec} and tokens {info.tokens} differ from the fingerprint"
    if (
        state.content["info"]["id"] != info.id
        or info.id != f"{info.alias}-{fingerprint_hash(info.fingerprint)[:4]}"
    ):
        return f"the layer is {state.content['info']['id']}; give its folder this name again"
    calibration = calibration_of(state.content)
    if (calibration is None) != (info.codec == "fp16") and (calibration or state.commits):
        return (
            f"a layer of codec {info.codec} {'has a' if calibration else 'lacks its'} calibration"
        )
    if calibration:
        centre, step = calibration.centre, calibration.step
        if (
            not len(centre) == len(step) == info.channels
            or not centre.isfinite().all()
            or not step.isfinite().all()
        ):
            return "the calibration is not finite, one centre and step a channel"
        if not (step > 0).all():
            return "the calibration has steps that are not positive"
    return ""


def content_of_views(path: Path, layer: str) -> tuple[Json, list[int]]:
    """The content of a layer's seal and its committed shards, read back from its views.

    Raises:
        CleverError: a view is missing or damaged.
    """
    if layer == "points":
        attributes = read_attributes(path)
        check_schema(attributes, str(path))
        if not (path / "frames/id").exists():
            return base_content(attributes["base"], [], []), []
        ids, scenes = (
            layout.row_texts(layout.read_array(path / "frames" / name)) for name in ("id", "scene")
        )
        return base_content(attributes["base"], ids, scenes), _shards(path / "frames")
    folder = path / "teachers" / layer
    attributes = read_attributes(folder)
    calibration = None
    if (folder / "centre").exists():
        calibration = Calibration(
            *(torch.from_numpy(layout.read_array(folder / name)) for name in ("centre", "step"))
        )
    missing = attributes["calibration_missing"]
    return teacher_content(teacher_info(layer, attributes), calibration, missing), _shards(folder)


def _shards(folder: Path) -> list[int]:
    rows = np.flatnonzero(layout.read_array(folder / "status") != layout.PENDING)
    return np.unique(rows // layout.SHARD_ROWS).tolist()
