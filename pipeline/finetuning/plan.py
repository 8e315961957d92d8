"""What a fine-tuning run needs and its settings may leave open."""

from dataclasses import dataclass

from ...errors import CleverError
from ...student.checkpoint import DATASETS_JOINED
from ...student.choices import SegmentationLoss
from ..datasets.registry import dataset_class
from ..results.run_folder import newest_run, notice, warn_unfinished
from ..settings.finetune import FinetuneSettings
from ..settings.shared.choices import ClassMean
from ..settings.shared.recipes import FinetuneRecipe, finetune_recipe
from ..training.starting_student import StartingStudent, starting_student

DATASET = "nuscenes"
"""Trained on where neither the settings nor the student says another."""


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """What a run needs and its settings may leave open.

    Attributes:
        start: the student to start from.
        recipe: what the settings say, else the named recipe; nothing is open.
        mean: over which classes mIoU is taken.
    """

    start: StartingStudent
    recipe: FinetuneRecipe
    loss: SegmentationLoss
    lr: float
    mean: ClassMean

    @classmethod
    def of(
        cls, settings: FinetuneSettings, start: StartingStudent, mean: ClassMean
    ) -> "FinetunePlan":
        """What the settings say, else the recipe, else what suits the student and the dataset.

        Raises:
            CleverError: the settings contradict each other.
        """
        named = finetune_recipe(settings.recipe, settings.mode)
        own_values = {name: getattr(settings, name) for name in FinetuneRecipe.model_fields}
        recipe = FinetuneRecipe(
            **dict(named) | {name: value for name, value in own_values.items() if value is not None}
        )
        if not recipe.augment and settings.mix3d:
            raise CleverError(
                f"`mix3d={settings.mix3d:g}` mixes augmented frames alone; leave it out or "
                "give `augment=yes`"
            )
        if not recipe.augment or settings.batch_size == 1:  # nothing is there to mix with
            recipe = FinetuneRecipe.model_validate({**dict(recipe), "mix3d": 0.0})
        backbone = start.student.backbone
        return cls(
            start=start,
            recipe=recipe,
            loss=recipe.loss or backbone.finetuning_loss,
            lr=recipe.lr or backbone.peak_lr,
            mean=settings.mean or mean,
        )

    def record(self, settings: FinetuneSettings) -> FinetuneSettings:
        """The settings with nothing left open, as the run's folder keeps them."""
        student = self.start.student
        return settings.decided(
            **dict(self.recipe),
            checkpoint=self.start.checkpoint,
            student=student.name,
            voxel_size=student.voxel_size,
            ptv3_form=student.ptv3_form,
        ).decided(loss=self.loss, lr=self.lr, mean=self.mean)


def starting_point(settings: FinetuneSettings) -> StartingStudent:
    """The student to start from; the newest pre-training run's, unless told otherwise.

    Raises:
        CleverError: see `newest_run` and `starting_student`.
    """
    checkpoint = settings.checkpoint or newest_run("pretrain")
    start = starting_student(
        checkpoint, settings.student, settings.voxel_size, settings.seed, settings.ptv3_form
    )
    if checkpoint != "none":
        warn_unfinished(checkpoint)
    return start


def dataset_kind(settings: FinetuneSettings, start: StartingStudent, announce: bool) -> str:
    """Kind of the dataset: the one asked for, else the one that the student was pre-trained on,
    else `DATASET`; where asked to, a line says which was taken.

    Raises:
        CleverError: the student was pre-trained on a dataset that is not known here.
    """
    if settings.dataset is not None:
        return settings.dataset
    if DATASETS_JOINED in start.dataset:
        raise CleverError(
            f"{start.checkpoint} was pre-trained on {start.dataset}; choose one as `dataset`"
        )
    if start.dataset:
        try:
            dataset_class(start.dataset)
        except CleverError as error:
            raise CleverError(f"{start.checkpoint} was pre-trained on it, but {error}") from error
    name = start.dataset or DATASET
    if announce:
        origin = "that of the pre-training" if start.dataset else "unless told otherwise"
        notice(f"`dataset={name}`, {origin}")
    return name
