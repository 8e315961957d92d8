"""Train detectors of boxes from several starts, on fractions of the frames, with several draws and
seeds, and measure them: the paper's Table A3."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import CleverError
from ..files import atomic_write
from ..student.checkpoint import weights_digest
from ..student.student import Student
from .detection_runs.data import DetectionData
from .detection_runs.run import PLACES, train_detector
from .detection_runs.table import DetectionTable, PlannedRun
from .results.run_folder import UNRECORDED, newest_run, notice, warn_unfinished
from .results.run_names import changed_values, digest, folder_name
from .settings.detect import DetectorRunSettings, DetectSettings
from .training.starting_student import starting_student

RUNS = "runs"
"""Folder of the runs in the table's."""
TABLE_FILE, RESULT_FILE = "table.md", "detection.json"
RANDOM = "random weights"


def detect(settings: DetectSettings) -> DetectionTable:
    """Do every run that is not finished yet and write the table after each.

    A run that fails is noted with its reason and costs no other; the same command tries it again.

    Raises:
        CleverError: no checkpoint, no dataset with boxes, or all runs failed.
        KeyboardInterrupt: the user stopped it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise CleverError(
            "the runs of a table are trained in one process each; share `seeds` or `draws` among "
            "machines instead of `torchrun`"
        )
    runs = list(_runs(settings))
    data = DetectionData.open(settings)
    out = settings.out or Path("detections") / f"{settings.detector}-{settings.dataset}"
    _announce(settings, data, runs, out)
    done: list[PlannedRun] = []
    for number, (name, run) in enumerate(runs, 1):
        planned = _planned(name, run, data)
        folder = out / planned.folder
        notice(f"run {number} of {len(runs)}: {planned}")
        try:
            result = train_detector(run.decided(out=folder), data)
            done.append(planned.model_copy(update={"result": result}))
        except CleverError as error:
            notice(f"failed: {error}")
            done.append(planned.model_copy(update={"failure": str(error)}))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped; {sum(bool(one.result) for one in done)} of {len(runs)} runs are "
                f"finished and stay in {out}: the same command goes on"
            ) from None
        _write(settings, done, out)
    if not any(run.result for run in done):
        raise CleverError(f"all {len(done)} runs failed; the first: {done[0].failure}")
    return _write(settings, done, out)


def _runs(settings: DetectSettings) -> Iterator[tuple[str, DetectorRunSettings]]:
    """Settings of every run with the name of its start: all starts of a draw and seed one after
    another, so that a table that is stopped early compares them."""
    names = settings.checkpoint or (str(newest_run("pretrain")),)
    students = {name: _student(name) for name in names if name != "none"}
    labels = _labels(names)
    first = next(iter(students.values()), None)
    own = settings.run_settings
    if first and settings.student is None:
        own |= {"student": first.name, "ptv3_form": settings.ptv3_form or first.ptv3_form}
    if first and settings.voxel_size is None:
        own |= {"voxel_size": first.voxel_size}
    for fraction in settings.fraction:
        for draw in settings.draws if fraction < 1 else settings.draws[:1]:
            for seed in settings.seeds:
                for name in names:
                    values = {"fraction": fraction, "draw": draw, "seed": seed}
                    start = "none" if name == "none" else Path(name)
                    run = DetectorRunSettings(**own, **values, checkpoint=start)
                    yield labels[name], run


def _student(name: str) -> Student:
    folder = Path(name)
    student = starting_student(folder, None, None, 0).student
    warn_unfinished(folder)
    return student


def _labels(names: Sequence[str]) -> dict[str, str]:
    """What the table calls each start: the name of its folder, whole where two share it."""
    short = {name: RANDOM if name == "none" else Path(name).name for name in names}
    counts = Counter(short.values())
    return {name: label if counts[label] == 1 else name for name, label in short.items()}


def _announce(
    settings: DetectSettings,
    data: DetectionData,
    runs: Sequence[tuple[str, DetectorRunSettings]],
    out: Path,
) -> None:
    """Say at once how much work it is."""
    starts = len({name for name, _ in runs})
    frames = sum(len(data.sample(run).indices) * run.epochs for _, run in runs)
    shares = ", ".join(f"{100 * fraction:g} %" for fraction in settings.fraction)
    notice(
        f"{out}: {len(runs)} runs: {starts} start{'s' * (starts > 1)} x {shares} of "
        f"{len(data.train)} frames x seeds {', '.join(map(str, settings.seeds))}"
        f"{_draw_words(settings)}; {frames} frames to train on in all, and "
        f"{len(runs) * len(data.held_out)} to measure on"
    )


def _draw_words(settings: DetectSettings) -> str:
    if min(settings.fraction) == 1:
        return ""
    draws = ", ".join(map(str, settings.draws))
    return f" x draws {draws}" + (" (the whole has one)" if 1 in settings.fraction else "")


def _planned(name: str, run: DetectorRunSettings, data: DetectionData) -> PlannedRun:
    """A run and the folder that it is known by: by its settings, its weights and its frames."""
    values = changed_values(run, UNRECORDED | PLACES)
    weights = "" if run.checkpoint == "none" else weights_digest(run.checkpoint)
    frames = [list(data.train.frame_ids), [data.val.frame_ids[index] for index in data.held_out]]
    words = f"{name}-{100 * run.fraction:g}-draw{run.draw}-seed{run.seed}"
    folder = f"{RUNS}/{folder_name(words)}-{digest(values, weights, frames)}"
    return PlannedRun(
        start=name, fraction=run.fraction, draw=run.draw, seed=run.seed, folder=folder
    )


def _write(settings: DetectSettings, runs: Sequence[PlannedRun], out: Path) -> DetectionTable:
    """Write the table as it is."""
    table = DetectionTable(dataset=settings.dataset, detector=settings.detector, runs=list(runs))
    atomic_write(out / RESULT_FILE, table.model_dump_json(indent=1) + "\n")
    atomic_write(out / TABLE_FILE, f"{table}\n")
    return table
