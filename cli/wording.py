"""Settings in messages, named as the flags that set them."""

import re
from collections.abc import Sequence

from ..pipeline.settings.shared.base import JobSettings

_SETTING = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]*))?`")
"""A setting as the library names it: `` `cache` `` or `` `split=all` ``."""


def with_flags(text: str, settings: type[JobSettings], arguments: Sequence[str] = ()) -> str:
    """`text` with every setting of a command named by its flag: `` `split=all` `` becomes ``--split
    all``, or both of ``--train-split`` and ``--val-split`` where the command has these.

    One that is given by position (`arguments`) becomes its place-holder in the help, and one that
    the command does not have keeps its name.
    """

    def flag(match: re.Match[str]) -> str:
        return match[1].upper() if match[1] in arguments else _flag(match[1], match[2], settings)

    return _SETTING.sub(flag, text)


def _flag(name: str, value: str | None, settings: type[JobSettings]) -> str:
    fields = settings.model_fields
    parts = [key for key in fields if key.endswith(f"_{name}")]
    own = [name] if name in fields else parts
    if not own:
        return name if value is None else f"{name}={value}"
    return " or ".join(_typed(key, fields[key].annotation, value) for key in own)


def _typed(name: str, annotation: object, value: str | None) -> str:
    """One flag, with its value as it is typed."""
    flag = name.rstrip("_").replace("_", "-")
    if annotation in (bool, bool | None) and value in ("yes", "no"):
        return f"--{flag}" if value == "yes" else f"--no-{flag}"
    return f"--{flag}" if value is None else f"--{flag} {value}"
