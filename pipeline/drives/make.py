"""`make-drives`: generate street drives in the nuScenes schema."""

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import CleverError
from ...files import atomic_write, fsync_folder
from ...words import percent, quantity
from ..process.progress import Track
from ..settings.make_drives import MakeDrivesSettings
from .record import RECIPE_FILE, VERSION, Recipe, Recording, recipe_text, record_keyframe
from .tables import CATEGORIES, sweep_token, write_tables


@dataclass(frozen=True)
class DrivesSummary:
    """What was written.

    Attributes:
        root: the data set's folder.
        train, val: scene names of the splits.
        keyframes, points, boxes: totals.
        sweeps: between keyframes, total; `points` are those of keyframes.
        classes: points by name of the raw category, the frequent first.
    """

    root: Path
    train: tuple[str, ...]
    val: tuple[str, ...]
    keyframes: int
    points: int
    boxes: int
    sweeps: int
    classes: dict[str, int]

    def __str__(self) -> str:
        shares = ", ".join(
            f"{name} {percent(count / self.points)}" for name, count in self.classes.items()
        )
        between = f", {quantity(self.sweeps, 'sweep')} between" if self.sweeps else ""
        return (
            f"{self.root}: {quantity(len(self.train) + len(self.val), 'scene')} "
            f"({len(self.train)} train, "
            f"{len(self.val)} val), "
            f"{quantity(self.keyframes, 'keyframe')}, "
            f"{quantity(6 * self.keyframes, 'image')}, {quantity(self.points, 'point')}, "
            f"{quantity(self.boxes, 'box', 'boxes')}{between}\n"
            f"points: {shares}"
        )


def make_drives(settings: MakeDrivesSettings) -> DrivesSummary:
    """Generate the scenes of `settings` into ``settings.out``; nothing stands there before all of
    it is complete.

    With more than one worker, call it under ``if __name__ == "__main__":``, since workers import
    the main module.

    Raises:
        CleverError: the folder holds something or cannot be written.
    """
    out = settings.out
    _refuse_occupied(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    except OSError as error:
        raise CleverError(f"cannot write {out}: {error.strerror}; choose another `out`") from error
    try:
        part.chmod(0o755)
        recordings = sorted(_record(settings, part), key=lambda item: (item.scene, item.keyframe))
        recipe = recipe_of(settings)
        train, val = split_scenes(settings.scenes)
        _write_map(part)
        write_tables(recipe, recordings, part, train, val)
        atomic_write(part / VERSION / RECIPE_FILE, recipe_text(recipe, settings.scenes))
        part.replace(out)
        fsync_folder(out.parent)
    except OSError as error:
        raise CleverError(
            f"cannot write {out}: {error.strerror}; choose another `out` or free the disk"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return _summary(out, train, val, recordings, recipe.sweeps * len(recordings))


def recipe_of(settings: MakeDrivesSettings) -> Recipe:
    """What decides the contents of the drives."""
    return Recipe(
        settings.seed,
        settings.keyframes,
        settings.image_width,
        settings.azimuths,
        settings.range_noise,
        settings.sweeps,
    )


def _refuse_occupied(out: Path) -> None:
    try:
        occupied = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise CleverError(
            f"cannot look into {out}: {error.strerror}; choose another `out`"
        ) from error
    if occupied:
        raise CleverError(
            f"{out} exists and is not an empty folder; choose another `out` or remove it"
        )


def _record(settings: MakeDrivesSettings, root: Path) -> Iterator[Recording]:
    """Record all keyframes, in this process or in several, in any order."""
    recipe = recipe_of(settings)
    tasks = [
        (recipe, scene, keyframe, root, sweep_token(recipe, scene, keyframe))
        for scene in range(1, settings.scenes + 1)
        for keyframe in range(settings.keyframes)
    ]
    workers = min(settings.workers or _cores(), len(tasks))
    with Track("make-drives", len(tasks), "keyframes") as track:
        if workers == 1:
            for task in tasks:
                yield record_keyframe(*task)
                track.advance()
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            workers, context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
        )
        try:
            futures: list[Future[Recording]] = [
                pool.submit(record_keyframe, *task) for task in tasks
            ]
            for future in as_completed(futures):
                yield future.result()
                track.advance()
        except BrokenProcessPool as error:
            raise CleverError("a worker of make-drives died; try again with `workers=1`") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split_scenes(scenes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the training and of the held-out scenes, the last ones."""
    names = tuple(f"scene-{number:04}" for number in range(1, scenes + 1))
    val_count = max(1, round(scenes / 4)) if scenes > 1 else 0
    return names[: scenes - val_count], names[scenes - val_count :]


def _write_map(root: Path) -> None:
    """A blank map mask: the devkit wants one to be there."""
    buffer = BytesIO()
    Image.new("L", (16, 16)).save(buffer, "PNG")
    atomic_write(root / "maps" / "blank.png", buffer.getvalue())


def _summary(
    out: Path,
    train: tuple[str, ...],
    val: tuple[str, ...],
    recordings: list[Recording],
    sweeps: int,
) -> DrivesSummary:
    counts = np.sum([recording.counts for recording in recordings], axis=0)
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda index: -counts[index])
    classes = {CATEGORIES[index]: int(counts[index]) for index in order}
    boxes = sum(len(recording.boxes) for recording in recordings)
    return DrivesSummary(
        out, train, val, len(recordings), int(counts.sum()), boxes, sweeps, classes
    )
