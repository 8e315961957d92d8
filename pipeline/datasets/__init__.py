"""Datasets, one a file; each yields the same `Frame`."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import CleverError
from .base import IGNORE, LidarDataset
from .nuscenes import NuScenesDataset
from .semantickitti import SemanticKittiDataset

__all__ = [
    "DATASETS",
    "IGNORE",
    "LidarDataset",
    "NuScenesDataset",
    "SemanticKittiDataset",
    "build_dataset",
]

DATASETS = (NuScenesDataset.name, SemanticKittiDataset.name)


def build_dataset(
    name: str,
    root: Path | str | None,
    *,
    version: str | None = None,
    split: str = "train",
    sequences: Sequence[str] | None = None,
) -> LidarDataset:
    """Open the dataset called `name`.

    Args:
        name: one of `DATASETS`.
        root: dataset folder.
        version: folder of tables; nuScenes alone has one. None: v1.0-trainval if it is there, else
            the only one.
        split: ``train``, ``val`` or ``all``; nuScenes' ``v1.0-test`` has ``test``.
        sequences: SemanticKITTI alone; sequence numbers, which win over `split`.

    Raises:
        CleverError: unknown name, no such folder, `sequences` for nuScenes, or what the dataset
            itself reports.
    """
    if name not in DATASETS:
        raise CleverError(f"unknown dataset {name!r}; choose {' or '.join(DATASETS)}")
    if root is None or not Path(root).is_dir():
        missing = (
            "no dataset folder given" if root is None else f"dataset folder {root} does not exist"
        )
        raise CleverError(f"{missing}; pass --data-root or set CLEVER_DATA_ROOT")
    if name == SemanticKittiDataset.name:
        return SemanticKittiDataset(root, sequences, split)
    if sequences:
        raise CleverError(
            "nuscenes has no sequences; leave --sequences out and choose with --version and --split"
        )
    return NuScenesDataset(root, version, split)
