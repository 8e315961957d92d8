"""What the settings of a pre-training say of its loss terms: the step, its frames, its batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

from ...cache import FeatureCache
from ...cache.store.contents import Contents
from ...cache.store.files.remote import any_path
from ...cache.store.records.models import RegionInfo
from ...cache.store.region_reader import CachedRegions
from ...cache.store.sweep_reader import CachedSweeps
from ...cache.time_steps import step_fault, steps_of
from ...errors import CleverError
from ...student.choices import LossTerm
from ...student.heads import ProjectionHead
from ...student.losses.occupancy import OccupancyHead
from ...student.student import Student
from ..settings.pretrain import PretrainSettings
from ..settings.shared.terms import CLASS_TERMS, REGION_TERMS, WHOLE_SCENES, parse_term
from ..steps.cached_frames import DistillationBatch
from ..steps.contrast import ContrastStep
from ..steps.mixed_frames import MixedFrames
from ..steps.passes import Overlap, PassBatch, PassFrames, PassName
from ..steps.terms import PIXEL_HEADS, TermOptions, Terms
from ..training.batches import Batch
from ..training.seeds import seeded


def term_weights(settings: PretrainSettings) -> dict[LossTerm, float]:
    """Weights of the terms that are added up, by name."""
    return dict(map(parse_term, settings.terms or ("distance",)))


def region_layer(settings: PretrainSettings) -> CachedRegions | None:
    """The regions that the terms need; None where they need none.

    Raises:
        CleverError: the cache has none, several fit, or they are segments and a term needs classes.
    """
    names = term_weights(settings).keys() & set(REGION_TERMS)
    if not names:
        return None
    info = _region_info(settings)
    if info.settings.kind == "segment" and (need := sorted(names & set(CLASS_TERMS))):
        raise CleverError(
            f"the term {need[0]} needs classes, which mean the same in all images, and "
            f"{info.id} holds segments; add a map of classes with from=FOLDER and kind=class "
            "of cache-regions"
        )
    return CachedRegions(settings.caches[0], info.id)


def dense_sweeps(settings: PretrainSettings) -> CachedSweeps | None:
    """The earlier sweeps of the dense pass; None without one.

    Raises:
        CleverError: the cache does not hold them with their pairs.
    """
    if not {"d2s", "d2s-cosine"} & term_weights(settings).keys():
        return None
    return CachedSweeps(settings.caches[0], settings.dense_sweeps, pairs=True)


def input_sweeps(settings: PretrainSettings) -> CachedSweeps | None:
    """The earlier sweeps that are part of every frame's cloud; None: there are none.

    Raises:
        CleverError: the cache does not hold so many, or there are several caches.
    """
    if not settings.input_sweeps:
        return None
    place, *others = settings.caches
    if others:
        raise CleverError("`input_sweeps` are those of one cache; give one `cache`")
    return CachedSweeps(place, settings.input_sweeps)


def passes_of(settings: PretrainSettings) -> tuple[PassName, ...]:
    """What goes through the student beside the frames themselves."""
    terms = term_weights(settings)
    dense: tuple[PassName, ...] = ("dense",) if {"d2s", "d2s-cosine"} & terms.keys() else ()
    if "flow" in terms:
        return *dense, "previous", "next"
    return (*dense, "next") if "temporal" in terms else dense


def neighbour_doubt(settings: PretrainSettings, cache: FeatureCache, frames: Sequence[str]) -> str:
    """What is doubtful about the times of frames, by id, of which each is compared with the next
    one; empty where none is compared, frames have no times, or nothing is doubtful."""
    if not {"previous", "next"} & set(passes_of(settings)):
        return ""
    places = [cache.position(name) for name in frames]
    times = cache.timestamps[places]
    fault = step_fault(steps_of([cache.scenes[place] for place in places], times))
    if not fault or not times.any():
        return ""
    return f"{cache.path}: {fault}; frames are compared with the next one of their scene"


def student_passes(settings: PretrainSettings) -> int:
    """How often a frame of a batch goes through the student in a step, neighbours included."""
    return 1 + len(passes_of(settings))


def with_passes(settings: PretrainSettings, frames: MixedFrames) -> Dataset[Any]:
    """The frames as the settings' step wants them."""
    terms = term_weights(settings)
    if terms.keys() == {"distance"}:
        return frames
    overlap = Overlap(settings.overlap_radius) if "temporal" in terms else None
    return PassFrames(frames.first, passes_of(settings), settings.drawn_cameras, overlap)


