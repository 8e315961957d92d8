"""In what a pre-training differs from its recipe, and from another one."""

from ..results.run_folder import UNRECORDED
from ..results.setting_text import setting_text
from ..settings.pretrain import PretrainSettings
from .idle_settings import idle_names, unused_names

GROUPS = ("Network", "Distillation", "Contrast", "Occupancy", "Optimiser")
"""Groups of the settings that decide what is learnt, and how."""
TOLD = frozenset(
    {"recipe", "student", "ptv3_form", "match", "targets", "centre", "points"}
    | {"epochs", "batch_size"}
)
"""Those of them that a protocol names by themselves."""


def changed_names(settings: PretrainSettings) -> list[str]:
    """Names of settings that differ from the recipe's and change something, but those that a
    protocol names by themselves."""
    recipe = PretrainSettings.resolve(None, {"recipe": settings.recipe, "cache": settings.cache})
    groups, idle = PretrainSettings.flag_groups(), idle_names(settings)
    return [
        name
        for group in GROUPS
        for name in groups[group]
        if name not in TOLD and name not in idle
        if getattr(settings, name) != getattr(recipe, name)
    ]


def recipe_changes(settings: PretrainSettings) -> list[str]:
    """``head linear``, ``lr 0.003``: these settings with their values."""
    return [f"{name} {_text(settings, name)}" for name in changed_names(settings)]


def told_settings(settings: PretrainSettings) -> dict[str, str]:
    """Every setting that decides a run beside its seed, as it is typed, without those that change
    nothing in it, and without the place of its cache, which decides nothing either."""
    untold = {"seed", "cache", *UNRECORDED, *unused_names(settings)}
    names = [name for name in type(settings).model_fields if name not in untold]
    return {name: _text(settings, name) for name in names}


def _text(settings: PretrainSettings, name: str) -> str:
    value = getattr(settings, name)
    return "default" if value is None else setting_text(value)
