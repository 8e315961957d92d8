"""What a job was not told of its frames: as in the run which it begins from."""

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


def input_sweeps_of(count: int | None, training: Training) -> int:
    """Earlier sweeps in the input: those asked for, else the fine-tuning run's."""
    return training.input_sweeps if count is None else count
