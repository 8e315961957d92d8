"""Settings of a pre-training that nothing of the run uses."""

from collections.abc import Callable, Mapping

from ...student.choices import LossTerm
from ..settings.pretrain import PretrainSettings
from ..settings.shared.terms import REGION_TERMS
from .contrast_run import term_weights

CONTRASTS: tuple[LossTerm, ...] = ("pairs", "regions", "class-pairs", "flow", "d2s")
"""Terms with a temperature."""
HEADED: tuple[LossTerm, ...] = (*CONTRASTS, "prototypes", "d2s-cosine")
"""Terms in a common space."""


def idle_settings(settings: PretrainSettings) -> list[str]:
    """A line for every setting that differs from the recipe's and changes nothing in this run."""
    return [
        f"{name} changes nothing in this run: it takes {USES[name][1]}"
        for name in idle_names(settings)
    ]


def idle_names(settings: PretrainSettings) -> list[str]:
    """Names of the settings that differ from the recipe's and change nothing in this run."""
    recipe = PretrainSettings.resolve(None, {"recipe": settings.recipe, "cache": settings.cache})
    return [
        name for name in unused_names(settings) if getattr(settings, name) != getattr(recipe, name)
    ]


def unused_names(settings: PretrainSettings) -> list[str]:
    """Names of all settings that change nothing in this run."""
    return [name for name, (used, _) in USES.items() if not used(settings)]


def _terms(*names: LossTerm) -> Callable[[PretrainSettings], bool]:
    """Whether one of these terms is among a run's."""
    return lambda settings: bool(set(names) & term_weights(settings).keys())


def _mlp(settings: PretrainSettings) -> bool:
    of_distance = settings.head == "mlp" and "distance" in term_weights(settings)
    return of_distance or settings.class_token_weight > 0


def _occupancy(settings: PretrainSettings) -> bool:
    return settings.occupancy_weight > 0


def _latent_occupancy(settings: PretrainSettings) -> bool:
    return _occupancy(settings) and settings.occupancy == "also"


def _passes(settings: PretrainSettings) -> bool:
    return term_weights(settings).keys() != {"distance"}


def _blocks(settings: PretrainSettings) -> bool:
    return settings.student.startswith("ptv3")


def _pairs_of_frames(settings: PretrainSettings) -> bool:
    return settings.batch_size > 1 or not settings.mix3d


_distance = _terms("distance")

OCCUPANCY = "an occupancy_weight above 0"
LATENT = f"occupancy=also and {OCCUPANCY}"

USES: Mapping[str, tuple[Callable[[PretrainSettings], bool], str]] = {
    "head": (_distance, "the term distance"),
    "head_layers": (_mlp, "an MLP head"),
    "head_hidden": (_mlp, "an MLP head"),
    "loss": (_distance, "the term distance"),
    "weighting": (_distance, "the term distance"),
    "regions": (_terms(*REGION_TERMS), "a term of regions"),
    "temperature": (_terms(*CONTRASTS), "a term with a temperature"),
    "contrast_channels": (_terms(*HEADED), "a term with heads of its own"),
    "drawn_pairs": (_terms("pairs", "class-pairs"), "a term of pairs"),
    "pixel_stride": (_terms("regions"), "the term regions"),
    "drawn_cameras": (_passes, "another term than distance"),
    "prototype_steps": (_terms("prototypes"), "the term prototypes"),
    "overlap_radius": (_terms("temporal"), "the term temporal"),
    "dense_sweeps": (_terms("d2s", "d2s-cosine"), "a term d2s"),
    "block_lr": (_blocks, "a PTv3"),
    "mix3d": (_pairs_of_frames, "two frames a step"),
    "occupancy": (_occupancy, OCCUPANCY),
    "occupancy_points": (_occupancy, OCCUPANCY),
    "occupancy_delta": (_occupancy, OCCUPANCY),
    "occupancy_distance": (_occupancy, OCCUPANCY),
    "occupancy_radius": (_latent_occupancy, LATENT),
    "occupancy_neighbours": (_latent_occupancy, LATENT),
}
"""Settings that not all runs use: which do, in code and in words."""
