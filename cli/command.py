"""One way to make a command of a job: its settings class declares names, types, defaults, groups
and help once."""

import inspect
import re
import sys
import types
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ..errors import CleverError
from ..extras import lacking_extra
from ..pipeline.process.termination import INTERRUPTED, signals_exit, signals_interrupt
from ..pipeline.settings.shared.base import JobSettings
from ..pipeline.settings.shared.fields import StorePlace, Weights
from .diagnostics import diagnostics
from .garbage import begin_search
from .help import GroupedCommand, wide
from .output import Output
from .verbs import Verb, load
from .wording import with_flags

MISUSED = 2
"""Exit code of a problem that the user can mend."""
GOES_ON = "stopped; what was finished is kept: the same command goes on"
BEGINS_ANEW = "stopped; the same command begins anew"
"""What an interrupted command says, where the job itself does not say more."""
WIDEST_METAVAR = 16
"""Columns of choices beside a flag; longer lists stand in its text."""
_SHAPED = re.compile(r"([A-Z]+[=,][A-Z,.]+): (.+)")
"""A description that begins with the form of its value, as in ``NAME=VALUE: a setting``."""
REPEATED = ((StorePlace, ...), get_args(get_args(Weights)[0]))
"""Parts of the types of tuples, beside those of strings, whose flags may be given several times."""
RUN = "Run"
"""Group of what every command has."""


def add_command(app: typer.Typer, name: str, verb: Verb) -> None:
    """Add command `name` to `app`: flags from the fields of its settings and those that every
    command has, then its job with the resolved settings, then its printer.

    Flags win over the YAML file given by `--config`; types and ranges are checked by the settings
    class alone. Job and printer are imported when the settings are right.
    """
    settings: type[JobSettings] = load(verb.settings)

    def command(**flags: Any) -> None:
        config, quiet, log_file, as_json = (
            flags.pop(name) for name in ("config", "quiet", "log_file", "json")
        )
        output = Output(as_json, flags.pop("csv", None))
        values = {name: None if value == [] else value for name, value in flags.items()}
        raise typer.Exit(_run(verb, settings, config, values, output, quiet, log_file))

    groups = settings.flag_groups()
    order = [name for names in groups.values() for name in names]
    names = [*verb.arguments, *(name for name in order if name not in verb.arguments)]
    group_of = {name: group for group, names in groups.items() for name in names}
    parameters = [
        _argument(name, settings.model_fields[name])
        if name in verb.arguments
        else _option(name, settings.model_fields[name], group_of[name])
        for name in names
    ]
    parameters += _shared(bool(verb.table))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore
    register = app.command(
        name,
        help=_paragraphs(verb.help),
        short_help=overview(verb),
        cls=GroupedCommand,
        context_settings=wide(),
    )
    register(command)


def overview(verb: Verb) -> str:
    """The line of a command in the list of commands."""
    return _paragraphs(verb.help).partition("\n\n")[0]


