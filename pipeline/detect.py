"""Train detectors of boxes from several starts, on fractions of the frames, with several draws and
seeds, and measure them: the paper's Table A3."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..cache.store.files.lock import writer_lock
from ..errors import CleverError
from ..files import atomic_write
from ..student.checkpoint import weights_digest
from ..words import quantity
from .detection_runs.benchmarks import BENCHMARKS
from .detection_runs.data import DetectionData
from .detection_runs.run import PLACES, train_detector
from .detection_runs.table import DetectionTable, PlannedRun
from .process.team import started_processes
from .results.earlier_tables import keep_earlier
from .results.run_folder import UNRECORDED, newest_run, notice, warn_unfinished
from .results.run_names import changed_values, digest, folder_name
from .settings.detect import DetectorRunSettings, DetectSettings
from .training.starting_student import StartingStudent, starting_student

RUNS = "runs"
"""Folder of the runs in the table's."""
TABLE_FILE, RESULT_FILE = "table.md", "detection.json"
RANDOM = "random weights"


def detect(settings: DetectSettings) -> DetectionTable:
    """Do every run that is not finished yet and write the table after each.

    A run that fails is noted with its reason and costs no other; the same command tries it again.
    An earlier table in the folder that holds other runs is moved aside.

    Raises:
        CleverError: no checkpoint, no dataset with boxes, another process that writes to the
            folder, or all runs failed.
        KeyboardInterrupt: the user stopped it.
    """
    if started_processes() > 1:
        raise CleverError(
            "the runs of a table are trained in one process each; share `seeds` or `draws` among "
            "machines instead of `torchrun`"
        )
    starts = _starts(settings)
    dataset = settings.dataset or _dataset(starts)
    runs = list(_runs(settings, starts, dataset))
    data = DetectionData.open(settings, dataset)
    out = settings.out or Path("detections") / f"{settings.detector}-{dataset}"
    with writer_lock(out, "out"):
        return _run_all(settings, runs, data, out, dataset)


def _run_all(
    settings: DetectSettings,
    runs: Sequence[tuple[str, DetectorRunSettings]],
    data: DetectionData,
    out: Path,
    dataset: str,
) -> DetectionTable:
    """The table of all runs, written after each."""
    table = DetectionTable(dataset=dataset, detector=settings.detector, runs=[])
    _announce(settings, data, runs, out)
    plan = [(_planned(name, run, data), run) for name, run in runs]
    if not _runs_of(out / RESULT_FILE) <= {planned.folder for planned, _ in plan}:
        keep_earlier(out, (RESULT_FILE, TABLE_FILE))
    for number, (planned, run) in enumerate(plan, 1):
        folder = out / planned.folder
        notice(f"run {number} of {len(runs)}: {planned}")
        try:
            result = train_detector(run.decided(out=folder), data)
            planned = planned.model_copy(update={"result": result})
        except CleverError as error:
            notice(f"failed: {error}")
            planned = planned.model_copy(update={"failure": str(error)})
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped; {sum(bool(one.result) for one in table.runs)} of {len(runs)} runs are "
                f"finished and stay in {out}: the same command goes on"
            ) from None
        table = table.model_copy(update={"runs": [*table.runs, planned]})
        _write(table, out)
    if not any(run.result for run in table.runs):
        first = table.runs[0].failure
        raise CleverError(f"{quantity(len(runs), 'run')}, all failed; the first: {first}")
    return table


def _starts(settings: DetectSettings) -> dict[str, StartingStudent | None]:
    """Where runs start from, by the names that the user gave; None for random weights."""
    names = settings.checkpoint or (str(newest_run("pretrain")),)
    starts: dict[str, StartingStudent | None] = {}
    for name in names:
        starts[name] = None if name == "none" else starting_student(Path(name), None, None, 0)
        if name != "none":
            warn_unfinished(Path(name))
    return starts


def _dataset(starts: Mapping[str, StartingStudent | None]) -> str:
    """The dataset that the starts were pre-trained on; a line says so.

    Raises:
        CleverError: none of them says one, they say several, or it has no benchmark.
    """
    datasets = dict.fromkeys(start.dataset for start in starts.values() if start and start.dataset)
    if not datasets:
        choices = " or ".join(BENCHMARKS)
        raise CleverError(f"no checkpoint says what to train on; give `dataset`: {choices}")
    name, *others = datasets
    if others or name not in BENCHMARKS:
        raise CleverError(
            f"pre-trained on {', '.join(datasets)}; detectors are trained on "
            f"{' and '.join(BENCHMARKS)}: choose one as `dataset`"
        )
    notice(f"`dataset={name}`, that of the pre-training")
    return name


def _runs(
    settings: DetectSettings, starts: Mapping[str, StartingStudent | None], dataset: str
) -> Iterator[tuple[str, DetectorRunSettings]]:
    """Settings of every run with the name of its start: all starts of a draw and seed one after
    another, so that a table that is stopped early compares them."""
    labels = _labels(list(starts))
    first = next((start.student for start in starts.values() if start), None)
    own = settings.run_settings | {"dataset": dataset}
    if first and settings.student is None:
        own |= {"student": first.name, "ptv3_form": settings.ptv3_form or first.ptv3_form}
    if first and settings.voxel_size is None:
        own |= {"voxel_size": first.voxel_size}
    for fraction in settings.fraction:
        for draw in settings.draws if fraction < 1 else settings.draws[:1]:
            for seed in settings.seeds:
                for name in starts:
                    values = {"fraction": fraction, "draw": draw, "seed": seed}
                    start = "none" if name == "none" else Path(name)
                    run = DetectorRunSettings(**own, **values, checkpoint=start)
                    yield labels[name], run


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
        f"{out}: {quantity(len(runs), 'run')}: {quantity(starts, 'start')} x {shares} of "
        f"{quantity(len(data.train), 'frame')} x seeds {', '.join(map(str, settings.seeds))}"
        f"{_draw_words(settings)}; {quantity(frames, 'frame')} to train on in all, and "
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


def _runs_of(path: Path) -> set[str]:
    """Folders of the runs of an earlier table; one of no name where it cannot be read."""
    if not path.exists():
        return set()
    try:
        table = DetectionTable.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {""}
    return {run.folder for run in table.runs}


def _write(table: DetectionTable, out: Path) -> None:
    """Write the table as it is."""
    atomic_write(out / RESULT_FILE, table.model_dump_json(indent=1) + "\n")
    atomic_write(out / TABLE_FILE, f"{table}\n")
