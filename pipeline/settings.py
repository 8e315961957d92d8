"""Settings of a job: declared once, filled from a YAML file and from flags, saved beside the result."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from ..errors import CleverError
from ..files import atomic_write

SETTINGS_FILE = "settings.yaml"

Count = Annotated[int, Field(ge=1)]
Device = Literal["auto", "cpu", "cuda"]
DatasetName = Literal["nuscenes", "semantickitti"]


def _names(value: object) -> object:
    """Accept ``"00,08"`` for a list; refuse numbers, because YAML reads 010 as 8 and 00 as 0."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, int) or (isinstance(value, list | tuple) and any(isinstance(item, int) for item in value)):
        raise ValueError("put each name in quotes, as in ['00', '08']")
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [part.strip() for item in value for part in item.split(",") if part.strip()]
    return value


def _image_size(value: object) -> object:
    """Accept ``"224x448"``: height x width."""
    if isinstance(value, str):
        parts = value.lower().split("x")
        if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
            raise ValueError("should be HEIGHTxWIDTH in pixels, as in 224x448")
        return tuple(int(part) for part in parts)
    return value


ImageSize = Annotated[
    tuple[int, int], BeforeValidator(_image_size), PlainSerializer(lambda size: "{}x{}".format(*size))
]
"""Height and width in pixels, written ``224x448``."""

Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Names (of scenes, sequences, teachers): a list of strings, or strings with commas."""


def _environment_root() -> str | None:
    return os.environ.get("CLEVER_DATA_ROOT")


DataRoot = Annotated[Path | None, Field(default_factory=_environment_root, validate_default=True)]
"""Dataset folder; the environment variable CLEVER_DATA_ROOT unless given."""


class JobSettings(BaseModel):
    """Base of every job's settings; field names are the flags' names with underscores."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def resolve(cls, config: Path | None, overrides: dict[str, Any]) -> Self:
        """Settings from the YAML file `config`, overridden by every flag that was given.

        Args:
            config: YAML file with a mapping of field names, or None.
            overrides: flag values by field name; None means that the flag was not given.

        Raises:
            CleverError: unreadable file, unknown field or value out of range, naming where it came from.
        """
        written = _read_yaml(config) if config else {}
        flags = {name: value for name, value in overrides.items() if value is not None}
        given = {**written, **flags}
        try:
            return cls.model_validate({**cls.defaults(given), **given})
        except ValidationError as error:
            problems = [_explain(cls, detail, config, flags) for detail in error.errors(include_url=False)]
            raise CleverError("; ".join(problems)) from None

    @classmethod
    def defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Values that take the place of the class's defaults where others are given."""
        return {}

    def differences(self, other: Self, ignore: frozenset[str] = frozenset()) -> list[str]:
        """``field: theirs -> ours`` for every field that differs from `other`."""
        ours, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return [
            f"{name}: {theirs[name]} -> {ours[name]}"
            for name in ours
            if ours[name] != theirs[name] and name not in ignore
        ]


def save_settings(settings: JobSettings, folder: Path) -> None:
    """Write `settings` to ``settings.yaml`` in `folder`; `JobSettings.resolve` reads it back."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    atomic_write(folder / SETTINGS_FILE, text)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CleverError(f"cannot read settings {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CleverError(f"settings {path} are not valid YAML: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CleverError(f"settings {path} must be a list of `name: value` lines")
    return content


def _explain(cls: type[JobSettings], detail: Any, config: Path | None, flags: dict[str, Any]) -> str:
    """One pydantic error as a line: where the value came from, what it was, what is allowed."""
    name = str(detail["loc"][0]) if detail["loc"] else "settings"
    flag = "--" + name.replace("_", "-")
    source = flag if name in flags or config is None else f"{name} in {config}"
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, cls.model_fields, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(cls.model_fields)}"
        return f"unknown setting {source}: {hint}"
    if detail["type"] == "missing":
        return f"{flag} is required"
    reason = str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    return f"{source}: {reason}" if not detail["loc"] else f"{source} is {detail['input']!r}: {reason}"
