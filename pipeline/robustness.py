"""How a segmenter does on corrupted sweeps: the paper's Tables 7 and A5."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError

from ..cache.store.files.lock import writer_lock
from ..errors import CleverError
from ..files import atomic_write
from ..student.segmenter import TrainedSegmenter, load_segmenter, segmenter_digest
from ..words import quantity
from .corrupt import open_choices
from .corrupted.clean_sweeps import sensor_of
from .corrupted.distributions import DistributionTable
from .corrupted.frames import CorruptedDataset, CorruptedFrames, ReleasedFrames, released_parts
from .corrupted.scores import OF_DATASET, Baseline, read_baseline
from .corrupted.table import CheckpointRow, Measurement, RobustnessResult, class_doubts
from .corruptions.registry import Dose, dose_of
from .datasets import LidarDataset, open_dataset
from .datasets.base import class_mean
from .evaluate import UnmeasuredError, measure_segmenter
from .process.device import choose_device
from .results.earlier_tables import keep_earlier
from .results.run_defaults import mean_of, run_dataset
from .results.run_folder import notice
from .settings.robustness import RobustnessSettings
from .settings.shared.choices import ClassMean, CorruptionName, SensorName, Severity
from .steps.labelled import labelled_indices

if TYPE_CHECKING:
    from .corrupted.gallery import Gallery

MEASURED = "measured"
"""Folder in `out`: a file for every measurement, named by what it depends on."""
CLEAN_LABELS = "labels of the clean frames"
"""In the protocol of what a set has no labels for."""
TABLE_FILE, RESULT_FILE = "table.md", "robustness.json"


@dataclass(frozen=True, slots=True)
class Part:
    """Frames under one corruption, or clean ones.

    Attributes:
        corruption, severity: None for clean frames.
        dose: None where a published set is read, and for clean frames.
    """

    corruption: CorruptionName | None = None
    severity: Severity | None = None
    dose: Dose | None = None

    def __str__(self) -> str:
        return f"{self.corruption} {self.severity}" if self.corruption else "clean"


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements of a table share.

    Attributes:
        dataset: the clean frames.
        indices: labelled ones, which are measured.
        split: their name in protocols.
        mean: over which classes the mean is taken.
        sensor: whose lasers and strengths; None where a published set is read.
    """

    settings: RobustnessSettings
    dataset: LidarDataset
    indices: Sequence[int]
    split: str
    mean: ClassMean
    sensor: SensorName | None
    device: torch.device
    out: Path

    def parts(self) -> Iterator[Part]:
        """Clean frames, then every corruption and severity."""
        yield Part()
        root = self.settings.corrupted_root
        present = released_parts(root) if root else None
        for name in self.settings.corruptions:
            for severity in self.settings.severities:
                if present is not None and (name, severity) not in present:
                    notice(f"{root} holds no {name}/{severity}; left out")
                elif self.sensor is None:
                    yield Part(name, severity)
                else:
                    dose = dose_of(name, severity, self.sensor, self.settings.levels)
                    yield Part(name, severity, dose)

    def notes(self, parts: Sequence[Part]) -> list[str]:
        """What the publication leaves open of derived frames; which parts a set does not hold."""
        settings = self.settings
        if self.sensor is not None:
            return open_choices(settings.corruptions, self.sensor, settings.levels)
        present = {(part.corruption, part.severity) for part in parts}
        absent = [
            f"{name}/{severity}"
            for name in settings.corruptions
            for severity in settings.severities
            if (name, severity) not in present
        ]
        return [f"{settings.corrupted_root} holds no {', '.join(absent)}"] if absent else []

    def frames(self, part: Part) -> LidarDataset:
        """The dataset that is measured on."""
        if part.corruption is None or part.severity is None:
            return self.dataset
        if part.dose is None or self.sensor is None:
            root = self.settings.corrupted_root
            assert root is not None
            return ReleasedFrames(self.dataset, root, part.corruption, part.severity)
        return CorruptedFrames(self.dataset, part.dose, self.sensor, self.settings.seed)

    def source(self) -> str:
        """Where corrupted frames come from."""
        if self.settings.corrupted_root:
            return f"corrupted frames read from {self.settings.corrupted_root}"
        return f"frames corrupted as they are read, as of {self.sensor}, seed {self.settings.seed}"

    def file(self, digest: str, part: Part) -> Path:
        """Where a measurement lies: named by all that it depends on."""
        root = self.settings.corrupted_root
        ids = [self.dataset.frame_ids[index] for index in self.indices]
        basis = {
            "digest": digest,
            "dataset": self.dataset.name,
            "frames": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
            "split": self.split,
            "mean": self.mean,
            "options": list(self.settings.dataset_option or ()),
            "part": str(part),
        }
        if part.dose:
            basis |= {
                "seed": self.settings.seed,
                "sensor": self.sensor,
                "strength": dict(part.dose.strength),
            }
        elif part.corruption and root:
            basis |= {"root": str(root.resolve())}
        name = hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:12]
        return self.out / MEASURED / f"{digest[:8]}-{str(part).replace(' ', '-')}-{name}.json"


