"""What commands print, and their exit codes."""

from typing import TYPE_CHECKING, Any

from ..pipeline.settings.base import JobSettings
from ..pipeline.settings.doctor import DoctorSettings
from .wording import with_flags

if TYPE_CHECKING:
    from ..pipeline.demo import DemoResult
    from ..pipeline.doctor import DoctorReport
    from ..pipeline.evaluate import SegmentationResult
    from ..pipeline.finetune import FinetuneResult
    from ..pipeline.list_runs import RunList
    from ..pipeline.look import LookResult
    from ..pipeline.outputs import Outputs
    from ..pipeline.predict import Predictions

BAD_FRAMES = 3
"""Exit code of a run that finished but had to skip frames."""


def plain(settings: JobSettings, result: object) -> int:
    """Print a result as it says itself, settings named by their flags."""
    print(with_flags(str(result), type(settings)))
    return 0


def print_doctor(settings: DoctorSettings, result: "DoctorReport") -> int:
    """Print the report; bad frames make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.bad else 0


def print_look(settings: JobSettings, result: "LookResult") -> int:
    """Print what was drawn; bad frames make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.bad else 0


def print_features(settings: JobSettings, result: "Outputs[Any, Any]") -> int:
    """Print what was written; bad files make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.bad else 0


def print_predictions(settings: JobSettings, result: "Predictions") -> int:
    """Print what was labelled; bad inputs make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.outputs.bad else 0


def print_runs(settings: JobSettings, result: "RunList") -> int:
    """Print the tables; folders that cannot be read make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.bad else 0


def print_evaluation(settings: JobSettings, result: "SegmentationResult") -> int:
    """Print figures; frames that could not be measured make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.bad else 0


def print_finetuning(settings: JobSettings, result: "FinetuneResult") -> int:
    """Print figures; frames that could not be trained or measured on make another exit code."""
    plain(settings, result)
    return BAD_FRAMES if result.bad or result.evaluation.bad else 0


def print_demo(_: JobSettings, result: "DemoResult") -> int:
    """Print both probes, the cosine and where the pictures are."""
    for name, probe in (("distilled", result.distilled), ("random weights", result.random)):
        print(f"mIoU {100 * probe.evaluation.miou:5.1f} %  {name}: {probe.evaluation.protocol}")
    print(f"cosine to the teacher on a held-out keyframe: {result.cosine:.3f}")
    print(f"pictures: {result.page}  ({result.seconds:.0f} s)")
    return 0
