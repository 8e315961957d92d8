"""A fine-tuning run in words."""

from ...student.segmenter import Training
from ...words import quantity
from ..datasets.base import label_ids
from ..results.cycles import Cycle, cycle_words
from ..settings.finetune import FinetuneSettings
from ..steps.labelled import describe, scenes_of
from ..training.batches import FrameOrder
from .frames import TaskFrames
from .plan import FinetunePlan


def describe_training(
    settings: FinetuneSettings,
    plan: FinetunePlan,
    parts: TaskFrames,
    indices: list[int],
    cycle: Cycle,
) -> Training:
    """The run in words, for the protocol line; of its sample the frames at `indices` can be
    used."""
    dataset, sample = parts.train, parts.sample
    student, recipe = plan.start.student, plan.recipe
    mixed = f"augmentation, Mix3D {recipe.mix3d:g}"
    augmentation = mixed if recipe.augment else "no augmentation"
    order = FrameOrder(len(indices), recipe.epochs, settings.batch_size, settings.seed)
    epochs = cycle_words(recipe.epochs, cycle.lengths(recipe.epochs), order.draws)
    layer = "batch norm + linear" if recipe.batch_norm else "linear"
    sweeps = f", {quantity(settings.input_sweeps, 'earlier sweep')} in the input"
    return Training(
        dataset=dataset.name,
        version=settings.version,
        class_names=tuple(dataset.class_names),
        label_ids=tuple(label_ids(dataset, dataset.class_names)),
        batch_norm=recipe.batch_norm,
        head="linear probe" if settings.mode == "probe" else "full fine-tuning",
        initialisation=plan.start.origin,
        frames=describe(dataset, indices, settings.train_split, len(sample.indices)),
        scenes=tuple(scenes_of(dataset, indices)),
        pretraining=plan.start.dataset,
        pretraining_scenes=plan.start.scenes,
        input_sweeps=settings.input_sweeps,
        details=(
            f"{student.name} at {student.voxel_size:g} m"
            f"{sweeps if settings.input_sweeps else ''}, {sample.rule}, "
            f"recipe {settings.recipe}, {epochs}, batch {settings.batch_size}, "
            f"lr {plan.lr:g}, {layer}, {plan.loss}, {augmentation}, seed {settings.seed}"
        ),
    )
