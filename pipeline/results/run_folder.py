"""The folder of one training run: settings, log, training state and result, each written whole or
not at all.

::

    settings.yaml       resolved settings
    inputs.json         digests of what the run reads: it is known by them, not by paths
    train_frames.txt    ids of the frames that a fine-tuning run was to train on
    log.jsonl           one JSON object a step
    tensorboard/        the same numbers
    state.safetensors   model, optimiser and schedule at the last checkpoint; removed when the run
    is finished student.safetensors, student.json, ...   weights at the last checkpoint, in the end
    the last ones best/               weights after the pass with the lowest mean loss
    confusion.csv       of what measures classes: points by label (row) and prediction (column)
    confusion.png       the same as a picture
    result.json         written last: the run is finished
    result-50.json      what it said before it was prolonged (see `cycles`)
"""

import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ... import __version__
from ...cache.store.files.lock import writer_lock
from ...errors import CleverError
from ...files import atomic_write
from ...names import visible
from ..settings.shared.base import SETTINGS_FILE, JobSettings, save_settings, write_settings
from .cycles import (
    EARLIER_RESULT,
    RESULT_FILE,
    Cycle,
    longer_hint,
    passes_to_prolong,
    present_cycle,
)

if TYPE_CHECKING:
    from ..process.team import Team

RUNS = Path("runs")
INPUTS_FILE = "inputs.json"
CLAIM = frozenset({SETTINGS_FILE, INPUTS_FILE})
"""What a run writes before it has anything to keep: alone they bind nobody."""
_INPUTS = TypeAdapter(dict[str, str])
UNRECORDED = frozenset({"out", "new", "workers", "device", "save_every", "recompute"})
"""Settings that may differ when a run is taken up again: they say where and with what, not which
result."""


class RunResult(BaseModel):
    """What every finished run says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    finished: str
    """UTC time, ISO 8601."""
    seed: int
    seconds: float
    """Wall time of the training, over all starts."""
    versions: dict[str, str]


class _Finished(BaseModel):
    """What of any result tells the newest run."""

    job: str = ""
    finished: str = ""


Result = TypeVar("Result", bound=BaseModel)


def now() -> str:
    """The present time for `RunResult.finished`."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = {"clever": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "spconv-cu120", "spconv-cu126"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return packages


def notice(text: str) -> None:
    """One line for the user on standard error."""
    print(visible(text), file=sys.stderr, flush=True)


def default_folder(name: str) -> Path:
    """``runs/<name>-<UTC time>``."""
    return RUNS / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def alike_runs(
    name: str, settings: JobSettings, inputs: Mapping[str, str], places: frozenset[str]
) -> Iterator[Path]:
    """Folders ``runs/<name>-*`` with runs of the same settings and inputs, the newest first.

    Args:
        settings, inputs, places: as for `Run.training`.
    """
    for settings_file in sorted(RUNS.glob(f"{name}-*/{SETTINGS_FILE}"), reverse=True):
        folder = settings_file.parent
        try:
            own_inputs = _read_inputs(folder)
        except CleverError as error:
            notice(f"{error}; passed over")
            continue
        if own_inputs == inputs and _same_settings(settings, settings_file, UNRECORDED | places):
            yield folder


def run_folder(
    name: str,
    settings: JobSettings,
    inputs: Mapping[str, str],
    places: frozenset[str],
    new: bool,
    team: "Team",
    result: type[BaseModel],
    undigested: frozenset[str] = frozenset(),
) -> Path:
    """Where a run goes that was not told: on in the newest unfinished one of the same settings and
    inputs, else to the newest finished one, unless `new`, else to `default_folder`. Of several
    processes the first one looks, says it and decides for all.

    Args:
        result: what a finished run says of itself; one that cannot be read is passed over.
        undigested: those of `places` whose content `inputs` do not tell in full; a finished run
            has the same ones.
    """
    folder = default_folder(name)
    if team.first and not new:
        alike = list(alike_runs(name, settings, inputs, places))
        unfinished = [run for run in alike if not (run / RESULT_FILE).exists()]
        if unfinished:
            folder = unfinished[0]
            notice(f"{folder} is unfinished and goes on; `new=yes` begins another run")
        elif finished := _finished_run(alike, settings, places - undigested, result):
            folder = finished
            notice(f"{folder} has the same settings and data; `new=yes` begins another run")
    return team.agree(folder)


def _finished_run(
    folders: Iterable[Path], settings: JobSettings, places: frozenset[str], result: type[BaseModel]
) -> Path | None:
    """The first that can be read; but for `places` its settings are the same."""
    for folder in folders:
        if _same_settings(settings, folder / SETTINGS_FILE, UNRECORDED | places):
            try:
                read_result(folder / RESULT_FILE, result)
            except CleverError as error:
                notice(f"{error} It is passed over")
            else:
                return folder
    return None


def _same_settings(settings: JobSettings, file: Path, ignore: frozenset[str]) -> bool:
    """Whether `file` holds these settings; not where it is of another command or damaged."""
    try:
        return not settings.differences(type(settings).recorded(file), ignore)
    except CleverError:
        return False


def _read_inputs(folder: Path) -> dict[str, str] | None:
    """Digests of what the run in `folder` reads; None where there are none.

    Raises:
        CleverError: the file is damaged.
    """
    path = folder / INPUTS_FILE
    if not path.exists():
        return None
    try:
        return _INPUTS.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CleverError(
            f"{path} is damaged ({type(error).__name__}); delete {folder} and start again"
        ) from error


