"""YAML files of settings: ``name: value`` lines, each name once."""

from pathlib import Path
from typing import Any

import yaml

from ....errors import CleverError

SWITCHES = {True: "on, yes or true", False: "off, no or false"}
"""What YAML reads as a truth value, in a key too."""


class RepeatedKeyError(Exception):
    """A key comes twice."""


class _Loader(yaml.SafeLoader):
    """YAML's plain values alone; a key that comes twice is an error instead of the last of them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise RepeatedKeyError(f"{name} is given {names.count(name)} times")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Values by name.

    Raises:
        CleverError: the file cannot be read, is no YAML, or holds anything but names with values,
            each once.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise CleverError(f"cannot read settings {path}: {error.strerror}") from error
    except RepeatedKeyError as error:
        raise CleverError(f"settings {path}: {error}; leave only one") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CleverError(f"settings {path} are not valid YAML: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise CleverError(f"settings {path} must be a list of `name: value` lines")
    for key in content:
        if not isinstance(key, str):
            shown = SWITCHES[key] if isinstance(key, bool) else key
            raise CleverError(f"settings {path}: {shown} is no name of a setting")
    return content
