"""Whether the paper's figures may stand beside a run's, and in what it differs from theirs."""

from ..results.published import MINKUNET, SHARED
from ..settings.finetune import FinetuneSettings
from ..settings.shared.choices import ClassMean
from ..settings.shared.recipes import finetune_recipe
from .plan import FinetunePlan


def measured_as_the_paper(settings: FinetuneSettings, mean: ClassMean) -> bool:
    """Whether the frames to train on are drawn, and the weights and the mean chosen, as there."""
    drawn = settings.sampler == "frames" and not settings.frames_file
    measured = settings.keep == "last" and settings.mean in (None, mean)
    return settings.recipe == "paper" and drawn and measured


def differences_of(settings: FinetuneSettings, plan: FinetunePlan) -> list[str]:
    """In what a run's network and training differ from the paper's."""
    student = plan.start.student
    backbone = student.backbone
    recipe = finetune_recipe(settings.recipe, settings.mode)
    theirs = dict(recipe) | {
        "loss": recipe.loss or backbone.finetuning_loss,
        "lr": recipe.lr or backbone.peak_lr,
    }
    ours = dict(plan.recipe) | {"loss": plan.loss, "lr": plan.lr}
    for name in ("batch_size", "weight_decay", "schedule", "warmup", "clip_norm", "input_sweeps"):
        theirs[name] = FinetuneSettings.model_fields[name].default
        ours[name] = getattr(settings, name)
    network = [] if student.name == MINKUNET else [student.name]
    voxels = (
        [] if student.voxel_size == SHARED["voxel_size"] else [f"voxel_size {student.voxel_size}"]
    )
    others = [f"{name} {ours[name]}" for name in ours if ours[name] != theirs[name]]
    return [*network, *voxels, *others]
