"""Datasets, one a file; each yields the same `Frame`. The registry names them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import IGNORE, LidarDataset, positions
    from .opening import build_dataset, open_dataset

__all__ = ["IGNORE", "LidarDataset", "build_dataset", "open_dataset", "positions"]


def __getattr__(name: str) -> Any:
    """Import numpy and the rest only for those who ask for it: settings need the registry alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = ".opening" if name.endswith("_dataset") else ".base"
    return getattr(import_module(module, __name__), name)
