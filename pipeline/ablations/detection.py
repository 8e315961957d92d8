"""Cells measured by `clever detect`: average precision of a detector on the student."""

import statistics
from pathlib import Path

from ...errors import CleverError
from ...words import quantity
from ..detect import detect
from ..detection_runs.data import DetectionData
from ..detection_runs.table import DetectionTable
from ..results.protocols import Facts
from ..results.run_folder import UNRECORDED, finished_result
from ..results.run_names import changed_values, digest
from ..settings.detect import DetectSettings
from .identities import Memo
from .measure import Figure, Measure, Outcome, Subject
from .recorded_outcome import RecordedOutcome, record_outcome

TITLES = {"kitti": "AP_R40 %, mean at moderate", "nuscenes": "mAP %"}
"""The summary of a run, by dataset."""
STUDENT = frozenset({"student", "voxel_size", "ptv3_form"})


class Detection(Measure[DetectSettings]):
    """The summary of a detector (the paper's Table A3) with the cell's seed, the mean over the
    draws of a fraction, in percent."""

    settings = DetectSettings
    decided = frozenset({"checkpoint", "seeds", *STUDENT})

    def placeholder(self) -> dict[str, tuple[str, ...]]:
        """The start of every run."""
        return {"checkpoint": ("none",)}

    def figures(self, settings: DetectSettings) -> tuple[Figure, ...]:
        """One, as the dataset's benchmark calls it."""
        return (Figure("", TITLES.get(settings.dataset or "", "AP %")),)

    def digest(self, settings: DetectSettings, memo: Memo) -> str:
        """Of the settings and the frames.

        Raises:
            CleverError: several fractions, or no such dataset with boxes.
        """
        if len(settings.fraction) > 1:
            raise CleverError("`fraction` is one number; make a measurement of each")
        assert settings.dataset
        data = DetectionData.open(settings, settings.dataset)
        measured = [data.val.frame_ids[index] for index in data.held_out]
        values = changed_values(settings, UNRECORDED | self.decided | {"dataset", "data_root"})
        return digest(values, data.train.name, list(data.train.frame_ids), measured)

    def run(self, settings: DetectSettings, subject: Subject, folder: Path) -> Outcome:
        """Raises as `detect`, and where one of its runs failed: those that did not stay."""
        if outcome := finished_result(folder, RecordedOutcome):
            return outcome.outcome()
        start = subject.start()
        names = {"checkpoint": (str(start["checkpoint"]),)}
        table = detect(settings.decided(**{**start, **names}, seeds=(subject.seed,), out=folder))
        outcome = _outcome(table)
        record_outcome(folder, "detect", subject.seed, outcome)
        return outcome


def _outcome(table: DetectionTable) -> Outcome:
    """Mean over the runs of a table.

    Raises:
        CleverError: one failed, or there was nothing to find.
    """
    failed = [run for run in table.runs if run.failure]
    if failed:
        count = f"{len(failed)} of {quantity(len(table.runs), 'run')} failed"
        raise CleverError(f"{count}; the first, {failed[0]}: {failed[0].failure}")
    results = [run.result for run in table.runs if run.result]
    summaries = [result.summary for result in results]
    figures = [summary for summary in summaries if summary is not None]
    if not figures or len(figures) < len(summaries):
        raise CleverError("the measured frames have no boxes of any class; choose others")
    draws = ", ".join(str(run.draw) for run in table.runs)
    facts: Facts = {**results[0].facts}
    if len(results) > 1:
        facts["draws"] = f"mean over draws {draws}"
    return Outcome(
        {"": statistics.fmean(figures)}, facts, sum(result.seconds for result in results)
    )