class Run:
    """A run folder; make one with `Run.open`, or with `Run.training` where it is trained in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state.safetensors"
        self.cycle = Cycle()

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: JobSettings,
        team: "Team | None" = None,
        also_ignore: frozenset[str] = frozenset(),
        claim: frozenset[str] = CLAIM,
    ) -> "Run":
        """Start a run in `folder`, or take one up that was started with the same settings.

        Of several processes the first one does it and the others wait; all must see the folder.

        Args:
            also_ignore: settings that may differ, beside `UNRECORDED`.
            claim: files that bind nobody where they are alone.

        Raises:
            CleverError: the folder holds something else, or a run with other settings (named with
                both values).
        """
        if team and not team.first:
            team.wait()
            return cls(folder)
        settings_file = folder / SETTINGS_FILE
        if settings_file.exists() and {path.name for path in folder.iterdir()} <= claim:
            ignore = UNRECORDED | also_ignore
            if not _same_settings(settings, settings_file, ignore):
                (folder / INPUTS_FILE).unlink(missing_ok=True)
                save_settings(settings, folder)
        elif settings_file.exists():
            own = type(settings).recorded(settings_file)
            ignore = UNRECORDED | also_ignore
            longer = passes_to_prolong(folder, settings, own, ignore)
            differing = [] if longer else settings.differences(own, ignore)
            if differing:
                raise CleverError(
                    f"{folder} holds a run with other settings ({', '.join(differing)}); choose "
                    "another `out`" + longer_hint(folder, settings, own, ignore)
                )
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CleverError(f"{folder} exists and holds no run; choose another `out`")
        else:
            save_settings(settings, folder)
        if team:
            team.wait()
        return cls(folder)

    @classmethod
    @contextmanager
    def training(
        cls,
        folder: Path,
        settings: JobSettings,
        team: "Team",
        inputs: Mapping[str, str],
        places: frozenset[str] = frozenset(),
    ) -> Iterator["Run"]:
        """`Run.open` for a training: until the block ends no other process can take the run up.

        A finished run is only looked at, so its folder may be one that cannot be written to; one
        that is asked for more passes, and for nothing else, begins another `Cycle`.

        Args:
            inputs: digests of what the run reads.
            places: settings that say where `inputs` lie; they may differ.

        Raises:
            CleverError: see `Run.open`; another process, which is named, trains in `folder`; or the
                run there read other inputs.
        """
        ignore = UNRECORDED | places
        finished = (folder / RESULT_FILE).exists()
        writes = team.first and (not finished or present_cycle(folder, settings, ignore).begins)
        with writer_lock(folder, "out") if writes else nullcontext():
            run = cls.open(folder, settings, team, places)
            if team.first:
                run.check_inputs(inputs)
            run.cycle = team.agree(present_cycle(folder, settings, ignore))
            yield run

    def begin_cycle(self, epochs: int) -> None:
        """Make a finished run one of `epochs` passes that is under way; its training state is there
        already."""
        result = self.folder / RESULT_FILE
        if result.exists():
            result.replace(self.folder / EARLIER_RESULT.format(self.cycle.passes_before))
        path = self.folder / SETTINGS_FILE
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        write_settings({**content, "epochs": epochs}, self.folder)

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Note what a new run reads; for another one compare it.

        Raises:
            CleverError: it read something else.
        """
        recorded = _read_inputs(self.folder)
        if recorded is None:
            atomic_write(self.folder / INPUTS_FILE, json.dumps(dict(inputs), indent=2) + "\n")
            return
        changes = [name for name in inputs if recorded.get(name) != inputs[name]]
        if changes:
            raise CleverError(
                f"the run in {self.folder} read other {', '.join(changes)} than now; choose "
                "another `out`"
            )

    def result(self, kind: type[Result]) -> Result | None:
        """The result of a finished run that is not to be prolonged, or None."""
        path = self.folder / RESULT_FILE
        return read_result(path, kind) if path.exists() and not self.cycle.begins else None

    def write_result(self, result: BaseModel) -> None:
        """Write ``result.json``."""
        atomic_write(self.folder / RESULT_FILE, result.model_dump_json(indent=2) + "\n")

    def finish(self, result: RunResult) -> None:
        """Write the result of a training run; its training state is no longer needed."""
        self.write_result(result)
        self.state.unlink(missing_ok=True)


def read_result(path: Path, kind: type[Result]) -> Result:
    """Read a ``result.json``.

    Raises:
        CleverError: the file is damaged or of another version.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise CleverError(
            f"cannot read {path}: {type(error).__name__}; was it written by another version?"
        ) from error


def finished_result(folder: Path, kind: type[Result]) -> Result | None:
    """The result of the run in `folder`, or None where it is not finished; raises as
    `read_result`."""
    path = folder / RESULT_FILE
    return read_result(path, kind) if path.exists() else None


def warn_unfinished(folder: Path) -> None:
    """Say that the weights in `folder` are those of a run that was not finished."""
    if (folder / SETTINGS_FILE).exists() and not (folder / RESULT_FILE).exists():
        notice(f"{folder} is not finished; its newest weights are used")


def newest_run(job: str, root: Path = RUNS) -> Path:
    """Folder of the `job` ("pretrain") under `root` that finished last; a line says which it is.

    Raises:
        CleverError: there is none.
    """
    finished: list[tuple[str, Path]] = []
    for path in sorted(root.glob(f"*/{RESULT_FILE}")):
        try:
            content = _Finished.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            notice(f"{path} cannot be read; passed over")
            continue
        if content.job == job:
            finished.append((content.finished, path.parent))
    if not finished:
        raise CleverError(
            f"no finished {job} run under {root}; run `clever {job}` first or name one with "
            "`checkpoint`"
        )
    newest = max(finished)[1]
    notice(f"`checkpoint={newest}`, the newest finished {job} run")
    return newest
