"""`clever demo`."""

import typer

from ..pipeline.demo import demo
from ..pipeline.settings.demo import DemoSettings
from .command import job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "demo", DemoSettings, run)


def run(settings: DemoSettings) -> int:
    """The whole way without any download but packages: makes drives, caches, distils, probes,
    draws.

    The drives are generated and the teacher is a supervised EfficientNet-Lite0: the numbers show
    that everything works, not how good the method is.
    """
    result = demo(settings)
    for name, probe in (("distilled", result.distilled), ("random weights", result.random)):
        print(f"mIoU {100 * probe.evaluation.miou:5.1f} %  {name}: {probe.evaluation.protocol}")
    print(f"cosine to the teacher on a held-out keyframe: {result.cosine:.3f}")
    print(f"pictures: {result.page}  ({result.seconds:.0f} s)")
    return 0
