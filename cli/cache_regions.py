"""`clever cache-regions`: what is printed of a run."""

from typing import TYPE_CHECKING

from ..pipeline.settings.cache_regions import CacheRegionsSettings
from ..words import quantity
from .cache_teacher import LISTED
from .printers import BAD_FRAMES
from .wording import with_flags

if TYPE_CHECKING:
    from ..pipeline.cache_regions import RegionResult


def print_summary(_: CacheRegionsSettings, result: "RegionResult") -> int:
    """Print what a run did, skipped frames with their reasons."""
    if not result.attempted:
        print(
            f"nothing to do: {result.path} has {result.info.id} of all "
            f"{quantity(result.frames, 'frame')}"
        )
    else:
        print(f"{result.path}: {result.info.id} of {quantity(result.attempted, 'frame')}")
    print(result.info.description)
    print(
        f"{result.bytes / 1e6:.2f} MB, {100 * result.share:.1f} % of a ViT-S layer (16x32, fp16) "
        "of the same frames"
    )
    for frame, reason in result.failed[:LISTED]:
        print(f"skipped {frame}: {with_flags(reason, CacheRegionsSettings)}")
    if result.failed:
        print(
            f"{len(result.failed)} of {quantity(result.frames, 'frame')} skipped; repair them "
            "and add "
            "--retry-failed"
        )
    return BAD_FRAMES if result.failed else 0
