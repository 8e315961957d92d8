"""Settings of a job: declared once, filled from a YAML file and from flags, saved beside the
result."""

import difflib
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from ....errors import CleverError
from ....files import atomic_write
from .yaml_files import read_yaml

SETTINGS_FILE = "settings.yaml"

WORDS = {
    "Input should be a valid integer": "should be a whole number",
    "Input should be a valid number": "should be a number",
    "Input should be a valid string": "should be text (in quotes)",
    "Input should be a valid boolean": "should be true or false",
    "Input is not a valid path for <class 'pathlib.Path'>": "should be a path",
    "Input is not a valid path for <class 'pathlib._local.Path'>": "should be a path",  # 3.13
    "Input should": "should",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    ", unable to interpret input": "",
    ", got a number with a fractional part": "",
}
"""Pydantic's words and ours."""

Groups = dict[str, tuple[str, ...]]
"""Names of fields by heading."""


class JobSettings(BaseModel):
    """Base of every job's settings; field names are the flags' names with underscores."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    groups: ClassVar[Groups] = {}
    """Fields by the heading under which the command's help shows them, in its order."""
    older: ClassVar[dict[str, Any]] = {}
    """What was done before there was a choice: values of fields that older recorded settings
    lack."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_for_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic takes true for 1, and YAML reads yes and on as true."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        numbers_alone = _has(annotation, (int, float)) and not _has(annotation, (bool,))
        values = value if isinstance(value, list | tuple) else [value]
        if numbers_alone and any(isinstance(item, bool) for item in values):
            raise ValueError("should be a number")
        return value

    @classmethod
    def flag_groups(cls) -> Groups:
        """Every field once, by heading: those that the class names, then those of its bases, then
        all others under ``Options``."""
        groups: Groups = {}
        named: set[str] = set()
        for part in cls.__mro__:
            for heading, names in vars(part).get("groups", {}).items():
                fresh = tuple(name for name in names if name not in named)
                groups[heading] = (*groups.get(heading, ()), *fresh)
                named |= set(fresh)
        others = tuple(name for name in cls.model_fields if name not in named)
        return {**groups, **({"Options": others} if others else {})}

    @classmethod
    def resolve(cls, config: Path | None, overrides: dict[str, Any]) -> Self:
        """Settings from the YAML file `config`, overridden by every flag that was given.

        Args:
            config: YAML file with a mapping of field names, or None.
            overrides: flag values by field name; None means that the flag was not given.

        Raises:
            CleverError: unreadable file, unknown field or value out of range, naming where it came
                from.
        """
        file_values = read_yaml(config) if config else {}
        flags = {name: value for name, value in overrides.items() if value is not None}
        values = {**file_values, **flags}
        for name, value in values.items():
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                source = f"`{name}`" if name in flags else f"{name} in {config}"
                raise CleverError(f"{source} is empty; give a value or leave it out")
        try:
            return cls.model_validate({**cls.defaults(values), **values})
        except ValidationError as error:
            problems = [
                _explain(cls, detail, config, flags) for detail in error.errors(include_url=False)
            ]
            raise CleverError("; ".join(problems)) from None

    @classmethod
    def recorded(cls, path: Path) -> Self:
        """Settings that `save_settings` wrote, now or before some of the fields were there.

        Raises:
            CleverError: as `resolve`; or the settings are of another command.
        """
        written = read_yaml(path)
        if strange := [name for name in written if name not in cls.model_fields]:
            raise CleverError(
                f"{path} holds settings of another command, or of another version: "
                f"{', '.join(map(str, strange[:3]))} is nothing that is set here; choose another "
                "folder"
            )
        return cls.resolve(
            path, {name: value for name, value in cls.older.items() if name not in written}
        )

    @classmethod
    def defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Values that take the place of the class's defaults where others are given."""
        return {}

    def decided(self, **values: Any) -> Self:
        """These settings with `values` for what the user left open, checked anew: what a run
        records."""
        return type(self).model_validate({**dict(self), **values})

    def differences(self, other: Self, ignore: frozenset[str] = frozenset()) -> list[str]:
        """``field: theirs -> ours`` for every field that differs from `other`."""
        ours, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return [
            f"{name}: {theirs[name]} -> {ours[name]}"
            for name in ours
            if ours[name] != theirs[name] and name not in ignore
        ]


def save_settings(settings: JobSettings, folder: Path) -> None:
    """Write `settings` to ``settings.yaml`` in `folder`; `JobSettings.recorded` reads it back."""
    write_settings(settings.model_dump(mode="json"), folder)


def write_settings(content: dict[str, Any], folder: Path) -> None:
    """Write values by name to ``settings.yaml`` in `folder`."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    atomic_write(folder / SETTINGS_FILE, text)


def recorded_values(folder: Path) -> dict[str, Any]:
    """What `save_settings` wrote in `folder`, unchecked: it may be of another version.

    Raises:
        CleverError: the file is damaged.
    """
    return read_yaml(folder / SETTINGS_FILE)


def _explain(
    cls: type[JobSettings], detail: Any, config: Path | None, flags: dict[str, Any]
) -> str:
    """One pydantic error as a line: where the value came from, what it was, what is allowed."""
    name = str(detail["loc"][0]) if detail["loc"] else "settings"
    setting = f"`{name}`"
    source = setting if name in flags or config is None else f"{name} in {config}"
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name.lower().replace("-", "_"), cls.model_fields, n=3)
        if close:
            return f"unknown setting {source}; did you mean {' or '.join(close)}?"
        return f"unknown setting {source}; there are {', '.join(cls.model_fields)}"
    if detail["type"] == "missing":
        return f"{setting} is required"
    value = detail["input"]
    if value is None:
        return f"{source} has no value; give one or leave it out"
    reason = str(detail["msg"]).removeprefix("Value error, ")
    for pydantic_words, words in WORDS.items():
        reason = reason.replace(pydantic_words, words)
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{source}: {reason}" if not detail["loc"] else f"{source} is {shown}: {reason}"


def _has(annotation: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a field's type is one of `kinds`, or has one among its parts."""
    return annotation in kinds or any(_has(part, kinds) for part in get_args(annotation))
