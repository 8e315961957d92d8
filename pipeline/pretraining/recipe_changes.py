"""In what a pre-training differs from its recipe."""

from ..results.setting_text import setting_text
from ..settings.pretrain import PretrainSettings
from .idle_settings import idle_names

GROUPS = ("Network", "Distillation", "Contrast", "Occupancy", "Optimiser")
"""Groups of the settings that decide what is learnt, and how."""
TOLD = frozenset(
    {"recipe", "student", "ptv3_form", "match", "targets", "centre", "points"}
    | {"epochs", "batch_size"}
)
"""Those of them that a protocol names by themselves."""


def recipe_changes(settings: PretrainSettings) -> list[str]:
    """``head linear``, ``lr 0.003``: settings that differ from the recipe's and change something,
    but those that a protocol names by themselves."""
    recipe = PretrainSettings.resolve(None, {"recipe": settings.recipe, "cache": settings.cache})
    groups, idle = PretrainSettings.flag_groups(), idle_names(settings)
    return [
        f"{name} {setting_text(getattr(settings, name))}"
        for group in GROUPS
        for name in groups[group]
        if name not in TOLD and name not in idle
        if getattr(settings, name) != getattr(recipe, name)
    ]
