"""One way to make a command of a job: its settings class declares names, types, defaults and help
once."""

import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ..errors import CleverError
from ..pipeline.settings.base import JobSettings

Settings = TypeVar("Settings", bound=JobSettings)

BAD_FRAMES = 3
"""Exit code of a run that finished but had to skip frames."""


def job_command(
    app: typer.Typer,
    name: str,
    settings: type[Settings],
    job: Callable[[Settings], int],
    argument: str = "",
) -> None:
    """Add command `name`: flags from the fields of `settings`, `--config`, then `job` with the
    resolved settings.

    Flags win over the YAML file given by `--config`; types and ranges are checked by the settings
    class alone.

    Args:
        job: runs the job, prints its result and returns the exit code.
        argument: field that is given by position instead of by a flag.
    """

    def command(**flags: Any) -> None:
        config = flags.pop("config")
        flags = {name: None if value == [] else value for name, value in flags.items()}
        try:
            raise typer.Exit(job(settings.resolve(config, flags)))
        except CleverError as error:
            fail(error)
        except KeyboardInterrupt as error:
            typer.echo(
                str(error) or "stopped; what was finished is kept: the same command goes on",
                err=True,
            )
            raise typer.Exit(130) from None

    config = Annotated[
        Path | None, typer.Option("--config", help="YAML file with settings; flags win.")
    ]
    # What a job has to itself before what it shares with others.
    names = sorted(settings.model_fields, key=lambda name: name not in settings.__annotations__)
    parameters = [_parameter(name, settings.model_fields[name], name == argument) for name in names]
    parameters.append(
        inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=config)
    )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app.command(name, help=inspect.getdoc(job))(command)


def fail(error: CleverError) -> NoReturn:
    """Print the one line of `error` and leave with exit code 2."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    raise typer.Exit(2)


def _parameter(name: str, field: FieldInfo, positional: bool) -> inspect.Parameter:
    flag = "--" + (field.alias or name).replace("_", "-")
    text = " ".join((field.description or "").split())
    if field.default not in (None, PydanticUndefined):
        default = (
            "x".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        )
        text = f"{text} [default: {default}]"
    if positional:
        annotation: Any = Annotated[str, typer.Argument(help=text, metavar=name.upper())]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    if field.annotation in (bool, bool | None):
        option = typer.Option(f"{flag}/--no-{flag[2:]}", help=text, show_default=False)
        annotation = Annotated[bool | None, option]
    else:
        option = typer.Option(
            flag, help=text, metavar=_metavar(field.annotation), show_default=False
        )
        annotation = Annotated[
            list[str] | None if _several_names(field.annotation) else str | None, option
        ]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _several_names(annotation: Any) -> bool:
    """Whether a flag may be given several times: for a tuple of strings."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0] is str
    return any(_several_names(part) for part in get_args(annotation) if part is not Ellipsis)


def _metavar(annotation: Any) -> str:
    """What a value looks like: the choices of a Literal, else the type's name."""
    origin = get_origin(annotation)
    if origin is Literal:
        return "|".join(map(str, get_args(annotation)))
    if origin is Annotated:
        return _metavar(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return "|".join(
            dict.fromkeys(_metavar(part) for part in get_args(annotation) if part is not type(None))
        )
    if origin is tuple:
        return "HxW" if get_args(annotation) == (int, int) else "A,B,..."
    return {int: "N", float: "X", str: "TEXT", Path: "PATH"}.get(annotation, "TEXT")
