"""What is known of a teacher beside its network; imports neither torch nor timm."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

Positions = Literal["timm", "dinov2", "dinov3"]
"""Which official rule places tokens of another image size, see `positions`; ``timm``: timm's own is
taken."""


def _no_options(_: "State | None") -> dict[str, Any]:
    return {}


def as_it_is(state: "State", _: str) -> "State":
    """A file that timm's own conversion takes."""
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTeacher:
    """One teacher.

    Attributes:
        name: how a user calls it.
        architecture: timm's name, with the tag of its weights.
        family: the name of the family, for people.
        licence: of the weights, and where it is to be read.
        layer: what is read unless a user says otherwise, see `TeacherSettings.layer`.
        positions: see `Positions`.
        untagged: whether timm's name without the tag means these weights as well.
        identity: name of the network in a fingerprint, where it is not timm's architecture as it
            stands.
        unused: parts of timm's network that no feature depends on; they are not loaded.
        options: further arguments of timm's constructor, from the tensors of a file of weights or
            None where there is no file.
        prepare: brings the keys of the official file to what timm's own conversion takes; given
            its tensors and `name`, raises ValueError where they are not of this teacher.
        download: where the official file lies, for weights that timm's hub does not have.
    """

    name: str
    architecture: str
    family: str
    licence: str
    layer: str
    positions: Positions = "timm"
    untagged: bool = True
    identity: str | None = None
    unused: tuple[str, ...] = ()
    options: "Callable[[State | None], Mapping[str, Any]]" = _no_options
    prepare: "Callable[[State, str], State]" = as_it_is
    download: str | None = None
