"""Stage one's product: what is stored, how it gets there, how it is read back."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store.reader import CachedFrame, FeatureCache

__all__ = ["CachedFrame", "FeatureCache"]


def __getattr__(name: str) -> Any:
    """Import the reader, and torch with it, only for those who ask for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".store.reader", __name__), name)
