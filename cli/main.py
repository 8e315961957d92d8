"""The `clever` command."""

import errno
import os
import sys

import typer
from typer.exceptions import TyperException

from .. import __version__
from .command import MISUSED, add_command, overview
from .help import OrderedGroup, wide
from .verbs import VERBS, Group

COMPLETION = "_CLEVER_COMPLETE"
"""Set by the shell when it asks for completions."""
WORDS = ("_TYPER_COMPLETE_ARGS", "COMP_WORDS")
"""Where it then puts the line under way."""


def main() -> None:
    """Entry point of the console script."""
    # Before torch is imported: threads that spin while they wait make a training step five to ten
    # times slower as soon as another process wants the cores, and gain nothing measurable when none
    # does.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        code = build_app(_first_word())(prog_name="clever", standalone_mode=False)
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


def build_app(verb_name: str) -> typer.Typer:
    """The whole command, of which `asked` alone can run: only its settings are imported."""
    app = typer.Typer(
        help="Distil a frozen image teacher into a LiDAR student from an offline feature cache.",
        no_args_is_help=True,
        rich_markup_mode=None,
        cls=_Verbs,
        context_settings=wide(),
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, verb in VERBS.items():
        if isinstance(verb, Group):
            group = typer.Typer(help=verb.help, no_args_is_help=True, rich_markup_mode=None)
            for part, command in verb.verbs.items() if name == verb_name else ():
                add_command(group, part, command)
            app.add_typer(group, name=name)
        elif name == verb_name:
            add_command(app, name, verb)
        else:
            app.command(name, short_help=overview(verb))(_placeholder)
    return app


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


def _first_word() -> str:
    """The command that the line begins with, typed or to be completed."""
    if COMPLETION in os.environ:
        line = next((os.environ[name] for name in WORDS if name in os.environ), "")
        words = line.split()[1:]
    else:
        words = sys.argv[1:]
    return next((word for word in words if not word.startswith("-")), "")


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
    still held back goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return 1
    print(f"error: cannot print everything: {error.strerror}", file=sys.stderr)
    return MISUSED


class _Verbs(OrderedGroup):
    names = tuple(VERBS)


def _placeholder() -> None:
    """Stands for a command in the overview; never runs."""
