"""Recipes: settings of published trainings by name, as YAML files in the package."""

from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from ....errors import CleverError
from ....student.choices import SegmentationLoss

PretrainRecipe = Literal[
    "clever", "scalr", "scalr_plus", "hilda", "ppkt", "slidr", "slidr-cvpr22", "seal-spatial",
    "superflow", "olivine", "temporal", "temporal+occupancy",
]  # fmt: skip
FinetuneRecipeName = Literal["paper", "scalr"]


def read_recipe(name: str) -> dict[str, Any]:
    """Settings of ``recipes/<name>.yaml`` in the package; none for a name that is not there."""
    file = resources.files("clever.pipeline") / "recipes" / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}


class FinetuneRecipe(BaseModel):
    """What a recipe says of a probe or of full fine-tuning.

    Attributes:
        epochs: passes over the training frames.
        batch_norm: whether there is one before the linear layer.
        augment: whether clouds are augmented and mixed.
        mix3d: probability that two augmented frames of a batch are mixed.
        loss: of the segmentation; None: what suits the student.
        lr: peak learning rate; None: the student's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    batch_norm: bool
    augment: bool
    mix3d: float
    loss: SegmentationLoss | None
    lr: float | None


def finetune_recipe(name: FinetuneRecipeName, mode: str) -> FinetuneRecipe:
    """The recipe `name` of a `mode`: ``probe`` or ``full``.

    Raises:
        CleverError: it has none for this mode.
    """
    content = read_recipe(f"{mode}-{name}")
    if not content:
        raise CleverError(f"`recipe={name}` has nothing for `mode={mode}`; choose another")
    return FinetuneRecipe.model_validate(content)
