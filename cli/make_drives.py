"""`clever make-drives`."""

import typer

from ..pipeline.settings.make_drives import MakeDrivesSettings
from .command import job_command


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    job_command(app, "make-drives", MakeDrivesSettings, run)


def run(settings: MakeDrivesSettings) -> int:
    """Generate street drives in the nuScenes format: six cameras, a 32-beam LiDAR, lidarseg labels
    and boxes.

    The unmodified nuscenes-devkit opens them; geometry is exact, the same seed gives the same
    bytes.
    """
    from ..pipeline.drives import make_drives

    print(make_drives(settings))
    return 0
