"""The stores of a pre-training run, opened by the layers that teach."""

from ...cache import FeatureCache
from ...cache.choices import INTERPOLATED
from ...errors import CleverError
from ..settings.pretrain import PretrainSettings
from .lessons import layer_matches
from .several_caches import (
    agreeing_layer,
)


def open_stores(settings: PretrainSettings) -> list[list[FeatureCache]]:
    """Every cache as `open_teachers` opens the first: the others by the layers that agree with its
    in all but image size and storage.

    Raises:
        CleverError: as `open_teachers`; a cache has no such layer, or is named twice.
    """
    places = [str(place) for place in settings.caches]
    if len(set(places)) < len(places):
        raise CleverError(f"`cache` names {', '.join(places)}: give each once")
    first = open_teachers(settings)
    others = [
        [FeatureCache(place, agreeing_layer(cache.teacher, place)) for cache in first]
        for place in settings.caches[1:]
    ]
    for cache in (cache for caches in others for cache in caches):
        _check_interpolation(settings, cache)
    return [first, *others]


def open_teachers(settings: PretrainSettings) -> list[FeatureCache]:
    """The first cache, once for each layer that teaches: those matched, else those of `teacher`."""
    place = settings.caches[0]
    names = settings.teacher or (None,)
    if settings.match:
        matched = dict.fromkeys(each.layer for each in layer_matches(settings.match, place))
        if settings.teacher and set(settings.teacher) != matched.keys():
            raise CleverError(
                "`match` says which layers teach, and `teacher` names others; leave one of them out"
            )
        names = tuple(matched)
    caches = [FeatureCache(place, name) for name in names]
    for cache in caches:
        _check_interpolation(settings, cache)
    ids = [cache.teacher.id for cache in caches]
    if len(set(ids)) < len(ids):
        raise CleverError(f"`teacher` names {', '.join(ids)}: give each teacher once")
    return caches


def _check_interpolation(settings: PretrainSettings, cache: FeatureCache) -> None:
    """Whether a layer's features of pairs were interpolated as the run would.

    Raises:
        CleverError: they were not.
    """
    if settings.centre == "patches" and cache.teacher.tokens in INTERPOLATED:
        raise CleverError(
            f"{cache.teacher.id} of {cache.path} holds features of pairs and knows no patches; "
            "choose `centre=frames`"
        )
    own = INTERPOLATED.get(cache.teacher.tokens, settings.align_corners)
    if own != settings.align_corners:
        raise CleverError(
            f"{cache.teacher.id} of {cache.path} holds features interpolated with "
            f"`align_corners={'yes' if own else 'no'}`; choose that, or make a layer with other "
            "`tokens`"
        )


def class_token_teacher(settings: PretrainSettings, caches: list[FeatureCache]) -> int | None:
    """Which of the caches gives class tokens: the first one that has any; None without that loss.

    Raises:
        CleverError: none of them has.
    """
    if not settings.class_token_weight:
        return None
    for number, cache in enumerate(caches):
        if cache.teacher.fingerprint.class_token:
            return number
    ids = ", ".join(cache.teacher.id for cache in caches)
    raise CleverError(
        f"{caches[0].path} holds no class tokens of {ids}; make a layer that does with "
        "`class_token=yes` of cache-teacher, or give `class_token_weight=0`"
    )


def matched_layers(settings: PretrainSettings) -> tuple[str, ...] | None:
    """The settings' matches with the ids of the layers."""
    if not settings.match:
        return None
    return tuple(map(str, layer_matches(settings.match, settings.caches[0])))
