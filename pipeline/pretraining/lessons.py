"""Which layers of a cache teach which stages of a student."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cache import FeatureCache
from ...cache.store.contents import Contents
from ...cache.store.files.remote import any_path
from ...cache.store.records.models import TeacherInfo
from ...errors import CleverError
from ...student.student import stage_name
from ..settings.shared.matches import Match
from ..steps.distillation import Lesson


@dataclass(frozen=True, slots=True)
class LayerMatch:
    """A layer of a store and the decoder stage that learns from it.

    Attributes:
        layer: id of the layer.
        stage, weight: see `Match`.
    """

    layer: str
    stage: int
    weight: float

    @property
    def name(self) -> str:
        """Of the head, under which its loss is logged and its weights are kept."""
        return f"{self.layer}={stage_name(self.stage)}" if self.stage else self.layer

    def __str__(self) -> str:
        return str(Match(self.layer, self.stage, self.weight))


def layer_matches(texts: Sequence[str], cache: str | Path) -> list[LayerMatch]:
    """The matches that `Match` texts mean in a store.

    Raises:
        CleverError: a layer that the store does not have or that several fit, or a match that comes
            twice.
    """
    infos = Contents(any_path(cache)).teachers()
    matches = [
        LayerMatch(_layer(infos, match.layer, str(cache)), match.stage, match.weight)
        for match in map(Match.parse, texts)
    ]
    names = [match.name for match in matches]
    if len(set(names)) < len(names):
        raise CleverError(f"`match` names {', '.join(names)}: give each layer and stage once")
    return matches


def _layer(infos: Sequence[TeacherInfo], name: str, store: str) -> str:
    """The layer of this id, else the only one whose layer of the network has this name or whose id
    begins so."""
    if any(info.id == name for info in infos):
        return name
    fits = [info.id for info in infos if name in _network_layers(info)]
    fits = fits or [info.id for info in infos if info.id.startswith(name)]
    if len(fits) != 1:
        listed = ", ".join(map(_words, infos)) or "none"
        raise CleverError(
            f"`match`: {name!r} fits {len(fits)} of the layers of {store}, which are {listed}; "
            "give the id of one"
        )
    return fits[0]


def _words(info: TeacherInfo) -> str:
    """A layer as a user chooses it."""
    token = " with class token" if info.fingerprint.class_token else ""
    return f"{info.id} ({info.fingerprint.layer}{token})"


def _network_layers(info: TeacherInfo) -> set[str | None]:
    """What the layer is called in its network: canonically, and as it was asked for."""
    return {info.fingerprint.layer, info.request.layer if info.request else None}


def lessons_of(matches: Sequence[LayerMatch], caches: Sequence[FeatureCache]) -> dict[str, Lesson]:
    """What the heads learn from these caches, by their names; every cache at the last stage where
    nothing is matched."""
    ids = [cache.teacher.id for cache in caches]
    matches = matches or [LayerMatch(layer, 0, 1.0) for layer in ids]
    return {
        match.name: Lesson(ids.index(match.layer), match.stage, match.weight)
        for match in matches
        if match.layer in ids
    }
