"""`clever cache-regions`: what is printed of a run."""

from typing import TYPE_CHECKING

from ..pipeline.settings.cache_regions import CacheRegionsSettings
from .printers import BAD_FRAMES, plain

if TYPE_CHECKING:
    from ..pipeline.cache_regions import RegionResult


def print_summary(settings: CacheRegionsSettings, result: "RegionResult") -> int:
    """Print what a run did, skipped frames with their reasons."""
    plain(settings, result)
    return BAD_FRAMES if result.failed else 0
