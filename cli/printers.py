"""What commands print, and their exit codes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..pipeline.settings.shared.base import JobSettings
from .wording import with_flags

if TYPE_CHECKING:
    from ..pipeline.corrupted.table import RobustnessResult
    from ..pipeline.finetuning.result import FinetuneResult


class WithBad(Protocol):
    """The result of a job that passes bad frames, files or folders over."""

    @property
    def bad(self) -> Sequence[object]:
        """Those that were bad, each with its reason."""
        ...


BAD_FRAMES = 3
"""Exit code of a run that finished but had to skip frames."""


def plain(settings: JobSettings, result: object) -> int:
    """Print a result as it says itself, settings named by their flags."""
    print(with_flags(str(result), type(settings)))
    return 0


def plain_or_bad(settings: JobSettings, result: "WithBad") -> int:
    """The same; frames, files or folders that were bad make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.bad else 0


def print_robustness(settings: JobSettings, result: "RobustnessResult") -> int:
    """Print the table; frames and corruptions that could not be measured make another exit code."""
    return plain_or_bad(settings, result) or (BAD_FRAMES if result.unmeasured else 0)


def print_finetuning(settings: JobSettings, result: "FinetuneResult") -> int:
    """Print figures; frames that could not be trained or measured on make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.bad or result.evaluation.bad else 0
