"""What a fine-tuning run was and what it reached."""

from pathlib import Path

from pydantic import Field

from ...student.segmenter import Training
from ..evaluate import SegmentationResult
from ..results.run_folder import RunResult
from ..steps.labelled import BadFrame
from ..training.log import Losses


class FinetuneResult(RunResult):
    """What a fine-tuning run was and what it reached."""

    student: str
    training: Training
    losses: Losses
    steps: int
    bad: list[BadFrame]
    """Training frames that could not be used."""
    evaluation: SegmentationResult
    published: dict[str, float]
    """The paper's mIoU in percent by variant, on the whole dataset with MinkUNet-34."""
    differences: list[str] = Field(default_factory=list)
    """In what this run differs from the paper's where its figures stand beside."""
    device: str
    out: Path

    def __str__(self) -> str:
        lines = [str(self.evaluation), str(self.losses)]
        lines += [f"skipped training frame {frame.id}: {frame.reason}" for frame in self.bad]
        if self.published:
            figures = ", ".join(f"{name} {miou:.2f}" for name, miou in self.published.items())
            here = f"; here {', '.join(self.differences)}" if self.differences else ""
            lines.append(
                f"the paper, whole dataset, MinkUNet-34, ViT-S, 100 epochs: {figures}{here}"
            )
        return "\n".join([*lines, str(self.out)])
