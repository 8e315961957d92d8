"""What is left of a layer on disk, read so that no damage stops the reading."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ...errors import CleverError
from ..store import layout
from ..store.contents import read_attributes
from ..store.files.remote import AnyPath
from ..store.files.zarr_files import read_array
from ..store.layers import Layer, layer_of, place
from ..store.records.commits import committed_shards, read_commit
from ..store.records.models import (
    CalibrationRecord,
    Commit,
    Content,
    PointContent,
    PointSettings,
    RegionContent,
    RegionInfo,
    Stamp,
    SweepContent,
    SweepInfo,
    TeacherContent,
    TeacherInfo,
    from_json,
)
from ..store.records.seals import SchemaError, check_schema, read_seal
from .problems import Problem


@dataclass(slots=True)
class LayerState:
    """A layer's seal and commit records.

    Attributes:
        name: id of the layer.
        content: content of its seal; read back from the views where the seal is damaged.
        seal_shards: the committed shards when the views were written.
        files: size and crc32c of every view; None where the seal is damaged.
        commits: the readable commit records, by shard.
        record_faults: shards whose record is damaged or missing, and how.
    """

    name: str
    content: Content
    seal_shards: list[int]
    files: dict[str, Stamp] | None
    commits: dict[int, Commit] = field(default_factory=dict)
    record_faults: dict[int, str] = field(default_factory=dict)

    def layer(self, cameras: int) -> Layer:
        """The layer, in a store of so many cameras."""
        return layer_of(self.content, cameras)


def read_layer(path: AnyPath, name: str) -> tuple[LayerState | None, list[Problem]]:
    """Read a layer; None where neither its seal nor its views say what it is, or it cannot be."""
    seal_file = place(name).seal
    problems = []
    try:
        seal = read_seal(path, name)
        state = LayerState(name, seal.content, list(seal.shards), seal.files)
    except SchemaError:
        raise
    except CleverError:
        damage = "damaged" if (path / seal_file).is_file() else "missing"
        problems.append(Problem(seal_file, f"seal is {damage}", "rewrite", name))
        try:
            state = LayerState(name, *content_of_views(path, name), None)
        except SchemaError:
            raise
        except (CleverError, OSError, ValueError, KeyError, TypeError) as error:
            remedy = f"nothing else says what the layer is ({error}); restore either from a copy"
            return None, [Problem(seal_file, f"seal is {damage}, and {remedy}", "none", name)]
    for shard in sorted({*committed_shards(path, name), *state.seal_shards}):
        try:
            commit = read_commit(path, name, shard)
        except (CleverError, OSError):
            state.record_faults[shard] = (
                "damaged" if (path / place(name).commit(shard)).is_file() else "missing"
            )
            continue
        if (commit.layer, commit.shard) == (name, shard):
            state.commits[shard] = commit
        else:
            state.record_faults[shard] = f"that of shard {commit.shard} of {commit.layer}"
    content = state.content
    is_points = isinstance(content, PointContent)
    if fault := _content_fault(state, content):
        problems.append(Problem(seal_file, fault, "none", name))
    return (state if is_points or not fault else None), problems


def _content_fault(state: LayerState, content: Content) -> str:
    """What is wrong with what a seal says; empty when nothing is."""
    if isinstance(content, PointContent):
        return _rows_fault(content)
    if isinstance(content, TeacherContent):
        return _teacher_fault(state, content)
    if isinstance(content, SweepContent):
        own = SweepInfo.of(content.info.count, content.info.pairs)
        fits = content.info == own and own.id == state.name
        return "" if fits else f"the layer is {own.id}; give its folder this name again"
    info = content.info
    if info.id != state.name or info.id != info.settings.layer:
        return f"the layer is {info.settings.layer}; give its folder this name again"
    return ""


def _rows_fault(content: PointContent) -> str:
    ids, scenes = content.ids, content.scenes
    frames = [frame for frame in ids if frame]
    if duplicates := sorted(frame for frame, count in Counter(frames).items() if count > 1):
        return f"frame ids come twice: {', '.join(duplicates)}"
    if [bool(frame) for frame in ids] != [bool(scene) for scene in scenes]:
        return "rows have a frame id and no scene, or the other way round"
    return ""


def _teacher_fault(state: LayerState, content: TeacherContent) -> str:
    info, calibration = content.info, content.calibration
    storage = (info.fingerprint.codec, info.fingerprint.tokens)
    if (info.codec, info.tokens) != storage:
        return f"codec {info.codec} and tokens {info.tokens} differ from the fingerprint"
    if info.id != state.name or info.id != f"{info.alias}-{info.fingerprint.sha256[:4]}":
        return f"the layer is {info.id}; give its folder this name again"
    if (calibration is None) != (info.codec == "fp16") and (calibration or state.commits):
        return (
            f"a layer of codec {info.codec} {'has a' if calibration else 'lacks its'} calibration"
        )
    if calibration:
        centre, step = np.array(calibration.centre), np.array(calibration.step)
        if (
            not len(centre) == len(step) == info.channels
            or not np.isfinite(centre).all()
            or not np.isfinite(step).all()
        ):
            return "the calibration is not finite, one centre and step a channel"
        if not (step > 0).all():
            return "the calibration has steps that are not positive"
    return ""


def content_of_views(path: AnyPath, layer: str) -> tuple[Content, list[int]]:
    """The content of a layer's seal and its committed shards, read back from its views.

    Raises:
        CleverError, ValueError, KeyError: a view is missing or damaged.
    """
    home = place(layer)
    if home.is_points:
        attributes = read_attributes(path)
        check_schema(attributes.get("format"), attributes.get("schema"), str(path))
        base = from_json(PointSettings, attributes["base"])
        if not (path / home.group / "id").exists():
            return PointContent.of(base, (), ()), []
        ids, scenes = (
            tuple(layout.row_texts(read_array(path / home.group / name)))
            for name in ("id", "scene")
        )
        return PointContent.of(base, ids, scenes), _tabled_shards(path / home.status)
    folder = path / home.group
    attributes = read_attributes(folder)
    if home.is_regions:
        region_fields = {name: attributes[name] for name in RegionInfo.__dataclass_fields__}
        regions = RegionContent(from_json(RegionInfo, region_fields))
        return regions, _tabled_shards(path / home.status)
    if home.is_sweeps:
        sweep_fields = {name: attributes[name] for name in SweepInfo.__dataclass_fields__}
        sweeps = SweepContent(from_json(SweepInfo, sweep_fields))
        return sweeps, _tabled_shards(path / home.status)
    calibration = None
    if (folder / "centre").exists():
        centre, step = (tuple(read_array(folder / name).tolist()) for name in ("centre", "step"))
        calibration = CalibrationRecord(centre, step, tuple(attributes["calibration_missing"]))
    fields = TeacherInfo.__dataclass_fields__
    info = from_json(TeacherInfo, {name: attributes[name] for name in fields if name in attributes})
    return TeacherContent(info, calibration), _tabled_shards(path / home.status)


def _tabled_shards(status: AnyPath) -> list[int]:
    """Shards that a status array says are committed."""
    rows = np.flatnonzero(read_array(status) != layout.PENDING)
    return np.unique(rows // layout.SHARD_ROWS).tolist()
