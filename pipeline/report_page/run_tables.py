"""What runs reached and how they were set, as tables of the page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import CleverError
from ..list_runs import KINDS, MIOU, RunSummary, state_words
from ..results.run_folder import UNRECORDED
from ..results.setting_text import setting_text
from ..settings.shared.recipes import finetune_recipe, read_recipe

FIRST = (MIOU, "RankMe")
"""Figures that stand before the others, with two decimal places."""
OPEN = "left open"
"""What a recipe says of a setting that it leaves to the user, the student or the data."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A run: position on the page, name, command, whether it is finished, state in words, figures
    by column, number of its protocol."""

    run: int
    label: str
    kind: str
    complete: bool
    state: str
    figures: list[str]
    protocol: int | None


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Figures of all runs.

    Attributes:
        columns: names of the figures.
        protocols: how they were measured; rows carry their number, from 1.
    """

    columns: list[str]
    rows: list[ResultRow]
    protocols: list[str]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting: what the recipe says, and its values by run."""

    name: str
    recipe: str
    values: list[str]


@dataclass(frozen=True, slots=True)
class SettingsTable:
    """Settings of the runs of one command.

    Attributes:
        kind: the command.
        runs: names of the runs.
        changed: settings in which a run differs from its recipe.
        decided: what the recipe leaves open.
        same: all others.
    """

    kind: str
    runs: list[str]
    changed: list[SettingRow]
    decided: list[SettingRow]
    same: list[SettingRow]


def run_labels(folders: Sequence[Path]) -> list[str]:
    """Names of run folders, as short as they differ."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=1)):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(folder) for folder in folders]


def finished_first(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Finished runs, then unfinished ones, both in their order."""
    return sorted(runs, key=lambda run: not run.complete)


def result_table(runs: Sequence[RunSummary], labels: Sequence[str]) -> ResultTable:
    """Figures of runs side by side."""
    present = list(dict.fromkeys(name for run in runs for name in run.figures))
    columns = sorted(present, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    protocols = list(dict.fromkeys(run.protocol for run in runs if run.protocol))
    rows = [
        ResultRow(
            number,
            label,
            run.kind,
            run.complete,
            state_words(run),
            [_figure(name, run.figures[name]) if name in run.figures else "" for name in columns],
            protocols.index(run.protocol) + 1 if run.protocol else None,
        )
        for number, (run, label) in enumerate(zip(runs, labels, strict=True))
    ]
    return ResultTable(columns, rows, protocols)


def _figure(name: str, value: float) -> str:
    return f"{value:.2f}" if name in FIRST else f"{value:.4g}"


def settings_tables(runs: Sequence[RunSummary], labels: Sequence[str]) -> list[SettingsTable]:
    """A table for every command, what differs from the recipe first."""
    tables = []
    for kind in dict.fromkeys(run.kind for run in runs):
        labelled_settings = [
            (run.settings, label)
            for run, label in zip(runs, labels, strict=True)
            if run.kind == kind
        ]
        recipes = [recipe_values(kind, values) for values, _ in labelled_settings]
        table = SettingsTable(kind, [label for _, label in labelled_settings], [], [], [])
        for name in dict.fromkeys(name for values, _ in labelled_settings for name in values):
            if name not in UNRECORDED:
                values = [own.get(name) for own, _ in labelled_settings]
                standard = [recipe.get(name) for recipe in recipes]
                _rows_for(table, values, standard).append(_row(name, values, standard))
        tables.append(table)
    return tables


def recipe_values(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a command's defaults and the recipe in `values` say; None for what they leave open."""
    if kind not in KINDS:
        return {}
    fields = KINDS[kind].model_fields
    standard = {name: field.get_default() for name, field in fields.items()}
    standard = {
        name: value for name, value in standard.items() if isinstance(value, str | int | float)
    }
    if kind == "pretrain":
        standard |= read_recipe(str(values.get("recipe")))
    elif kind == "finetune":
        try:
            standard |= dict(finetune_recipe(values.get("recipe", ""), str(values.get("mode"))))
        except CleverError:  # of another version
            return standard
    return standard


def _rows_for(
    table: SettingsTable, values: Sequence[Any], standard: Sequence[Any]
) -> list[SettingRow]:
    """The part of a table that a setting belongs to."""
    pairs = list(zip(values, standard, strict=True))
    if any(recipe is not None and _text(value) != _text(recipe) for value, recipe in pairs):
        return table.changed
    if any(value is not None and recipe is None for value, recipe in pairs):
        return table.decided
    return table.same


def _row(name: str, values: Sequence[Any], standard: Sequence[Any]) -> SettingRow:
    words = [OPEN if value is None else setting_text(value) for value in standard]
    return SettingRow(name, " or ".join(dict.fromkeys(words)), [_value_text(v) for v in values])


def _value_text(value: object) -> str:
    """A recorded value; of a folder elsewhere the name alone, which is all that others can use."""
    text = setting_text(value)
    return f"…/{Path(text).name}" if isinstance(value, str) and text.startswith("/") else text


def _text(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = float(value)
    return json.dumps(value, sort_keys=True, default=str)
