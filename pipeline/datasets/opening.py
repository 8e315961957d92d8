"""Opening a dataset: from the settings of a job, or by its name."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import CleverError
from ...names import name_fault
from ...words import quantity
from ..settings.shared.dataset import SHARED, DatasetPart
from .base import LidarDataset
from .registry import dataset_class

_MEMBERS = (*LidarDataset.__annotations__, "__len__", "frame", "points", "has_labels", "labels")


def open_dataset(settings: DatasetPart, name: str) -> LidarDataset:
    """The frames that a job's settings name.

    A default of the job, such as ``--split train``, is left out where the dataset does not know the
    setting; what a user has changed never is.

    Args:
        name: kind of dataset; a field of most settings, and told by the store or the run in others.

    Raises:
        CleverError: as `build_dataset`.
    """
    understood = _keywords(dataset_class(name))
    parameters = {
        word: getattr(settings, word)
        for word in SHARED
        if word in understood or getattr(settings, word) != settings.default_of(word)
    }
    return build_dataset(name, settings.data_root, options=settings.options, **parameters)


def takes(name: str, choice: str) -> bool:
    """Whether the constructor of a dataset has a parameter of that name."""
    return choice in _keywords(dataset_class(name))


def build_dataset(
    name: str,
    root: Path | str | None,
    *,
    version: str | None = None,
    split: str | None = None,
    sequences: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    options: Mapping[str, str] | None = None,
) -> LidarDataset:
    """Open the dataset called `name`; None leaves a choice to the dataset.

    Args:
        name: a name of the registry, or ``package.module:Class``.
        root: dataset folder.
        version: which of several releases under `root`.
        split: ``train``, ``val``, ``all`` or whatever the dataset has.
        sequences: drives by name.
        cameras: channels to read, in this order.
        options: what the dataset takes beyond these, by name.

    Raises:
        CleverError: unknown name, no such folder, a choice that the dataset does not know, an
            option that it lacks or needs, or what the dataset itself reports.
    """
    dataset = dataset_class(name)
    if root is None or not Path(root).is_dir():
        missing = "no dataset folder given"
        if root is not None:
            fault = "is a file" if Path(root).is_file() else "does not exist"
            missing = f"dataset folder {root} {fault}"
        raise CleverError(f"{missing}; pass `data_root` or set CLEVER_DATA_ROOT")
    choices = {
        "version": version,
        "split": split,
        "sequences": sequences or None,
        "cameras": cameras or None,
    }
    choices = {word: value for word, value in choices.items() if value is not None}
    options = options or {}
    _refuse_unknown(dataset, choices, options)
    opened = dataset(Path(root), **choices, **options)  # pyright: ignore[reportCallIssue]
    _check(opened)
    if not len(opened):
        raise CleverError(
            f"{opened.name} has no frames in {root} for this choice; pass another `data_root`, or "
            "choose other frames"
        )
    return opened


def _keywords(dataset: type[LidarDataset]) -> dict[str, inspect.Parameter]:
    """Parameters of the constructor after the root, by name."""
    _, *parameters = inspect.signature(dataset).parameters.values()
    return {parameter.name: parameter for parameter in parameters}


def _refuse_unknown(
    dataset: type[LidarDataset], choices: Mapping[str, object], options: Mapping[str, str]
) -> None:
    """Raise CleverError for what the constructor does not take, or needs and does not get."""
    name, keywords = dataset.name, _keywords(dataset)
    for word in choices:
        if word not in keywords:
            offered = [f"`{shared}`" for shared in SHARED if shared in keywords]
            instead = f" and choose with {' and '.join(offered)}" if offered else ""
            plural = word if word.endswith("s") else f"{word}s"
            raise CleverError(f"{name} has no {plural}; leave `{word}` out{instead}")
    own = {word: keyword for word, keyword in keywords.items() if word not in SHARED}
    option_list = f"it has {', '.join(own)}" if own else "it has none"
    for option in options:
        if option not in own:
            raise CleverError(f"{name} has no dataset option {option}; {option_list}")
    for word, keyword in own.items():
        if keyword.default is keyword.empty and word not in options:
            raise CleverError(f"{name} needs `dataset_option={word}=VALUE`; {option_list}")


def _check(dataset: LidarDataset) -> None:
    """Raise CleverError for a dataset that jobs could not work with."""
    lacking = [member for member in _MEMBERS if not hasattr(dataset, member)]
    if lacking:
        raise CleverError(
            f"the class of {dataset.name} lacks {', '.join(lacking)}; see CONTRIBUTING.md, 'Add a "
            "dataset'"
        )
    count = len(dataset)
    if not count == len(dataset.frame_ids) == len(dataset.scenes):
        raise CleverError(
            f"{dataset.name} has {quantity(count, 'frame')}, {len(dataset.frame_ids)} ids and "
            f"{quantity(len(dataset.scenes), 'scene')}; its class must give one of each a frame"
        )
    _check_names(dataset)
    if len(set(dataset.frame_ids)) != count:
        raise CleverError(f"{dataset.name} gives an id to several frames; its ids must differ")


def _check_names(dataset: LidarDataset) -> None:
    """Raise CleverError for names on which tables, logs and lists of frames would break."""
    names = {
        "frame": dataset.frame_ids,
        "scene": tuple(dict.fromkeys(dataset.scenes)),
        "camera": dataset.cameras,
        "class": dataset.class_names,
    }
    for kind, texts in names.items():
        for text in texts:
            if fault := name_fault(text):
                raise CleverError(
                    f"{dataset.name}: the name of the {kind} {text!r} {fault}, which tables and "
                    "lists cannot hold; rename it"
                )
    for kind, texts in (("frame", dataset.frame_ids), ("scene", dataset.scenes)):
        if not all(texts):
            raise CleverError(
                f"{dataset.name} has a {kind} without a name; its names must not be empty"
            )
