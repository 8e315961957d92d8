"""The runs in some folders side by side: how far they are, in which settings they differ, what they
reached."""

import json
import os
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..errors import CleverError
from ..words import quantity
from .results.run_folder import CLAIM, RESULT_FILE, UNRECORDED
from .results.setting_text import setting_text
from .results.sources import SOURCES_FILE
from .results.tables import markdown_table, table_width
from .settings.detect import DetectorRunSettings
from .settings.evaluate import EvaluateSettings
from .settings.features import FeaturesSettings
from .settings.finetune import FinetuneSettings
from .settings.import_weights import ImportWeightsSettings
from .settings.list_runs import ListRunsSettings
from .settings.predict import PredictSettings
from .settings.pretrain import PretrainSettings
from .settings.shared.base import SETTINGS_FILE, JobSettings, recorded_values
from .training.log import VALIDATION_MIOU, Scalars, first_and_last, read_log

KINDS: dict[str, type[JobSettings]] = {
    "pretrain": PretrainSettings,
    "finetune": FinetuneSettings,
    "evaluate": EvaluateSettings,
    "detect": DetectorRunSettings,
    "features": FeaturesSettings,
    "predict": PredictSettings,
    "import-weights": ImportWeightsSettings,
}
"""What leaves a run folder, by the command's name."""
OTHER = "other"
"""Kind of a folder whose settings fit none of `KINDS`."""
MIOU = "mIoU %"
WIDTH = 100
"""Characters in a line of the tables."""
STORE_FILE = "zarr.json"
"""What a feature cache holds; no run lies in one."""


class RunSummary(BaseModel):
    """One run.

    Attributes:
        kind: the command that made it, see `KINDS`, or `OTHER`.
        finished: UTC time, ISO 8601, where it is finished and says so.
        complete: whether it is finished; always of a job of outputs, which is so at any time.
        epoch: the pass that it is in or ended with; None where there are none.
        epochs: passes in the end.
        settings: as recorded.
        figures: what it reached, by name.
        protocol: how the figures were measured; empty without any.
        step: the last one that its log tells of; None where there are none.
        steps: steps in the end; None where the log does not tell.
        outputs: files that it wrote, for a job that writes one an input; None for others.
        outdated: whether the weights that it measured have been trained on since, or are gone.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    kind: str
    complete: bool
    finished: str | None
    epoch: int | None
    epochs: int | None
    settings: dict[str, Any]
    figures: dict[str, float]
    protocol: str
    step: int | None = None
    steps: int | None = None
    outputs: int | None = None
    outdated: bool = False


class BadRun(BaseModel):
    """A run folder that cannot be read, and why."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    reason: str


class RunList(BaseModel):
    """Runs in the order of their folders."""

    runs: list[RunSummary]
    bad: list[BadRun]

    def differing(self, kind: str) -> list[str]:
        """Settings in which the runs of a kind differ, but those that say where and with what a run
        was made. One that an older run lacks differs."""
        settings = [run.settings for run in self.runs if run.kind == kind]
        names = dict.fromkeys(name for values in settings for name in values)
        return [
            name
            for name in names
            if name not in UNRECORDED
            and len({json.dumps(values.get(name, ())) for values in settings}) > 1
        ]

    def __str__(self) -> str:
        kinds = [kind for kind in (*KINDS, OTHER) if any(run.kind == kind for run in self.runs)]
        listed = [run for kind in kinds for run in self.runs if run.kind == kind]
        protocols = list(dict.fromkeys(run.protocol for run in listed if run.protocol))
        parts = [f"{kind}\n\n{self._table(kind, protocols)}\n" for kind in kinds]
        notes = [_wrapped(f"[{number}] {words}") for number, words in enumerate(protocols, 1)]
        skipped = [f"skipped {run.folder}: {run.reason}" for run in self.bad]
        return "\n".join([*parts, *notes, *skipped])

    def _table(self, kind: str, protocols: list[str]) -> str:
        """Runs of a kind as Markdown, with the number of the protocol that their figures have.

        As many columns as `WIDTH` holds, figures before settings; those left out stand below, a
        line a run, as do paths that are too long.
        """
        runs = [run for run in self.runs if run.kind == kind]
        figures = {
            name: [f"{run.figures[name]:.4g}" if name in run.figures else "" for run in runs]
            for name in dict.fromkeys(name for run in runs for name in run.figures)
        }
        settings = {
            setting_title(name, figures): [
                setting_text(run.settings[name]) if name in run.settings else "?" for run in runs
            ]
            for name in self.differing(kind)
        }
        columns = {
            "run": [str(run.folder) for run in runs],
            "state": [state_words(run) for run in runs],
        }
        notes = [f"[{protocols.index(run.protocol) + 1}]" if run.protocol else "" for run in runs]
        if any(notes):
            columns["note"] = notes
        first = dict(list(figures.items())[:1])
        labels, below = columns["run"], [list[str]() for _ in runs]
        if table_width([name, *cells] for name, cells in (columns | first).items()) > WIDTH:
            below = [[str(run.folder)] for run in runs]
            columns["run"] = [str(number) for number in range(1, len(runs) + 1)]
            labels = [f"run {number}" for number in columns["run"]]
        for name, cells in (figures | settings).items():
            wider = columns | {name: cells}
            if table_width([name, *cells] for name, cells in wider.items()) <= WIDTH:
                columns = wider
            else:
                for line, cell in zip(below, cells, strict=True):
                    line.append(f"{name} {cell or '-'}")
        order = ["run", "state", *settings, *figures, "note"]
        names = [name for name in order if name in columns]
        rows = zip(*(columns[name] for name in names), strict=True)
        lines = [
            _wrapped(f"{label}: {', '.join(parts)}")
            for label, parts in zip(labels, below, strict=True)
            if parts
        ]
        return "\n".join([markdown_table(names, rows), *lines])


