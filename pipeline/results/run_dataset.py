"""The dataset of a job that was not told one: that of the run which it begins from."""

from ...student.segmenter import Training
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
