"""All known teachers."""

from . import (
    aimv2,
    dinov2,
    dinov3,
    efficientnet,
    eupe,
    franca,
    perception_encoder,
    sam2,
    siglip2,
    tips,
)
from .known import KnownTeacher

FAMILIES = (
    dinov2,
    dinov3,
    siglip2,
    tips,
    eupe,
    perception_encoder,
    sam2,
    aimv2,
    franca,
    efficientnet,
)
KNOWN: dict[str, KnownTeacher] = {
    teacher.name: teacher for family in FAMILIES for teacher in family.TEACHERS
}
"""Known teachers by name, in the order of their families."""

DEFAULT_LAYER = "pre-norm"
"""Of other networks: of a ViT its last block before the final norm, of a CNN stride 16."""

_BY_ARCHITECTURE = {
    name: teacher
    for teacher in reversed(KNOWN.values())
    if not teacher.identity
    for name in (teacher.architecture, teacher.architecture.partition(".")[0])
    if "." in name or teacher.untagged
}


def known_teacher(model: str) -> KnownTeacher | None:
    """What is known of a model, by its short name or timm's; None of any other network."""
    return KNOWN.get(model) or _BY_ARCHITECTURE.get(model)


def default_layer(model: str) -> str:
    """The layer that is read of a model unless a user names one."""
    teacher = known_teacher(model)
    return teacher.layer if teacher else DEFAULT_LAYER


def licence_of(model: str) -> str | None:
    """Licence of the weights of a model; None where it is not known here."""
    teacher = known_teacher(model)
    return teacher.licence if teacher else None
