"""Cells measured by `clever robustness`: what a fine-tuned student does on corrupted sweeps."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ...errors import CleverError
from ...words import quantity
from ..corrupted.clean_sweeps import sensor_of
from ..corrupted.scores import OF_DATASET, Scores, read_baseline
from ..corrupted.table import CheckpointRow, RobustnessResult
from ..datasets import open_dataset
from ..results.protocols import Facts
from ..results.run_folder import RESULT_FILE, UNRECORDED, finished_result
from ..results.run_names import changed_values, digest
from ..robustness import robustness
from ..settings.robustness import RobustnessSettings
from ..settings.shared.choices import CorruptionName, Severity
from ..settings.shared.dataset import HeldOutPart
from ..settings.shared.grid import Values
from .identities import Memo, labelled_digest
from .measure import Figure, Measure, Outcome, Subject
from .recorded_outcome import RecordedOutcome, record_outcome
from .shared_strengths import with_own_strengths

EVERY: tuple[CorruptionName, ...] = get_args(CorruptionName)
MCE, MRR, CLEAN = "mCE", "mRR", "clean"
CE, RR = "CE", "RR"
"""Means over some corruptions alone, which the protocol names."""


class CorruptedSweeps(Measure[RobustnessSettings]):
    """mCE, mRR and clean mIoU of a fine-tuned student (the paper's Table 7), in percent; of some
    corruptions alone the mean of their CE and RR.

    Corruptions are drawn by the seed of the settings, not the cell's: all cells are measured on the
    same sweeps.
    """

    settings = RobustnessSettings
    decided = frozenset({"checkpoint"})
    segmenter = True

    def shared(self, values: Values, own: Values) -> Values:
        """Strengths of other corruptions than its own concern other measurements."""
        return with_own_strengths(values, own)

    def figures(self, settings: RobustnessSettings) -> tuple[Figure, ...]:
        """No mCE where nothing is published that errors could be relative to."""
        error, rate = (MCE, MRR) if len(settings.corruptions) == len(EVERY) else (CE, RR)
        errors = (Figure(error, f"{error} %", lower=True),) if _baseline_name(settings) else ()
        return (*errors, Figure(rate, f"{rate} %"), Figure(CLEAN, "clean mIoU %"))

    def digest(self, settings: RobustnessSettings, memo: Memo) -> str:
        """Of the settings, the baseline and the labelled frames.

        Raises:
            CleverError: some severities alone, a dataset without published strengths, no such
                dataset or baseline, no labelled frames.
        """
        if len(settings.severities) < len(get_args(Severity)):
            raise CleverError("`severities` are all three: mCE and mRR are of their sum")
        assert settings.dataset
        part = HeldOutPart(**{name: getattr(settings, name) for name in HeldOutPart.model_fields})
        if not settings.corrupted_root:
            sensor_of(open_dataset(part, settings.dataset), settings.sensor)
        places = {"checkpoint", "dataset", "data_root", "pictures", "baseline"}
        values = changed_values(settings, UNRECORDED | places)
        name = _baseline_name(settings)
        baseline = read_baseline(name).model_dump() if name else {}
        return digest(values, baseline, labelled_digest(part, settings.dataset, memo))

    def run(self, settings: RobustnessSettings, subject: Subject, folder: Path) -> Outcome:
        """Raises as `robustness`, and where the fine-tuning is not finished."""
        if outcome := finished_result(folder, RecordedOutcome):
            return outcome.outcome()
        segmenter = subject.segmenter
        assert segmenter
        if not (segmenter / RESULT_FILE).exists():
            raise CleverError(f"{segmenter.name} is not finished, which is what would be measured")
        started = time.perf_counter()
        result = robustness(settings.decided(checkpoint=(str(segmenter),), out=folder))
        seconds = time.perf_counter() - started
        outcome = Outcome(*_figures(result), seconds)
        record_outcome(folder, "robustness", subject.seed, outcome)
        return outcome


def _baseline_name(settings: RobustnessSettings) -> str | None:
    return settings.baseline or OF_DATASET.get(settings.dataset or "")


def _figures(result: RobustnessResult) -> tuple[dict[str, float], Facts]:
    """Figures of the one checkpoint and how they were made; means are over the corruptions that
    were measured at all severities, which the facts name."""
    (row,) = result.rows
    scores = row.scores(result.baseline)
    whole = {name: scores.by_corruption[name] for name in EVERY if _is_whole(scores, name)}
    error, rate = (MCE, MRR) if len(whole) == len(EVERY) else (CE, RR)
    figures = {
        error: _mean([score.error for score in whole.values()]),
        rate: _mean([score.resilience for score in whole.values()]),
        CLEAN: scores.clean,
    }
    present = {name: figure for name, figure in figures.items() if figure is not None}
    return present, _facts(result, row, list(whole))


def _is_whole(scores: Scores, name: CorruptionName) -> bool:
    """Whether a corruption was measured at all severities."""
    return name in scores.by_corruption and scores.by_corruption[name].miou is not None


def _mean(values: Sequence[float | None]) -> float | None:
    figures = [value for value in values if value is not None]
    return statistics.fmean(figures) if figures and len(figures) == len(values) else None


def _facts(result: RobustnessResult, row: CheckpointRow, names: Sequence[str]) -> Facts:
    some = f"{', '.join(names) or 'none'} alone ({len(names)} of {len(EVERY)} corruptions)"
    words = "all eight corruptions" if len(names) == len(EVERY) else some
    against = f"CE relative to {result.baseline.name}" if result.baseline else "no CE"
    return {
        "frames": quantity(row.measurements[0].frames, "labelled frame"),
        "corruptions": f"{words} at three severities",
        "source": result.source,
        "baseline": against,
        "rule": "Robo3D's formulae, no TTA, all points but inserted ones",
    }
