"""One cell of a table: pre-training, RankMe, then every downstream measurement."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.data import Subset

from ...errors import CleverError
from ...files import atomic_write
from ...words import quantity
from ..pretrain import pretrain
from ..pretraining.result import PretrainResult
from ..pretraining.stores import open_teachers
from ..process.device import choose_device
from ..rankme import Ranks, student_ranks
from ..results.ablation_table import RANKME, CellRecord
from ..results.protocols import Facts
from ..results.run_folder import RESULT_FILE, RunResult, finished_result, notice, now, versions
from ..settings.pretrain import PretrainSettings
from ..steps.cached_part import cached_part
from ..training.starting_student import starting_student
from .cells import PRETRAINING, Cell
from .measure import Subject
from .measurements import Measurement

PRETRAINING_FACTS = "pre-training"
"""Key of the protocol of pre-training in `CellRecord.facts`."""
TRACE = "failure.txt"
"""Where a failed cell's traceback goes, in its folder."""


class RanksResult(RunResult):
    """RankMe of random weights."""

    ranks: Ranks


@dataclass(slots=True)
class Progress:
    """What a cell has measured so far."""

    figures: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    frames_seen: int = 0

    def record(self, cell: Cell, failure: str = "") -> CellRecord:
        """As the table keeps it."""
        return CellRecord(
            row=cell.row.key,
            seed=cell.seed,
            folder=cell.folder,
            figures=self.figures,
            facts=self.facts,
            runs=self.runs,
            seconds=self.seconds,
            frames_seen=self.frames_seen,
            failure=failure,
        )


def run_cell(cell: Cell, threads: int) -> CellRecord:
    """Do what a cell lacks, with `threads` threads on a CPU; what fails is said in the record, and
    a measurement that fails costs no other.

    Stages that are finished in the cell's folder are read, one that was stopped goes on.

    Raises:
        KeyboardInterrupt: the user stopped it.
    """
    progress = Progress()
    failures: list[tuple[str, Exception]] = []
    with torch_threads(threads):
        try:
            checkpoint = _start(cell, progress, threads)
        except Exception as error:
            failures.append((PRETRAINING_FACTS, error))
        else:
            for measurement in cell.measurements:
                try:
                    _measure(cell, measurement, checkpoint, progress)
                except Exception as error:
                    failures.append((measurement.name, error))
    return progress.record(cell, _note_failures(cell, failures))


def _note_failures(cell: Cell, failures: Sequence[tuple[str, Exception]]) -> str:
    """Say which stages failed, keep their tracebacks; returns the reasons in one line."""
    trace = cell.out / cell.folder / TRACE
    if not failures:
        trace.unlink(missing_ok=True)
        return ""
    words = "; ".join(f"{stage}: {one_line(error)}" for stage, error in failures)
    notice(f"{cell.name} failed: {words}")
    texts = ["".join(traceback.format_exception(error)) for _, error in failures]
    atomic_write(trace, "\n".join(texts))
    return words


def finished(cell: Cell) -> bool:
    """Whether every stage of a cell has its result."""
    folder = cell.out / cell.folder
    return all((folder / stage / RESULT_FILE).exists() for stage in cell.stages)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Torch computes with so many threads inside, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_line(error: Exception) -> str:
    """What went wrong, in a line; a fault that is no user's with its kind."""
    words = " ".join(str(error).split())
    return words if isinstance(error, CleverError) else f"{type(error).__name__}: {words}"


