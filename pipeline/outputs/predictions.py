"""What `clever predict` did, whatever it predicts."""

from dataclasses import dataclass, field
from pathlib import Path

from ...words import quantity
from ..steps.labelled import BadFrame
from .each_input import Outputs

CLASSES_FILE = "classes.json"
"""In a folder of predictions: what they mean."""
FREE = frozenset({"points", "limit"})
"""Settings that say which inputs: another run in the same folder may have others."""


@dataclass(frozen=True, slots=True)
class PredictedFile:
    """One output.

    Attributes:
        source: input file or id of the frame.
        points: of the input.
        remark: what is in the output besides: how many boxes, or points without a label.
        words: what was read as what, and how intensity was scaled; empty for a dataset's frame.
    """

    source: str
    out: Path
    points: int
    remark: str
    words: str = ""

    def __str__(self) -> str:
        contents = f"{quantity(self.points, 'point')}{self.words and f', {self.words}'}"
        remark = f", {self.remark}" if self.remark else ""
        return f"{self.source}: {contents} -> {self.out}{remark}"


AnyOutputs = Outputs[Path, PredictedFile] | Outputs[str, PredictedFile]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was written.

    Attributes:
        protocol: what was trained, and how it predicts.
        unit: what the inputs are, in the plural.
        device: where the network ran.
        out: file or folder of the outputs.
        outputs: what was written; `Outputs.seconds` reads, predicts and writes it.
        notes: what a user has to know beside it.
    """

    protocol: str
    unit: str
    device: str
    out: Path
    outputs: AnyOutputs
    notes: list[str] = field(default_factory=list)

    @property
    def bad(self) -> list[BadFrame]:
        """Inputs that could not be used."""
        return self.outputs.bad

    @property
    def rate(self) -> float:
        """Outputs a second, reading and writing included; NaN where none was written."""
        files, seconds = len(self.outputs.files), self.outputs.seconds
        return files / seconds if files and seconds else float("nan")

    def __str__(self) -> str:
        files = self.outputs.files
        lines = [self.protocol, *(str(file) for file in files if file.words)]
        if files:
            points = sum(file.points for file in files)
            lines.append(
                f"{quantity(len(files), self.unit.removesuffix('s'))}, "
                f"{quantity(points, 'point')}, {self.rate:.2f} {self.unit}/s on "
                f"{self.device}, reading and writing included"
            )
        return "\n".join([*lines, f"written to {self.out}", *self.outputs.notes(), *self.notes])
