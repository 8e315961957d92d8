"""What a job was not told of its frames and figures: as in the run which it begins from."""

from pathlib import Path
from typing import get_args

from ...student.segmenter import Training
from ..settings.shared.base import SETTINGS_FILE, recorded_values
from ..settings.shared.choices import ClassMean
from .run_folder import notice


def run_dataset(
    dataset: str | None, version: str | None, training: Training
) -> tuple[str, str | None]:
    """Kind and release of the dataset to read: those asked for, else the fine-tuning run's, and
    then a line says so."""
    if dataset is None:
        notice(f"`dataset={training.dataset}`, that of the run")
    name = dataset or training.dataset
    return name, version or (training.version if name == training.dataset else None)


def input_sweeps_of(count: int | None, training: Training) -> int:
    """Earlier sweeps in the input: those asked for, else the fine-tuning run's."""
    return training.input_sweeps if count is None else count


def mean_of(checkpoint: Path) -> ClassMean | None:
    """Over which classes the mean of a fine-tuning run was taken; None where its folder does not
    say.

    Raises:
        CleverError: its settings are damaged.
    """
    if not (checkpoint / SETTINGS_FILE).is_file():
        return None
    recorded = recorded_values(checkpoint).get("mean")
    return next((mean for mean in get_args(ClassMean) if mean == recorded), None)
