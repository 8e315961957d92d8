"""The `clever` command."""

import errno
import io
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import typer
from typer.exceptions import TyperException

from .. import __version__
from .command import MISUSED, add_command, overview
from .environment import set_environment
from .garbage import postpone_search
from .help import OrderedGroup, wide
from .verbs import VERBS, Group, Verb

COMPLETION = "_CLEVER_COMPLETE"
"""Set by the shell when it asks for completions."""
WORDS = ("_TYPER_COMPLETE_ARGS", "COMP_WORDS")
"""Where it then puts the line under way."""


def main() -> None:
    """Entry point of the console script."""
    set_environment()
    postpone_search()
    _take_any_text()
    try:
        code = build_app(*_words())(prog_name="clever", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code)
    except TyperException as error:
        sys.exit(_explain(error))
    except typer.Abort:
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        sys.exit(_explain_output(error))


def build_app(verb_name: str, part_name: str | None = None) -> typer.Typer:
    """The whole command, of which one verb alone can run, and of a group one part or, by default,
    all: only their settings are imported."""
    app = typer.Typer(
        help="Distil a frozen image teacher into a LiDAR student from an offline feature cache.",
        no_args_is_help=True,
        rich_markup_mode=None,
        cls=_Verbs,
        context_settings=wide(),
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    commands = {title: verb for title, verb in VERBS.items() if isinstance(verb, Verb)}
    _add_commands(app, commands, [verb_name])
    for title, group in VERBS.items():
        if isinstance(group, Group):
            parts = typer.Typer(help=group.help, no_args_is_help=True, rich_markup_mode=None)
            names = () if title != verb_name else group.verbs if part_name is None else [part_name]
            _add_commands(parts, group.verbs, names)
            app.add_typer(parts, name=title)
    return app


def _add_commands(app: typer.Typer, verbs: Mapping[str, Verb], names: Collection[str]) -> None:
    """Add the commands `names` of `verbs`, and of the others what the overview says of them."""
    for title, verb in verbs.items():
        if title in names:
            add_command(app, title, verb)
        else:
            app.command(title, short_help=overview(verb))(_placeholder)


def _take_any_text() -> None:
    """Have standard output and error take any text: what their encoding lacks is written out, and a
    closed one loses it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_version(flag: bool) -> None:
    if flag:
        print(f"clever {__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False,
        "--version",
        help="Print the version.",
        is_eager=True,
        callback=_print_version,
        metavar="",
    ),
) -> None:
    """What belongs to no command; `version` prints itself."""


def _words() -> tuple[str, str]:
    """The first two words of the line, typed or to be completed, that are no flags: the command
    and its part; empty where there are none."""
    if COMPLETION in os.environ:
        line = next((os.environ[name] for name in WORDS if name in os.environ), "")
        words = line.split()[1:]
    else:
        words = sys.argv[1:]
    name, part, *_ = (*(word for word in words if not word.startswith("-")), "", "")
    return name, part


def _explain(error: TyperException) -> int:
    """Print what is wrong with a line in one line; the help where nothing was typed."""
    message = error.format_message()
    if not sys.argv[1:] or message.startswith("Usage:"):  # nothing was asked: this is the help
        print(message, file=sys.stderr)
        return MISUSED
    context = getattr(error, "ctx", None)
    where = f"; see {context.command_path} --help" if context else ""
    print(f"error: {' '.join(message.split()).rstrip('.')}{where}", file=sys.stderr)
    return MISUSED


def _explain_output(error: OSError) -> int:
    """Say that what was to be printed is cut off, unless its reader went away; the part that is
    still held back goes nowhere. An error that names a file is of that file."""
    if error.filename:
        print(f"error: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return MISUSED
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return 1
    print(f"error: cannot print everything: {error.strerror}", file=sys.stderr)
    return MISUSED


class _Verbs(OrderedGroup):
    names = tuple(VERBS)


def _placeholder() -> None:
    """Stands for a command in the overview; never runs."""