def robustness(settings: RobustnessSettings) -> RobustnessResult:
    """Measure checkpoints on clean and corrupted frames and write the table to `out`.

    What was measured there before is not measured again: a measurement is known by the weights,
    the frames, the corruption with its strengths, the severity and the seed. An earlier table in
    the folder that holds more is moved aside.

    Raises:
        CleverError: no checkpoint, other classes than it was trained for, a dataset that no
            strengths are published for, a folder that lacks the corrupted frames, no frame that can
            be read.
    """
    runs = {name: load_segmenter(name) for name in settings.checkpoint}
    bench = _bench(settings, next(iter(runs.values())))
    baseline = _baseline(settings, bench.dataset)
    parts = list(bench.parts())
    if len(parts) == 1:
        raise CleverError(
            f"{settings.corrupted_root} holds none of the `corruptions` and `severities` asked "
            "for; choose others, or another `corrupted_root`"
        )
    for name, run in runs.items():
        _check_classes(name, run, bench.dataset)
    with writer_lock(bench.out, "out"):
        rows, unmeasured = _rows(bench, runs, parts)
        notes = bench.notes(parts) + _label_notes(rows)
        if bench.mean == "present":
            notes += class_doubts(rows)
        gallery = _draw(bench, settings.pictures) if settings.pictures else None
        if gallery:
            notes += gallery.notes()
        result = RobustnessResult(
            rows=rows,
            baseline=baseline,
            source=bench.source(),
            notes=notes,
            unmeasured=unmeasured,
            distributions=gallery.figures if gallery else _drawn_before(bench.out / RESULT_FILE),
        )
        if not _measured(bench.out / RESULT_FILE) <= _entries(rows):
            keep_earlier(bench.out, (RESULT_FILE, TABLE_FILE))
        atomic_write(bench.out / RESULT_FILE, result.model_dump_json(indent=1) + "\n")
        atomic_write(bench.out / TABLE_FILE, f"{result}\n")
    notice(f"written to {bench.out}")
    return result


def _rows(
    bench: Bench, runs: Mapping[str, TrainedSegmenter], parts: Sequence[Part]
) -> tuple[list[CheckpointRow], dict[str, str]]:
    """What was measured before, or is now, of every checkpoint; and why a corruption of a severity
    could not be measured, by its name. Raises CleverError where clean frames cannot be, or none
    can."""
    rows: list[CheckpointRow] = []
    unmeasured: dict[str, str] = {}
    for name, run in runs.items():
        if sweeps := run.training.input_sweeps:
            notice(
                f"{name} was trained with {quantity(sweeps, 'earlier sweep')} in every cloud; it "
                "is measured without, since none are corrupted"
            )
        digest = segmenter_digest(name)
        entries = []
        for part in parts:
            try:
                entries.append(_measurement(bench, name, run, digest, part))
            except UnmeasuredError as error:
                if part.corruption is None:
                    raise
                unmeasured[str(part)] = str(error)
                notice(f"{part} is not measured: {error}")
        rows.append(CheckpointRow(checkpoint=name, digest=digest, measurements=entries))
    if unmeasured and all(len(row.measurements) == 1 for row in rows):
        part, reason = next(iter(unmeasured.items()))
        raise CleverError(f"no corruption could be measured; the first, {part}: {reason}")
    return rows, unmeasured


def _label_notes(rows: Sequence[CheckpointRow]) -> list[str]:
    """A line on what was measured with the labels of clean frames."""
    names = [
        f"{entry.corruption}/{entry.severity}"
        for row in rows
        for entry in row.measurements
        if entry.protocol.endswith(CLEAN_LABELS)
    ]
    if not names:
        return []
    listed = ", ".join(dict.fromkeys(names))
    return [f"{listed}: {CLEAN_LABELS}, as the set has none; its points must be in their order"]


