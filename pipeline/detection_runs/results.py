"""What a run that trained a detector says of itself."""

from ..results.protocols import Facts
from ..results.run_folder import RunResult
from ..steps.labelled import BadFrame
from ..training.log import Losses
from .benchmark import ScoreTable


class DetectorResult(RunResult):
    """A finished run.

    Attributes:
        start: where the student's weights came from.
        fraction, draw: which training frames it had.
        steps: of the optimiser.
        tables: what was measured; the first one's last row is the summary.
        facts: the protocol in named parts, without start, draw and seed.
        bad: frames that could not be trained or measured on.
        device: where it was trained.
    """

    start: str
    fraction: float
    draw: int
    steps: int
    losses: Losses
    tables: list[ScoreTable]
    facts: Facts
    bad: list[BadFrame]
    device: str

    @property
    def summary(self) -> float | None:
        """Per cent; None where nothing was there to find."""
        return list(self.tables[0].scores.values())[-1]
