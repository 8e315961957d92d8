"""What must hold of several caches that one student learns from, and what a run notes of them."""

import hashlib
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from ...cache import FeatureCache
from ...cache.store.contents import Contents
from ...cache.store.files.remote import any_path
from ...cache.store.layers import POINTS_ID
from ...cache.store.point_statistics import total_intensity
from ...cache.store.records.commits import records_by_row
from ...cache.store.records.models import TeacherInfo
from ...errors import CleverError
from ...student.clouds.intensity import IntensityNorm
from ...words import quantity
from ..settings.pretrain import PretrainSettings
from ..steps.cached_frames import PairedFrames
from ..steps.cached_part import CachedPart, cached_part
from ..steps.mixed_frames import MixedFrames
from ..training.mixture import MixedStore, Mixture

SEVERAL = ("mixing", "cache_weight", "batches", "mix3d_across")
"""Settings that say something with several caches only."""
MAY_DIFFER = frozenset(
    {"image_size", "precision", "class_token", "codec", "tokens", "reencoded_from"}
)
"""Fields of a fingerprint in which layers that teach together may differ."""


def disagreements(first: TeacherInfo, other: TeacherInfo) -> list[str]:
    """``field A against B`` for all that decides what features mean and differs in two layers."""
    ours, theirs = first.fingerprint.values(), other.fingerprint.values()
    names = [name for name in {**ours, **theirs} if name not in MAY_DIFFER]
    return [
        f"{name} {ours.get(name)} against {theirs.get(name)}"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]


def agreeing_layer(first: TeacherInfo, place: str | Path) -> str:
    """Id of the layer of a store that teaches what `first`, of another store, does.

    Of several that agree with it, the one of the same id or else of the same image size.

    Raises:
        CleverError: none agrees, or several do.
    """
    infos = Contents(any_path(place)).teachers()
    agreeing = [info for info in infos if not disagreements(first, info)]
    if not agreeing:
        if not infos:
            raise CleverError(f"{place} holds no teacher's layer; run cache-teacher for it")
        nearest = min(infos, key=lambda info: len(disagreements(first, info)))
        raise CleverError(
            f"{place} holds no layer that teaches as {first.id} of the first `cache` does; "
            f"{nearest.id} differs in {'; '.join(disagreements(first, nearest))}"
        )
    for alike in (
        [info for info in agreeing if info.id == first.id],
        [info for info in agreeing if info.fingerprint.image_size == first.fingerprint.image_size],
        agreeing,
    ):
        if len(alike) == 1:
            return alike[0].id
    ids = ", ".join(info.id for info in agreeing)
    raise CleverError(
        f"{place} holds several layers that teach as {first.id} does ({ids}); drop all but one, or "
        "give the first `cache` a layer of the same image size"
    )


def store_names(caches: Sequence[FeatureCache]) -> list[str]:
    """A name for each store, all different: of its dataset, else of its folder, else with its
    number."""
    for names in (
        [cache.name for cache in caches],
        [Path(cache.path).stem for cache in caches],
    ):
        if len(set(names)) == len(names):
            return names
    return [f"{cache.name} {number}" for number, cache in enumerate(caches, 1)]


