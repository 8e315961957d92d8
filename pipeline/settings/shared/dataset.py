"""Which frames of which dataset: settings that every job with a dataset shares."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ...datasets.registry import check_name
from .base import JobSettings
from .fields import Names

SHARED = ("version", "split", "sequences", "cameras")
"""Choices that all datasets are offered; each understands those that its constructor takes."""

DatasetName = Annotated[str, AfterValidator(check_name)]
"""A name of the registry, or ``package.module:Class``."""


def _environment_root() -> str | None:
    return os.environ.get("CLEVER_DATA_ROOT") or None  # an empty one is none


DataRoot = Annotated[Path | None, Field(default_factory=_environment_root, validate_default=True)]
"""Dataset folder; the environment variable CLEVER_DATA_ROOT unless given."""


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _pairs(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no ``name=value``, and a name that comes twice."""
    names = [text.partition("=")[0].strip() for text in values]
    for text, name in zip(values, names, strict=True):
        if "=" not in text or not name.isidentifier():
            raise ValueError(f"{text!r} should be NAME=VALUE")
        if names.count(name) > 1:
            raise ValueError(f"{name} is given {names.count(name)} times")
    return values


Options = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), AfterValidator(_pairs)]
"""``NAME=VALUE``, several times."""


class DatasetPlace(JobSettings):
    """Where a dataset lies and how it is to be read."""

    data_root: DataRoot
    """Dataset folder; default: the environment variable CLEVER_DATA_ROOT."""
    version: str | None = None
    """Release, for datasets that have several: nuScenes' folder of tables; default: v1.0-trainval
    if it is there, else the only one."""
    cameras: Names | None = None
    """Channels of the cameras to read, with commas, in this order, for datasets that have several;
    default: the dataset's own."""
    dataset_option: Options | None = None
    """NAME=VALUE: a setting that this kind of dataset has beyond the others; may repeat."""

    @property
    def options(self) -> dict[str, str]:
        """Values of `dataset_option` by name."""
        pairs = [text.partition("=") for text in self.dataset_option or ()]
        return {name.strip(): value.strip() for name, _, value in pairs}


class DatasetPart(DatasetPlace):
    """Frames of a dataset whose kind is told elsewhere: by a store, a run or a field."""

    split: str = "train"
    """Official split: train, val, test or all."""
    sequences: Names | None = None
    """Drives by name, with commas, for datasets that have them, as SemanticKITTI; they win over the
    split."""

    @classmethod
    def default_of(cls, field: str) -> Any:
        """The value that a field has unless it is given."""
        return cls.model_fields[field].default


class HeldOutPart(DatasetPart):
    """Frames to measure on."""

    split: str = "val"
    """Official split: train, val, test or all."""


class WholePart(DatasetPart):
    """All frames that there are."""

    split: str = "all"
    """Official split: train, val, test or all."""


class DatasetSettings(DatasetPart):
    """Frames of a dataset, all told."""

    dataset: DatasetName = "nuscenes"
    """Kind of dataset: nuscenes, semantickitti or another of docs/datasets.md, folder (your own, by
    its drive.yaml), one of an installed package, or package.module:Class."""


class WholeDatasetSettings(WholePart, DatasetSettings):
    """All frames of a dataset, all told."""
