"""Cameras of a dataset chosen by name."""

from collections.abc import Sequence

from ....errors import CleverError


def choose_cameras(
    dataset: str,
    cameras: Sequence[str] | None,
    default: Sequence[str],
    others: Sequence[str] = (),
) -> tuple[str, ...]:
    """The cameras asked for, in their order, or the default ones.

    Args:
        dataset: its name, for errors.
        others: cameras that it has beside the default ones.

    Raises:
        CleverError: a camera that the dataset does not have, or one named twice.
    """
    names, offered = tuple(cameras or default), (*default, *others)
    if unknown := [name for name in names if name not in offered]:
        raise CleverError(
            f"{dataset} has no camera {', '.join(unknown)}; choose `cameras` among "
            f"{', '.join(offered)}"
        )
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise CleverError(f"`cameras` names {', '.join(repeated)} twice; name each once")
    return names
