"""What a pre-training run was and how it went."""

from pathlib import Path
from typing import Any

from pydantic import Field

from ...words import quantity
from ..rankme import Ranks
from ..results.account import duration
from ..results.cycles import cycle_words
from ..results.run_folder import RunResult
from ..settings.shared.choices import PointChoice
from ..training.log import Losses


class PretrainResult(RunResult):
    """What a pre-training run was and how its losses went."""

    student: str
    dataset: str
    teachers: list[str]
    """Where the teachers' weights come from, in words."""
    teacher_ids: list[str]
    fingerprints: list[dict[str, Any]]
    matches: list[str] = Field(default_factory=list)
    """Which layer taught which stage with which weight, where that was chosen."""
    regions: str = ""
    """Id of the layer of regions (``regions/...``) that a term took; empty where none needs any."""
    part: str
    """Which frames of the cache were used, in words."""
    frames: int
    unpaired: list[str]
    """Frames none of whose points is seen by a camera."""
    missing: list[str]
    """Frames that only some of several teachers have; they are left out."""
    unfit: dict[str, str] = Field(default_factory=dict)
    """Frames that the student cannot be trained on, left out, and why."""
    epochs: int
    cycles: list[int] = Field(default_factory=list)
    """Passes of each cycle of the schedule; several where a finished run was prolonged."""
    steps: int
    batch_size: int | None = None
    """Frames a step; None in older results."""
    losses: Losses
    best_epoch: int
    """Pass with the lowest mean loss; its weights are in ``best/``."""
    start: str = ""
    """Run whose weights it started from; empty: fresh ones."""
    points: PointChoice = "all"
    """Which points had pairs and queries."""
    ranks: Ranks | None
    """Of the last weights."""
    mixing: str = ""
    """How the frames of several caches alternate, in words; empty for one."""
    intensity: str = "raw"
    """How intensities were given to the student, in words."""
    targets: str = "raw"
    """How teacher features were given, in words."""
    recipe: str
    changes: list[str] = Field(default_factory=list)
    """In what the settings differ from the recipe's, see `recipe_changes`."""
    precision: str
    processes: int
    device: str
    out: Path

    def __str__(self) -> str:
        origin = " and ".join(dict.fromkeys(self.teachers))
        matched = f"matched {', '.join(self.matches)}, " if self.matches else ""
        regions = f"{self.regions}, " if self.regions else ""
        start = f"started from {self.start}, " if self.start else ""
        shared = f" x {self.processes}" if self.processes > 1 else ""
        batch = f" of {self.batch_size}" if self.batch_size else ""
        changes = f" ({', '.join(self.changes)})" if self.changes else ""
        draws = self.steps * (self.batch_size or 0) / self.frames
        lines = [
            f"{self.student} distilled from {origin}: {self.dataset}, {self.part}, "
            f"{self.frames} used, {matched}{regions}"
            f"{cycle_words(self.epochs, self.cycles, draws)}, "
            f"{quantity(self.steps, 'step')}{batch}, "
            f"{f'{self.mixing}, ' if self.mixing else ''}recipe {self.recipe}{changes}, "
            f"{start}points {self.points}, "
            f"{'' if self.intensity == 'raw' else f'intensity {self.intensity}, '}"
            f"{'' if self.targets == 'raw' else f'targets {self.targets}, '}"
            f"seed {self.seed}, {self.precision}, {self.device}{shared}, "
            f"{duration(self.seconds)}",
            str(self.losses),
        ]
        if self.ranks:
            plain, centred = self.ranks.uncentred, self.ranks.centred
            lines.append(
                f"RankMe {plain.rankme:.3f} (centred {centred.rankme:.3f}), matrix rank "
                f"{plain.matrix_rank} "
                f"(centred {centred.matrix_rank}): backbone features of "
                f"{quantity(self.ranks.rows, 'point')} "
                "of "
                f"{quantity(self.ranks.frames, 'training frame')}, seed {self.ranks.seed}"
            )
        return "\n".join([*lines, str(self.out)])
