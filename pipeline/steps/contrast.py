"""One step of pre-training with the losses of rivals: several passes of the student, each with
draws of its own, and terms over them."""

# A step with several passes takes batches of several passes.
# pyright: reportIncompatibleMethodOverride=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from ...student.points import PointBatch
from ...student.voxelize import Voxels
from .cached_frames import DistillationBatch
from .distillation import DistillationStep, Prepared
from .pass_features import PassFeatures
from .passes import PassBatch, PassName
from .terms import Terms


@dataclass(frozen=True, slots=True)
class PreparedPasses:
    """What the networks of a step are given, for every pass.

    Attributes:
        batch: on the student's device.
        passes: of the frames themselves, then of the further passes.
    """

    batch: PassBatch
    passes: tuple[Prepared, ...]

    @property
    def main(self) -> Prepared:
        """Of the frames themselves."""
        return self.passes[0]

    @property
    def voxels(self) -> Voxels:
        """Of the frames themselves, as the student is given them."""
        return self.main.voxels

    @property
    def mixed(self) -> PointBatch:
        """Points of `voxels`."""
        return self.main.mixed

    @property
    def draws(self) -> Any:
        """Of the frames themselves."""
        return self.main.draws


class ContrastStep(DistillationStep):
    """A distillation step with further terms.

    Args:
        terms: the terms with their heads.
        passes: the further passes of a `PassBatch`, in its order.
        classes: number of classes of the regions; 0 for segments.
        **options: see `DistillationStep`; without heads it has no distance to the teacher.
    """

    def __init__(
        self, *values: Any, terms: Terms, passes: Sequence[PassName], classes: int, **options: Any
    ) -> None:
        super().__init__(*values, **options)
        self.terms, self.passes, self.classes = terms, tuple(passes), classes

    def counts(self, batch: PassBatch) -> dict[str, float]:
        """As of the frames alone; no views or pairs where there is no distance to the teacher."""
        counts = super().counts(batch.main)
        if not len(self.heads):
            del counts["distillation"]
        return counts

    def forward(self, batch: PassBatch, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``loss`` = that of the distillation step + the sum of weight * term, a mean over the
        parts of a step and its processes by their frames: a contrast sees its own part alone."""
        return self.losses(self.prepare(batch), totals)

    @torch.no_grad()
    def prepare(self, batch: PassBatch) -> PreparedPasses:
        """`DistillationStep.prepare` for every pass, each with draws of its own."""
        parts = (batch.main, *batch.others)
        prepare = super().prepare
        return PreparedPasses(batch, tuple(prepare(part) for part in parts))

    def losses(self, prepared: PreparedPasses, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the networks; see `forward`."""
        batch, main = prepared.batch, prepared.main
        with record_function("student"):
            features, visible = self.stages(main)
        losses = self.losses_of(main, features, visible, totals)
        total = losses.pop("loss")
        others = {
            name: self._passed(part, own)
            for name, part, own in zip(self.passes, batch.others, prepared.passes[1:], strict=True)
        }
        # In half precision logits of a contrast would lose their last digits.
        with record_function("terms"), torch.autocast(features.device.type, enabled=False):
            first = self._features(batch.main, main, features, visible[0])
            values = self.terms(first, others, batch.matches)
        share = len(batch.ids) / totals["frames"]
        for name, value in values.items():
            losses[name] = value * share
            total = total + self.terms.weights[name] * losses[name]
        return {"loss": total, **losses}

    def _passed(self, batch: DistillationBatch, prepared: Prepared) -> PassFeatures:
        """A further pass of the student."""
        with record_function("student"):
            features, visible = self.stages(prepared)
        return self._features(batch, prepared, features, visible[0])

    def _features(
        self, batch: DistillationBatch, prepared: Prepared, features: Tensor, visible: Tensor
    ) -> PassFeatures:
        return PassFeatures(
            batch,
            prepared,
            features.float(),
            visible.float(),
            bool(self.classes),
            self.classes or batch.regions,
        )