def _paragraphs(text: str) -> str:
    """`text` with each paragraph on one line, to be wrapped as wide as the terminal is."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _run(
    verb: Verb,
    settings: type[JobSettings],
    config: str | None,
    flags: dict[str, Any],
    output: Output,
    quiet: bool,
    log_file: str | None,
) -> int:
    """Run a command; returns its exit code."""
    for flag, value in (("--config", config), ("--log-file", log_file)):
        if value == "":
            print(f"error: {flag} is empty; give a file or leave it out", file=sys.stderr)
            return MISUSED

    def wording(text: str) -> str:
        return with_flags(text, settings, verb.arguments)

    stopped = GOES_ON if verb.resumes else BEGINS_ANEW
    try:
        with diagnostics(wording, quiet, Path(log_file) if log_file else None) as stream:
            try:
                job_settings = settings.resolve(Path(config) if config else None, flags)
                output.check()
                with signals_exit(stopped, INTERRUPTED):
                    job = load(verb.job)
                    begin_search()
                aside = redirect_stdout(sys.stderr) if output.as_json else nullcontext()
                with signals_interrupt():
                    with aside:
                        result = job(job_settings)
                    return output.write(verb, job_settings, result)
            except CleverError as error:
                stream.error(one_line(error))
            except ModuleNotFoundError as error:
                if (line := lacking_extra(error)) is None:
                    raise
                stream.error(f"error: {line}")
            except KeyboardInterrupt as error:
                stream.error(str(error) or stopped)
                return INTERRUPTED
    except CleverError as error:  # the log file itself
        print(one_line(error), file=sys.stderr)
    return MISUSED


def one_line(error: Exception) -> str:
    """The line that a problem is told in."""
    return f"error: {' '.join(str(error).split())}"


def _shared(has_table: bool) -> list[inspect.Parameter]:
    """Flags that every command has, and that of a table where its result has one."""
    kind = inspect.Parameter.KEYWORD_ONLY
    config = typer.Option(
        "--config",
        help="YAML file with settings; flags win.",
        rich_help_panel=RUN,
        metavar="PATH",
        show_default=False,
    )
    quiet = typer.Option(
        "--quiet",
        help="No progress and no notices, the result alone.",
        rich_help_panel=RUN,
        metavar="",
    )
    log_file = typer.Option(
        "--log-file",
        help="File that progress and notices are appended to, with the time.",
        rich_help_panel=RUN,
        metavar="PATH",
        show_default=False,
    )
    as_json = typer.Option(
        "--json",
        help="Print the result as one JSON object, everything else on standard error.",
        rich_help_panel=RUN,
        metavar="",
    )
    csv = typer.Option(
        "--csv",
        help="File that the result's table is also written to.",
        rich_help_panel=RUN,
        metavar="PATH",
        show_default=False,
    )
    table = inspect.Parameter("csv", kind, default=None, annotation=Annotated[Path | None, csv])
    return [
        inspect.Parameter("config", kind, default=None, annotation=Annotated[str | None, config]),
        inspect.Parameter("quiet", kind, default=False, annotation=Annotated[bool, quiet]),
        inspect.Parameter(
            "log_file", kind, default=None, annotation=Annotated[str | None, log_file]
        ),
        inspect.Parameter("json", kind, default=False, annotation=Annotated[bool, as_json]),
        *([table] if has_table else []),
    ]


def _argument(name: str, field: FieldInfo) -> inspect.Parameter:
    """A field that is given by position: one value, or any number of them for a tuple."""
    kind = inspect.Parameter.KEYWORD_ONLY
    several = get_origin(field.annotation) is tuple
    argument = typer.Argument(help=_description(field), metavar=name.upper(), show_default=False)
    if several:  # none where the settings file names them
        annotation = Annotated[list[str] | None, argument]
        return inspect.Parameter(name, kind, default=None, annotation=annotation)
    return inspect.Parameter(name, kind, annotation=Annotated[str, argument])


def _option(name: str, field: FieldInfo, group: str) -> inspect.Parameter:
    flag = "--" + name.rstrip("_").replace("_", "-")
    text, default, metavar = _description(field), typed(field.default), _metavar(field.annotation)
    choices = _choices(field.annotation)
    if shaped := _SHAPED.fullmatch(text):
        metavar, text = shaped[1], shaped[2][0].upper() + shaped[2][1:]
    if choices and len(metavar) > WIDEST_METAVAR:
        text, metavar = f"{text} Choices: {', '.join(choices)}.", "NAME"
    text = f"{text} [default: {default}]" if default else text
    text = f"{text} [required]" if field.is_required() else text
    common: dict[str, Any] = {"help": text, "show_default": False, "rich_help_panel": group}
    if field.annotation in (bool, bool | None):
        option = typer.Option(f"{flag}/--no-{flag[2:]}", metavar="", **common)
        annotation: Any = Annotated[bool | None, option]
    else:
        complete = _completion(choices) if choices else None
        option = typer.Option(flag, metavar=metavar, autocompletion=complete, **common)
        several = _several_names(field.annotation)
        annotation = Annotated[list[str] | None if several else str | None, option]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def _completion(choices: list[str]) -> Callable[[str], list[str]]:
    """What the shell is offered for a choice that is typed half."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _description(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def typed(default: object) -> str:
    """A default as it is typed after its flag; empty where there is none to show."""
    if default is None or default is PydanticUndefined or default == ():
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        pixels = len(default) == 2 and all(isinstance(size, int) for size in default)
        return ("x" if pixels else ",").join(map(str, default))
    return str(default)


def _choices(annotation: Any) -> list[str]:
    """Values of the Literals in an annotation."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _several_names(annotation: Any) -> bool:
    """Whether a flag may be given several times: for a tuple of any number of strings, of places
    or of weights."""
    if get_origin(annotation) is tuple:
        return get_args(annotation) in ((str, ...), *REPEATED)
    return any(_several_names(part) for part in get_args(annotation) if part is not Ellipsis)


def _metavar(annotation: Any) -> str:
    """What a value looks like: the choices of a Literal, else the type's name."""
    origin = get_origin(annotation)
    if origin is Literal:
        return "|".join(map(str, get_args(annotation)))
    if origin is Annotated:
        return _metavar(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        if parts == [str, Path]:
            return "PATH|URL"
        return "|".join(dict.fromkeys(map(_metavar, parts)))
    if origin is tuple and get_args(annotation)[0] == StorePlace:
        return _metavar(StorePlace)
    if origin is tuple:
        return "HxW" if get_args(annotation) == (int, int) else "A,B,..."
    return {int: "N", float: "X", str: "TEXT", Path: "PATH"}.get(annotation, "TEXT")
