"""Names of datasets and the classes behind them: one table, entry points, `package.module:Class`.

Imports no dataset until its class is asked for, and nothing heavy at all.
"""

import re
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from ...errors import CleverError

if TYPE_CHECKING:
    from .base import LidarDataset

DATASETS = {
    "folder": "clever.pipeline.datasets.folder:FolderDataset",
    "nuscenes": "clever.pipeline.datasets.nuscenes:NuScenesDataset",
    "semantickitti": "clever.pipeline.datasets.semantickitti:SemanticKittiDataset",
    "kitti": "clever.pipeline.datasets.kitti:KittiDataset",
    "kitti360": "clever.pipeline.datasets.kitti360:Kitti360Dataset",
    "rellis3d": "clever.pipeline.datasets.rellis3d:Rellis3dDataset",
    "daps3d": "clever.pipeline.datasets.daps3d:Daps3dDataset",
    "scribblekitti": "clever.pipeline.datasets.scribblekitti:ScribbleKittiDataset",
    "semanticstf": "clever.pipeline.datasets.semanticstf:SemanticStfDataset",
    "waymo": "clever.pipeline.datasets.waymo:WaymoDataset",
    "argoverse2": "clever.pipeline.datasets.argoverse2:Argoverse2Dataset",
    "pandaset": "clever.pipeline.datasets.pandaset:PandaSetDataset",
    "once": "clever.pipeline.datasets.once:OnceDataset",
}
"""Class of each dataset of the package, as ``module:Class``; the class's `name` is the key."""
ENTRY_POINTS = "clever.datasets"
"""Group of entry points by which an installed package offers datasets of its own."""
_CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def dataset_names() -> list[str]:
    """Names to choose from: the package's own, then those of installed packages."""
    plugged = {point.name for point in entry_points(group=ENTRY_POINTS)}
    return [*DATASETS, *sorted(plugged - DATASETS.keys())]


def check_name(name: str) -> str:
    """`name` as it is, if it is a known name or has the form ``package.module:Class``.

    Raises:
        ValueError: it is neither; the message lists the known names.
    """
    if name in DATASETS or _CLASS_PATH.fullmatch(name) or name in dataset_names():
        return name
    raise ValueError(
        f"unknown dataset; choose {', '.join(dataset_names())} or name a class as "
        "package.module:Class"
    )


def dataset_class(name: str) -> "type[LidarDataset]":
    """Import the class of a dataset.

    Args:
        name: one of `dataset_names`, or ``package.module:Class``.

    Raises:
        CleverError: unknown name, a name that several packages claim, a module that cannot be
            imported or lacks the class, or an entry point that is not called as its class is.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise CleverError(f"dataset {name!r}: {error}") from None
    if ":" in name:
        return _import(name, name)
    path = _plugged_path(name) if name not in DATASETS else DATASETS[name]
    dataset = _import(name, path)
    if dataset.name != name:
        raise CleverError(
            f"dataset {name!r} is the class {path}, whose name is {dataset.name!r}; give both the "
            "same name, because stores are known by it"
        )
    return dataset


def _plugged_path(name: str) -> str:
    points = entry_points(group=ENTRY_POINTS, name=name)
    paths = sorted({point.value for point in points})
    if len(paths) > 1:
        raise CleverError(
            f"dataset {name!r} is offered by several packages: {_origins(points)}; uninstall all "
            "but one, or name the class as package.module:Class"
        )
    return paths[0]


def _origins(points: Iterable[EntryPoint]) -> str:
    return ", ".join(
        sorted(
            f"{point.dist.name if point.dist else 'unknown'} ({point.value})" for point in points
        )
    )


def _import(name: str, path: str) -> "type[LidarDataset]":
    module, _, attribute = path.partition(":")
    try:
        dataset = getattr(import_module(module), attribute)
    except ImportError as error:
        raise CleverError(
            f"dataset {name!r}: cannot import {module}: {error}; install its package or put its "
            "folder on PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise CleverError(f"dataset {name!r}: {error}") from error
    if not isinstance(dataset, type) or not isinstance(getattr(dataset, "name", None), str):
        raise CleverError(
            f"dataset {name!r}: {path} is no dataset class, which has at least a name; see "
            "CONTRIBUTING.md, 'Add a dataset'"
        )
    return dataset
