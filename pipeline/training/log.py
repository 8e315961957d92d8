"""The log of a training run: one JSON object a line, and the same numbers for TensorBoard."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...errors import CleverError
from ...files import atomic_write
from ..settings.shared.base import SETTINGS_FILE, recorded_values

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Scalars = dict[str, float | int]

LOG_FILE = "log.jsonl"
TENSORBOARD = "tensorboard"
"""Folder of the event files inside a run's."""
LONGEST_WAIT = 2.0
"""Seconds that a new event file waits for its place behind the others."""

VALIDATION_MIOU, FINAL_MIOU = "val_miou", "miou"
"""Names of the mIoU on the validation part on the way, and of what `log_evaluation` logs."""
METRICS = ("loss", "rankme", VALIDATION_MIOU, FINAL_MIOU)
"""Numbers that TensorBoard's table of runs shows beside the hyper-parameters, where a run has
them."""

NOT_LOSSES = frozenset(
    {"step", "steps", "epoch", "lr", "grad_norm", "frames_per_s", "data_wait", "memory_mb"}
)
"""What the record of a step holds beside the losses."""


def read_log(folder: Path) -> list[Scalars]:
    """Every whole line of the log in `folder`."""
    path = folder / LOG_FILE
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


class TrainingLog:
    """Appends to both logs; use as a context manager.

    TensorBoard also gets the run's recorded settings as hyper-parameters.

    Args:
        folder: of the run.
        steps: steps that the run has done: records of later ones, from before it was stopped, are
            taken out.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.path = folder / LOG_FILE
        earlier = [
            json.dumps(record) + "\n" for record in read_log(folder) if record["step"] <= steps
        ]
        atomic_write(self.path, "".join(earlier))
        self._file = self.path.open("a", encoding="utf-8")
        self._events = event_writer(folder, purge_step=steps + 1)
        if (folder / SETTINGS_FILE).exists():
            self._write_hyperparameters(recorded_values(folder), steps)

    def write(self, record: Scalars) -> None:
        """Append one record; it holds ``step``, and that of a step how many ``steps`` there are.

        Raises:
            CleverError: the disk is full.
        """
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
            for name, value in record.items():
                if name not in ("step", "steps"):
                    self._events.add_scalar(name, value, int(record["step"]))
        except OSError as error:
            raise CleverError(
                f"cannot write {self.path}: {error.strerror}; free the disk and run again"
            ) from error

    def _write_hyperparameters(self, settings: dict[str, Any], step: int) -> None:
        """What `SummaryWriter.add_hparams` writes, without a folder of its own for it."""
        from torch.utils.tensorboard.summary import hparams

        values = {
            name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for name, value in settings.items()
        }
        writer = self._events.file_writer
        assert writer is not None  # until it is closed
        for summary in hparams(values, dict.fromkeys(METRICS, 0.0)):
            writer.add_summary(summary, step)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._file.close()
        self._events.close()


def event_writer(folder: Path, purge_step: int | None = None) -> "SummaryWriter":
    """A writer of the TensorBoard events of a run, in a file that is read after those before it.

    TensorBoard reads files in the order of their names, which begin with the second that they were
    opened in and end with a plain number, so that 10 comes before 9; the earlier file then takes
    back steps of the later one. A new file that would come too early is therefore opened again in
    the next second. Only where a clock was ahead, on another machine, does it stay.

    Args:
        folder: of the run.
        purge_step: events of this step and later ones, of files before, no longer count.
    """
    from torch.utils.tensorboard import SummaryWriter

    place = folder / TENSORBOARD
    earlier = {path.name for path in place.glob("*")}
    until = time.monotonic() + LONGEST_WAIT
    while True:
        events = SummaryWriter(str(place), purge_step=purge_step)
        (name,) = {path.name for path in place.glob("*")} - earlier
        if name > max(earlier, default="") or time.monotonic() > until:
            return events
        events.close()
        (place / name).unlink()
        time.sleep(0.1)


def log_evaluation(folder: Path, step: int, miou: float) -> None:
    """Add the mIoU that a run ended with, a share, to its TensorBoard events after `step`."""
    with event_writer(folder) as events:
        events.add_scalar(FINAL_MIOU, miou, step)


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses over the first and over the last `window` steps of a run; of a loss that only
    some steps have, as of a dataset among several, over the first and the last of these."""

    first: dict[str, float]
    last: dict[str, float]
    window: int

    def __str__(self) -> str:
        names = [name for name in self.first if name in self.last]  # older results lack some
        pairs = ", ".join(
            f"{name} {self.first[name]:.4f} -> {self.last[name]:.4f}" for name in names
        )
        steps = f"means over the first and the last {self.window} steps"
        return f"{pairs} ({steps if self.window > 1 else 'the first and the last step'})"


def first_and_last(records: list[Scalars]) -> Losses:
    """How the losses of a log began and ended: means over a tenth of the steps."""
    steps = [record for record in records if "loss" in record]
    window = max(1, len(steps) // 10)
    names = dict.fromkeys(name for record in steps for name in record if name not in NOT_LOSSES)
    values = {name: [float(record[name]) for record in steps if name in record] for name in names}
    first = {name: _mean(numbers[:window]) for name, numbers in values.items()}
    last = {name: _mean(numbers[-window:]) for name, numbers in values.items()}
    return Losses(first, last, window)


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def best_pass(records: list[Scalars]) -> tuple[float, int]:
    """Lowest mean loss of a pass in a log, and which pass, from 1; (infinity, 0) without any."""
    losses: dict[int, list[float]] = {}
    for record in records:
        if "loss" in record:
            losses.setdefault(int(record["epoch"]), []).append(record["loss"])
    means = [(sum(values) / len(values), epoch) for epoch, values in losses.items()]
    return min(means, default=(math.inf, 0))