def list_runs(settings: ListRunsSettings) -> RunList:
    """Every run in the folders, at any depth.

    A folder is a run's once it holds more than settings. One that cannot be read costs no other.

    Raises:
        CleverError: a folder is not there, or there is no run.
    """
    folders: dict[Path, None] = {}
    for root in settings.paths:
        if not root.is_dir():
            raise CleverError(f"no folder {root}; name folders of runs")
        folders |= dict.fromkeys(sorted(_run_folders(root)))
    runs: list[RunSummary] = []
    bad: list[BadRun] = []
    for folder in folders:
        try:
            runs.append(summarise_run(folder))
        except CleverError as error:
            bad.append(BadRun(folder=folder, reason=str(error)))
    if not runs and not bad:
        raise CleverError(f"no run in {', '.join(settings.folders)}; name folders of runs")
    return RunList(runs=runs, bad=bad)


def _run_folders(root: Path) -> Iterator[Path]:
    """Folders with the settings of a run and more; feature caches are not looked into."""
    for folder, parts, files in os.walk(root):
        if STORE_FILE in files:
            parts.clear()
        elif SETTINGS_FILE in files and (parts or set(files) - CLAIM):
            yield Path(folder)


def summarise_run(folder: Path) -> RunSummary:
    """What a run folder says of itself.

    Raises:
        CleverError: one of its files is damaged or of another version.
    """
    values, result = recorded_values(folder), _read_result(folder)
    kind = _kind(values, result)
    try:
        log = read_log(folder)
        measure = FIGURES.get(kind, _no_figures)
        figures, protocol = measure(result, log)
        epochs, outputs = values.get("epochs"), _output_count(folder)
        return RunSummary(
            folder=folder,
            kind=kind,
            complete=result is not None or outputs is not None,
            finished=result.get("finished") if result else None,
            epoch=int(log[-1]["epoch"]) if log else (0 if epochs else None),
            epochs=epochs,
            step=int(log[-1]["step"]) if log else (0 if epochs else None),
            steps=next((int(record["steps"]) for record in log[::-1] if "steps" in record), None),
            settings=values,
            figures=figures,
            protocol=protocol,
            outputs=outputs,
            outdated=_is_outdated(folder, values, result),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CleverError(
            f"its log or result is damaged or of another version ({type(error).__name__}: {error})"
        ) from error


def _read_result(folder: Path) -> dict[str, Any] | None:
    """The content of a run's result, or None where there is none."""
    path = folder / RESULT_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CleverError(f"{path} is damaged ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise CleverError(f"{path} holds no result")
    return content


def _output_count(folder: Path) -> int | None:
    """Outputs that the folder tells of; None for a job that writes none. A torn line, of a run that
    goes on or was killed, is passed over."""
    try:
        lines = (folder / SOURCES_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    names: set[str] = set()
    for line in lines:
        with suppress(json.JSONDecodeError):
            names.add(json.loads(line)["output"])
    return len(names)


def _is_outdated(folder: Path, values: Mapping[str, Any], result: Mapping[str, Any] | None) -> bool:
    """Whether the run that an evaluation measured has other weights now. An evaluation in the
    folder of a run is of that run, wherever it was when it was measured."""
    inside = (folder.parent / SETTINGS_FILE).is_file()
    checkpoint = folder.parent if inside else Path(values.get("checkpoint") or "")
    weights = result.get("weights") if result else None
    if not weights:
        return False
    # Torch, which most listings do not need.
    from ..student.segmenter import CLASSIFIER_FILE, segmenter_digest

    if not (checkpoint / CLASSIFIER_FILE).is_file():
        return False
    try:
        return segmenter_digest(checkpoint) != weights
    except CleverError:  # damaged
        return True


def _kind(values: dict[str, Any], result: dict[str, Any] | None) -> str:
    """The command that recorded these settings: the one that its result names, else the one whose
    settings have all of these and fewest others."""
    if result and result.get("job") in KINDS:
        return result["job"]
    others = {
        kind: len(set(settings.model_fields) - values.keys())
        for kind, settings in KINDS.items()
        if values.keys() <= set(settings.model_fields)
    }
    return min(others, key=lambda kind: others[kind], default=OTHER)


Figures = tuple[dict[str, float], str]
"""Figures by name, and their protocol."""


def _pretraining(result: dict[str, Any] | None, log: Sequence[Scalars]) -> Figures:
    losses = first_and_last(list(log))
    if not losses.last:
        return {}, ""
    figures = {
        name if name == "loss" else f"{name} loss": value for name, value in losses.last.items()
    }
    protocol = f"losses: means over {quantity(losses.window, 'step')} up to step {log[-1]['step']}"
    if result:
        changes = f" ({', '.join(result['changes'])})" if result.get("changes") else ""
        protocol = (
            f"{result['dataset']}, {result['part']}, {result['student']}, recipe "
            f"{result['recipe']}{changes}, seed {result['seed']}; {protocol}"
        )
    if ranks := result and result["ranks"]:
        figures |= {"RankMe": ranks["uncentred"]["rankme"]}
        protocol += (
            f"; RankMe: backbone features of {ranks['rows']} points of {ranks['frames']} training "
            f"frames, seed {ranks['seed']}"
        )
    return figures, protocol


def _finetuning(result: dict[str, Any] | None, log: Sequence[Scalars]) -> Figures:
    if result:
        return _evaluation(result["evaluation"], log)
    measurements = [record for record in log if VALIDATION_MIOU in record]
    if not measurements:
        return {}, ""
    newest = measurements[-1]
    epoch = newest["epoch"]
    return {
        MIOU: 100 * newest[VALIDATION_MIOU]
    }, f"validation part after epoch {epoch}, not finished"


def _evaluation(result: dict[str, Any] | None, _: Sequence[Scalars]) -> Figures:
    return ({MIOU: 100 * result["miou"]}, result["protocol"]) if result else ({}, "")


def _detection(result: dict[str, Any] | None, _: Sequence[Scalars]) -> Figures:
    """The summary of the first table."""
    if not result:
        return {}, ""
    table = result["tables"][0]
    row, value = list(table["scores"].items())[-1]
    facts = ", ".join(result["facts"].values())
    words = f"{table['title']}, {row}; {facts}, draw {result['draw']}, seed {result['seed']}"
    name = table["title"].partition(",")[0]
    return ({} if value is None else {name: value}), f"{words}, {result['start']}"


def _no_figures(_: dict[str, Any] | None, __: Sequence[Scalars]) -> Figures:
    return {}, ""


FIGURES: dict[str, Callable[[dict[str, Any] | None, Sequence[Scalars]], Figures]] = {
    "pretrain": _pretraining,
    "finetune": _finetuning,
    "evaluate": _evaluation,
    "detect": _detection,
}
"""What a kind of run reached, from its result and its log."""


def setting_title(name: str, figures: Collection[str]) -> str:
    """Title of a setting's column: its name, or ``setting loss`` where a figure has that name."""
    return f"setting {name}" if name in figures else name


def state_words(run: RunSummary) -> str:
    """How far a run is."""
    if run.outputs is not None:
        return quantity(run.outputs, "output")
    if run.complete:
        time = f" {run.finished[:16].replace('T', ' ')}" if run.finished else ""
        return f"finished{time}{', of earlier weights' if run.outdated else ''}"
    if run.step is None:
        return "unfinished"
    end = f" of {run.steps}" if run.steps else ""
    return f"unfinished (step {run.step}{end})"


def _wrapped(text: str) -> str:
    """Text in lines of at most `WIDTH` characters; words are not broken."""
    return textwrap.fill(
        text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
