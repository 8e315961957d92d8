"""Lines under the table of an ablation that say which settings its rows share, and in which they
differ."""

from collections.abc import Sequence
from typing import Protocol


class SettingsOfRow(Protocol):
    """What a row says of its settings; see `RowRecord`."""

    @property
    def title(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> dict[str, str]: ...

    @property
    def changes(self) -> list[str]: ...


def setting_lines(rows: Sequence[SettingsOfRow]) -> list[str]:
    """One line for the settings that are not the recipe's and equal in all rows, one for those in
    which rows differ; none of which there is nothing to say, or nothing that names do not say."""
    rows = [row for row in rows if row.settings]
    differing = differing_settings(rows)
    common = dict.fromkeys(
        f"{name} {row.settings[name]}" for row in rows for name in row.changes
        if name not in differing
    )  # fmt: skip
    lines = []
    if common:
        lines.append(f"settings of all rows that use them, not the recipe's: {', '.join(common)}")
    if not all(_named(row, differing) for row in rows):
        words = "; ".join(_words(row, differing) for row in rows if _own(row, differing))
        lines.append(f"settings in which rows differ: {words}")
    return lines


def differing_settings(rows: Sequence[SettingsOfRow]) -> list[str]:
    """Names of the settings that are not equal in all rows that use them."""
    names = dict.fromkeys(name for row in rows for name in row.settings)
    return [
        name
        for name in names
        if len({row.settings[name] for row in rows if name in row.settings}) > 1
    ]


def _own(row: SettingsOfRow, names: Sequence[str]) -> dict[str, str]:
    return {name: row.settings[name] for name in names if name in row.settings}


def _named(row: SettingsOfRow, names: Sequence[str]) -> bool:
    """Whether the name of a row says these settings, as a grid's ``vary`` does."""
    words = row.name.split()
    return all(f"{name}={text}" in words for name, text in _own(row, names).items())


def _words(row: SettingsOfRow, names: Sequence[str]) -> str:
    return f"{row.title}: {', '.join(f'{name} {text}' for name, text in _own(row, names).items())}"