def collation(settings: PretrainSettings) -> Callable[[list[Any]], Batch]:
    """Makes a batch of such frames."""
    plain = term_weights(settings).keys() == {"distance"}
    return DistillationBatch.collate if plain else PassBatch.collate


def contrast_step(
    settings: PretrainSettings,
    caches: Sequence[FeatureCache],
    student: Student,
    heads: Mapping[str, ProjectionHead],
    occupancy: OccupancyHead | None,
    options: Mapping[str, Any],
) -> ContrastStep:
    """The step of a run whose terms are not the distance alone.

    Args:
        heads, occupancy, options: see `DistillationStep`.

    Raises:
        CleverError: terms that do not go with other settings or with the cache.
    """
    weights = term_weights(settings)
    weights.pop("distance", None)
    _refuse_conflicts(settings, caches, weights)
    regions = _region_classes(settings, weights)
    with seeded(settings.seed, "terms"):
        terms = Terms(
            weights,
            TermOptions(
                settings.contrast_channels,
                settings.temperature,
                settings.drawn_pairs,
                settings.pixel_stride,
                settings.align_corners,
                regions,
                settings.prototype_steps,
            ),
            student.out_channels,
            caches[0].teacher.channels,
        )
    return ContrastStep(
        student,
        heads,
        occupancy,
        terms=terms,
        passes=passes_of(settings),
        classes=regions,
        **options,
    )


def _region_classes(settings: PretrainSettings, weights: Mapping[LossTerm, float]) -> int:
    """Number of classes of the regions; 0 for segments, or where none are needed."""
    if not weights.keys() & set(REGION_TERMS):
        return 0
    return len(_region_info(settings).settings.classes)


def _region_info(settings: PretrainSettings) -> RegionInfo:
    """The layer of regions that is named, else the only one of the kind that suits the terms, else
    the only one; raises CleverError where it is not to be told."""
    store, name = Contents(any_path(settings.caches[0])), settings.regions
    if name is None:
        classes = term_weights(settings).keys() & set(CLASS_TERMS)
        kind = "class" if classes else "segment"
        fits = [info.id for info in store.regions() if info.settings.kind == kind]
        name = fits[0] if len(fits) == 1 else None
    return store.find_regions(name)


def _refuse_conflicts(
    settings: PretrainSettings, caches: Sequence[FeatureCache], weights: Mapping[LossTerm, float]
) -> None:
    if len(settings.caches) > 1:
        raise CleverError(
            f"the term {next(iter(weights))} learns from one cache; give one `cache`, or leave "
            "`terms` out"
        )
    if settings.centre != "none":
        raise CleverError(
            f"`centre` shifts what the distance compares, and the term {next(iter(weights))} is "
            "not that; give `centre=none`, or leave `terms` out"
        )
    whole = [name for name in WHOLE_SCENES if name in weights]
    if whole and settings.mix3d:
        raise CleverError(
            f"the term {whole[0]} compares whole scenes, so no other may be mixed in: give "
            "`mix3d=0`"
        )
    if "flow" in weights and "temporal" in weights:
        raise CleverError("the terms flow and temporal take other passes; give one of `terms`")
    if {"d2s", "d2s-cosine"} & weights.keys() and settings.view != "all":
        raise CleverError("the term d2s compares whole sweeps; give `view=all`")
    if weights.keys() & PIXEL_HEADS and len(caches) > 1:
        ids = ", ".join(cache.teacher.id for cache in caches)
        raise CleverError(f"contrasts learn from one teacher, not from {ids}; choose one `teacher`")
    if "regions" in weights and caches[0].teacher.tokens != "grid":
        raise CleverError(
            f"{caches[0].teacher.id} holds only tokens near points, and the term regions needs "
            "all: make a layer with `tokens=grid` of cache-teacher"
        )
    if "regions" in weights:
        info = _region_info(settings)
        if settings.pixel_stride > min(info.settings.size):
            raise CleverError(
                f"`pixel_stride={settings.pixel_stride}` goes beyond the maps of {info.id}, "
                f"{info.settings.size[0]}x{info.settings.size[1]} pixels; give a smaller one"
            )