def _start(cell: Cell, progress: Progress, threads: int) -> Path | None:
    """Pre-train, or measure RankMe of random weights; returns the run's folder, None for random
    weights."""
    if cell.row.untrained:
        if cell.row.rank_key:
            _random_ranks(cell, progress)
        return None
    folder = cell.out / cell.folder / PRETRAINING
    settings = cell.row.settings.decided(seed=cell.seed, out=folder)
    result = finished_result(folder, PretrainResult) or pretrain(settings)
    progress.runs[PRETRAINING_FACTS] = f"{cell.folder}/{PRETRAINING}"
    progress.seconds[PRETRAINING_FACTS] = result.seconds
    progress.frames_seen = result.steps * settings.batch_size
    progress.facts[PRETRAINING_FACTS] = _pretraining_facts(settings, result, threads)
    if "distillation" in result.losses.last:
        progress.figures["distillation"] = result.losses.last["distillation"]
    if result.ranks:
        _note_ranks(result.ranks, progress)
    return folder


def _note_ranks(ranks: Ranks, progress: Progress) -> None:
    progress.figures |= {
        RANKME: ranks.uncentred.rankme,
        "rankme_centred": ranks.centred.rankme,
        "matrix_rank": float(ranks.uncentred.matrix_rank),
    }


def _pretraining_facts(settings: PretrainSettings, result: PretrainResult, threads: int) -> Facts:
    facts = {
        "student": f"{result.student} at {settings.voxel_size:g} m",
        "dataset": result.dataset,
        "frames": f"{result.part}, {result.frames} used",
        "teacher": " and ".join(result.teachers),
        "layer": " and ".join(result.teacher_ids),
        "regions": result.regions,
        "passes": quantity(result.epochs, "epoch"),
        "steps": f"{quantity(result.steps, 'step')} of {settings.batch_size}",
        "recipe": f"recipe {result.recipe}",
        "points": f"points {result.points}",
        "precision": result.precision,
        "device": result.device if result.device != "cpu" else _threads_words(threads),
        "loss": f"loss is the mean over the last {quantity(result.losses.window, 'step')}",
    }
    facts = {name: words for name, words in facts.items() if words}
    if result.ranks:
        facts["ranks"] = (
            f"ranks of backbone features of {quantity(result.ranks.rows, 'point')} of "
            f"{result.ranks.frames} "
            "training frames"
        )
    return facts


def _threads_words(threads: int) -> str:
    return f"cpu with {threads} thread{'s' * (threads > 1)}"


def _random_ranks(cell: Cell, progress: Progress) -> None:
    """RankMe of a student before any training, on the frames that pre-training would measure."""
    folder = cell.out / cell.folder / cell.stages[0]
    result = finished_result(folder, RanksResult)
    if result is None:
        settings = cell.row.settings
        student = starting_student(
            "none", settings.student, settings.voxel_size, cell.seed, settings.ptv3_form
        ).student
        store = open_teachers(settings)[0]
        part = cached_part(store, settings.split, settings.scenes or (), settings.sequences or ())
        sample = Subset(store, [store.position(name) for name in part.ids[: settings.limit]])
        device = choose_device(settings.device)
        ranks = student_ranks(student.to(device), sample, device, seed=cell.seed)
        result = RanksResult(
            job="rankme",
            finished=now(),
            seed=cell.seed,
            seconds=0,
            versions=versions(),
            ranks=ranks,
        )
        atomic_write(folder / RESULT_FILE, result.model_dump_json(indent=2) + "\n")
    _note_ranks(result.ranks, progress)


def _measure(
    cell: Cell, measurement: Measurement, checkpoint: Path | None, progress: Progress
) -> None:
    """One downstream measurement of the pre-trained student, or of random weights."""
    folder = cell.out / cell.folder
    segmenter = folder / measurement.of.key if measurement.of else None
    subject = Subject(checkpoint, cell.row.settings, cell.seed, segmenter)
    key = measurement.key
    outcome = measurement.measure.run(measurement.settings, subject, folder / key)
    progress.runs[key] = f"{cell.folder}/{key}"
    progress.seconds[key] = outcome.seconds
    progress.facts[key] = outcome.facts
    if measurement.of:
        progress.facts[key] = {"student": f"of {measurement.of.name}", **outcome.facts}
    for name, column in measurement.columns.items():
        if name in outcome.figures:
            progress.figures[column.key] = outcome.figures[name]
