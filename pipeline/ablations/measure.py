"""What a kind of downstream measurement is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..results.protocols import Facts
from ..settings.pretrain import PretrainSettings
from ..settings.shared.base import JobSettings
from ..settings.shared.grid import Values
from .identities import Memo

Settings = TypeVar("Settings", bound=JobSettings)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that a measurement gives.

    Attributes:
        name: by which an outcome has it; empty where there is one alone.
        title: with the unit, for the heading of its column.
        lower: whether lower is better.
    """

    name: str
    title: str
    lower: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a measurement gave.

    Attributes:
        figures: by name, as far as they could be told.
        facts: its protocol in named parts, without the seed.
        seconds: of its training; of what trains nothing, of the measuring.
    """

    figures: Mapping[str, float]
    facts: Facts
    seconds: float


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: the student of a cell.

    Attributes:
        checkpoint: run folder of its pre-training; None for random weights.
        settings: of its pre-training; of random weights only those of the student matter.
        seed: the cell's.
        segmenter: folder of the fine-tuning run that the measurement is of; None where it is of
            the student itself.
    """

    checkpoint: Path | None
    settings: PretrainSettings
    seed: int
    segmenter: Path | None = None

    def start(self) -> dict[str, Any]:
        """Settings of a job that trains on from the student."""
        if self.checkpoint:
            return {"checkpoint": self.checkpoint}
        names = ("student", "voxel_size", "ptv3_form")
        return {"checkpoint": "none", **{name: getattr(self.settings, name) for name in names}}


class Measure(ABC, Generic[Settings]):
    """A kind of measurement, by the command whose settings it takes.

    Attributes:
        settings: class of these settings.
        decided: those of them that are the cell's.
        segmenter: whether it is of a fine-tuned student, not of the pre-trained one.
    """

    settings: type[Settings]
    decided: frozenset[str]
    segmenter: bool = False

    def placeholder(self) -> dict[str, Any]:
        """Values of settings that the cell decides and that may not be left out."""
        return {"checkpoint": "none"}

    def shared(self, values: Values, own: Values) -> Values:
        """The settings `values` that all measurements by the command share, as one that adds `own`
        takes them."""
        return values

    @abstractmethod
    def figures(self, settings: Settings) -> tuple[Figure, ...]:
        """The figures that it gives, a column each."""

    @abstractmethod
    def digest(self, settings: Settings, memo: Memo) -> str:
        """Of all that decides it beside seed and student.

        Raises:
            CleverError: settings that do not fit, or frames that are not there.
        """

    @abstractmethod
    def run(self, settings: Settings, subject: Subject, folder: Path) -> Outcome:
        """Measure, or read what is measured in `folder` already; goes on where it was stopped.

        Raises:
            CleverError: whatever the command reports.
        """
