"""Stage one's product: what is stored, how it gets there, how it is read back."""

from .reader import CachedFrame, FeatureCache

__all__ = ["CachedFrame", "FeatureCache"]
