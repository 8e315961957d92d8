"""The outcome of a measurement whose command has no result of one run: kept in the cell's folder,
where it says that the measurement is finished."""

from pathlib import Path

from ...files import atomic_write
from ..results.protocols import Facts
from ..results.run_folder import RESULT_FILE, RunResult, now, versions
from .measure import Outcome


class RecordedOutcome(RunResult):
    """What was measured; see `Outcome`."""

    figures: dict[str, float]
    facts: Facts

    def outcome(self) -> Outcome:
        """As the measurement gave it."""
        return Outcome(self.figures, self.facts, self.seconds)


def record_outcome(folder: Path, job: str, seed: int, outcome: Outcome) -> None:
    """Write ``result.json`` of a measurement by the command `job`."""
    record = RecordedOutcome(
        job=job,
        finished=now(),
        seed=seed,
        seconds=outcome.seconds,
        versions=versions(),
        figures=dict(outcome.figures),
        facts=outcome.facts,
    )
    atomic_write(folder / RESULT_FILE, record.model_dump_json(indent=2) + "\n")
