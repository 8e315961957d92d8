"""Corrupted copies of a dataset's frames, laid out as the published sets are."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CleverError, FrameError
from ..files import atomic_write
from ..words import quantity
from .corrupted.clean_sweeps import sensor_of
from .corrupted.frames import CorruptedFrames
from .corrupted.writing import writable_format, write_frame
from .corruptions.registry import CORRUPTIONS, Dose, dose_of
from .datasets import LidarDataset, open_dataset
from .process.progress import Track
from .results.run_folder import notice
from .settings.corrupt import CorruptSettings
from .settings.shared.choices import SensorName
from .steps.labelled import BadFrame

if TYPE_CHECKING:
    from .corrupted.gallery import Gallery

RECORD_FILE = "corruption.json"
"""In the folder of a severity: what its frames were made with."""


@dataclass(frozen=True, slots=True)
class CorruptResult:
    """What was written.

    Attributes:
        out: folder of the set; None where only pictures were asked for.
        written, current: sweeps written, and those that were there already.
        doses: what was done, with every strength.
        notes: what the publication leaves open.
        gallery: pictures of a frame; None where none were asked for.
        bad: frames that could not be corrupted.
    """

    out: Path | None
    written: int
    current: int
    doses: list[Dose]
    notes: list[str]
    bad: list[BadFrame]
    gallery: "Gallery | None" = None

    def __str__(self) -> str:
        lines = [f"  {dose}" for dose in self.doses] + self.notes
        if self.out:
            words = f"{quantity(self.written, 'sweep')} written, {self.current} were there already"
            lines = [f"{self.out}: {words}", *lines]
        if self.gallery:
            lines += [str(self.gallery.figures), *self.gallery.notes()]
        return "\n".join(lines + [f"skipped frame {bad.id}: {bad.reason}" for bad in self.bad])


def corrupt_dataset(settings: CorruptSettings) -> CorruptResult:
    """Write every frame under every corruption and severity, draw one of them, or both.

    Raises:
        CleverError: neither is asked for, `out` is the dataset's own folder, a dataset whose frames
            are not released corrupted, a folder that holds frames of another seed or strength, or
            no frame that can be used.
    """
    if settings.out is None and settings.pictures is None:
        raise CleverError("give `out` for the set, `pictures` for a look at a frame, or both")
    dataset = open_dataset(settings, settings.dataset)
    root = settings.data_root
    if settings.out and root and settings.out.resolve() == root.resolve():
        raise CleverError(f"`out` is the dataset's own folder, {settings.out}; choose another one")
    sensor = sensor_of(dataset, settings.sensor)
    doses = [
        dose_of(name, severity, sensor, settings.levels)
        for name in settings.corruptions
        for severity in settings.severities
    ]
    notes = open_choices(settings.corruptions, sensor, settings.levels)
    result = CorruptResult(None, 0, 0, doses, notes, [])
    if settings.out:
        result = _write_set(settings, settings.out, dataset, sensor, result)
    if settings.pictures:
        if settings.frame >= len(dataset):
            raise CleverError(
                f"`frame={settings.frame}`: the dataset has {quantity(len(dataset), 'frame')}; "
                "choose a lower number"
            )
        from .corrupted.gallery import corruption_gallery

        gallery = corruption_gallery(
            dataset,
            settings.frame,
            sensor,
            settings.pictures,
            seed=settings.seed,
            corruptions=settings.corruptions,
            severities=settings.severities,
            levels=settings.levels,
        )
        result = replace(result, gallery=gallery)
    return result


def _write_set(
    settings: CorruptSettings,
    out: Path,
    dataset: LidarDataset,
    sensor: SensorName,
    result: CorruptResult,
) -> CorruptResult:
    """Write the frames; returns `result` with what became of them."""
    writable_format(dataset)
    indices = range(len(dataset))[: settings.limit]
    written = current = 0
    bad: dict[str, BadFrame] = {}
    for dose in result.doses:
        claim(out / dose.name / dose.severity, dose, settings.seed)
        frames = CorruptedFrames(dataset, dose, sensor, settings.seed)
        with Track(f"{dose.name} {dose.severity}", len(indices)) as track:
            for index in indices:
                try:
                    fresh = write_frame(frames, index, out)
                    written, current = written + fresh, current + (not fresh)
                except FrameError as error:
                    if error.frame not in bad:
                        notice(f"skipped {error}")
                    bad.setdefault(error.frame, BadFrame(id=error.frame, reason=error.reason))
                track.advance()
    if not written + current:
        first = next(iter(bad.values()))
        raise CleverError(
            f"none of {quantity(len(indices), 'frame')} could be corrupted; the first: frame "
            f"{first.id}: "
            f"{first.reason}"
        )
    return replace(result, out=out, written=written, current=current, bad=list(bad.values()))


def open_choices(
    names: Collection[str], sensor: SensorName, levels: Mapping[str, object]
) -> list[str]:
    """What the publication leaves open of some corruptions, and what is done instead; a line
    each.

    Args:
        levels: strengths that were given, by ``corruption.parameter``.
    """
    return [
        f"{name}: {choice.words}"
        for name, corruption in CORRUPTIONS.items()
        for choice in corruption.open.get(sensor, ())
        if name in names
        and not (
            choice.parameters
            and all(f"{name}.{parameter}" in levels for parameter in choice.parameters)
        )
    ]


def claim(folder: Path, dose: Dose, seed: int) -> None:
    """Note what the frames in `folder` are made with.

    Raises:
        CleverError: it holds frames of another seed or strength, or of unknown ones.
    """
    record = {"seed": seed, "strength": dict(dose.strength)}
    path = folder / RECORD_FILE
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != record:
            raise CleverError(
                f"{folder} holds frames of another seed or strength; choose another `out`"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise CleverError(f"{folder} holds frames of unknown origin; choose another `out`")
    else:
        atomic_write(path, json.dumps(record, indent=1) + "\n")