def content_digest(frames: PairedFrames) -> str:
    """sha256 of what a store gives to a run: its dataset, cameras, teachers, frames and their
    numbers of pairs."""
    first = frames.caches[0]
    content = [
        first.name,
        first.cameras,
        [cache.teacher.fingerprint.sha256 for cache in frames.caches],
        [[name, frames.pair_count(index)] for index, name in enumerate(frames.ids)],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def mixture(settings: PretrainSettings, frames: MixedFrames) -> Mixture | None:
    """How the frames of several stores alternate; None for one, which has no choice.

    Raises:
        CleverError: a choice where there is none, weights that do not belong to the mixing or are
            not one for each store, or two stores of the same content.
    """
    parts = frames.parts
    if len(parts) == 1:
        fields = type(settings).model_fields
        changed = [name for name in SEVERAL if getattr(settings, name) != fields[name].default]
        if changed:
            raise CleverError(
                f"`{changed[0]}` is about several caches, and `cache` names one; leave it out"
            )
        return None
    weights = settings.cache_weight
    if (weights is not None) != (settings.mixing == "ratio"):
        raise CleverError(
            "`cache_weight` says how often the caches come with `mixing=ratio`; give both or none"
        )
    if weights is not None and len(weights) != len(parts):
        raise CleverError(
            f"`cache_weight` has {len(weights)} numbers for {len(parts)} caches; give one for each"
        )
    identities = [content_digest(part) for part in parts]
    _refuse_copies(parts, identities)
    own = [1.0 if settings.mixing == "balanced" else float(len(part)) for part in parts]
    pair = 2 if settings.mix3d > 0 and not settings.mix3d_across else 1
    return Mixture(
        tuple(
            MixedStore(len(part), weight, identity)
            for part, weight, identity in zip(parts, weights or own, identities, strict=True)
        ),
        settings.batch_size if settings.batches == "one-cache" else pair,
    )


def _refuse_copies(parts: Sequence[PairedFrames], identities: Sequence[str]) -> None:
    """Raise CleverError where two stores give the same: one under two paths, or a copy. Their
    frames would count, and be drawn alike, twice."""
    first: dict[str, str] = {}
    for part, identity in zip(parts, identities, strict=True):
        path = str(part.caches[0].path)
        if earlier := first.get(identity):
            raise CleverError(
                f"{earlier} and {path} hold the same frames of the same teacher; give one `cache` "
                "of them, or a weight by `mixing=ratio`"
            )
        first[identity] = path


def common_frames(parts: Sequence[PairedFrames]) -> list[str]:
    """A line for each two stores of one dataset that have frames in common: of the same id, and
    with points in the same bounds. Such a frame is drawn from both."""
    lines = []
    for one, other in combinations(parts, 2):
        if one.caches[0].name != other.caches[0].name:
            continue
        own_ids = set(one.ids)
        names = [
            name
            for name in other.ids
            if name in own_ids and np.array_equal(one.bounds(name), other.bounds(name))
        ]
        if names:
            lines.append(
                f"{one.caches[0].path} and {other.caches[0].path} have "
                f"{quantity(len(names), 'frame')} in common, e.g. {names[0]}, drawn from both"
            )
    return lines


def cached_parts(
    settings: PretrainSettings, stores: Sequence[Sequence[FeatureCache]]
) -> list[CachedPart]:
    """The frames of each store that are trained on.

    Raises:
        CleverError: a store has none of these, or scenes of one of several stores were named.
    """
    scenes, sequences = settings.scenes or (), settings.sequences or ()
    if len(stores) > 1 and (scenes or sequences):
        raise CleverError(
            "`scenes` and `sequences` belong to one dataset; with several caches choose a `split`"
        )
    return [cached_part(caches[0], settings.split, scenes, sequences) for caches in stores]


def part_words(parts: Sequence[CachedPart], frames: MixedFrames) -> str:
    """Which frames are trained on, store by store."""
    if len(parts) == 1:
        return parts[0].words
    return "; ".join(
        f"{name}: {part.words}" for name, part in zip(frames.names, parts, strict=True)
    )


def mixing_words(settings: PretrainSettings, frames: MixedFrames) -> str:
    """How the frames of several caches alternate; empty for one."""
    if len(frames.parts) == 1:
        return ""
    weights = ":".join(f"{weight:g}" for weight in settings.cache_weight or ())
    own = f"{settings.mixing} {weights}".strip()
    across = ", Mix3D across caches" if settings.mix3d_across and settings.mix3d else ""
    return f"mixing {own}, {settings.batches} batches{across}"


def intensity_words(settings: PretrainSettings) -> str:
    """How intensities are given to the student."""
    dropout = settings.intensity_dropout
    return f"{settings.intensity}{f' with dropout {dropout:g}' if dropout else ''}"


def intensity_norm(frames: PairedFrames, name: str) -> IntensityNorm:
    """Statistics of the intensities of a store's frames.

    Raises:
        CleverError: the store does not say them of every frame.
    """
    cache = frames.caches[0]
    contents = Contents(any_path(cache.path))
    records = records_by_row(contents.commits(POINTS_ID)).values()
    ids = set(frames.ids)
    own = [record for record in records if record.id in ids]
    unknown = [record.id for record in own if record.points and record.intensity is None]
    total = total_intensity(own)
    if unknown or total is None:
        raise CleverError(
            f"{cache.path} does not say how bright {len(unknown) or len(own)} of its frames are, "
            "as stores of older versions; make it again, or choose `intensity=raw`"
        )
    return IntensityNorm(name, total.mean, total.std)
