"""What a cell may be measured by downstream; a kind of measurement is a line of `MEASURES`."""

from typing import Any

from .corrupted_sweeps import CorruptedSweeps
from .detection import Detection
from .measure import Measure
from .segmentation import Segmentation

MEASURES: dict[str, Measure[Any]] = {
    "finetune": Segmentation(),
    "robustness": CorruptedSweeps(),
    "detect": Detection(),
}
"""By the command whose settings they take; the first one is that of a measurement that names
none."""