def _entries(rows: Sequence[CheckpointRow]) -> set[tuple[str, str]]:
    """What a table holds: weights, and what they were measured on."""
    return {(row.digest, entry.protocol) for row in rows for entry in row.measurements}


def _measured(path: Path) -> set[tuple[str, str]]:
    """What an earlier table holds; something of no name where it cannot be read."""
    if not path.exists():
        return set()
    try:
        table = RobustnessResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {("", "")}
    return _entries(table.rows)


def _drawn_before(path: Path) -> DistributionTable | None:
    """What an earlier command in the folder drew; None where there is nothing that can be read."""
    try:
        table = RobustnessResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return table.distributions


def _bench(settings: RobustnessSettings, first: TrainedSegmenter) -> Bench:
    """The frames that all checkpoints are measured on."""
    if settings.corrupted_root and settings.strength:
        raise CleverError("frames of a `corrupted_root` have their strengths; leave `strength` out")
    training = first.training
    name, version = run_dataset(settings.dataset, settings.version, training)
    dataset = open_dataset(settings.decided(version=version), name)
    split = "-".join(settings.sequences) if settings.sequences else settings.split
    return Bench(
        settings,
        dataset,
        labelled_indices(dataset, settings.split)[: settings.limit],
        "sequences" if settings.sequences else settings.split,
        settings.mean or mean_of(Path(settings.checkpoint[0])) or class_mean(dataset),
        None if settings.corrupted_root else sensor_of(dataset, settings.sensor),
        choose_device(settings.device),
        settings.out or Path(settings.checkpoint[0]) / f"robustness-{dataset.name}-{split}",
    )


def _baseline(settings: RobustnessSettings, dataset: LidarDataset) -> Baseline | None:
    name = settings.baseline or OF_DATASET.get(dataset.name)
    return read_baseline(name) if name else None


def _check_classes(name: str, run: TrainedSegmenter, dataset: LidarDataset) -> None:
    if tuple(dataset.class_names) != run.training.class_names:
        raise CleverError(
            f"{name} was trained for the classes of {run.training.dataset}, not of {dataset.name}; "
            "leave it out, or give the `dataset_option` of its run"
        )


def _measurement(
    bench: Bench, name: str, run: TrainedSegmenter, digest: str, part: Part
) -> Measurement:
    """What was measured before, or now."""
    path = bench.file(digest, part)
    if path.exists():
        try:
            earlier = Measurement.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            notice(f"{path} cannot be read; measured again")
        else:
            if not earlier.bad:
                return earlier
            notice(f"{part}: {quantity(len(earlier.bad), 'frame')} skipped before; measured again")
    notice(f"{Path(name).name}: {part}")
    frames = bench.frames(part)
    result = measure_segmenter(
        run.segmenter,
        run.training,
        frames,
        bench.indices,
        bench.split,
        bench.device,
        bench.mean,
    )
    corrupted = isinstance(frames, CorruptedDataset)
    measurement = Measurement(
        corruption=part.corruption,
        severity=part.severity,
        strength=dict(part.dose.strength) if part.dose else {},
        miou=100 * result.miou,
        iou={label: None if value is None else 100 * value for label, value in result.iou.items()},
        points=result.points,
        frames=result.frames,
        left_out=sum(frames.left_out.values()) if corrupted else 0,
        protocol=f"{result.protocol}, {_words(bench, part, frames)}",
        bad=result.bad,
    )
    atomic_write(path, measurement.model_dump_json(indent=1) + "\n")
    return measurement


def _draw(bench: Bench, folder: Path) -> "Gallery":
    """Draw the first frame, and count what was done to it."""
    from .corrupted.gallery import corruption_gallery

    settings = bench.settings
    return corruption_gallery(
        bench.dataset,
        bench.indices[0],
        bench.sensor or sensor_of(bench.dataset, settings.sensor),
        folder,
        seed=settings.seed,
        corruptions=settings.corruptions,
        severities=settings.severities,
        levels=settings.levels,
    )


def _words(bench: Bench, part: Part, frames: LidarDataset) -> str:
    if part.dose:
        return f"{part.dose}, seed {bench.settings.seed}"
    if not part.corruption:
        return "clean frames"
    clean = isinstance(frames, ReleasedFrames) and frames.clean_labels
    return f"{part} of {bench.settings.corrupted_root}{f', {CLEAN_LABELS}' if clean else ''}"
