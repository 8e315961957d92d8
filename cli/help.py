"""The help of a command: flags under headings, as wide as the terminal."""

import shutil
from typing import Any

from typer.core import TyperCommand, TyperGroup

OTHERS = "Other"
"""Heading of what has none, such as --help."""
ARGUMENTS = "Arguments"


def wide() -> dict[str, Any]:
    """Context settings under which help is as wide as the terminal."""
    return {"max_content_width": shutil.get_terminal_size().columns}


class GroupedCommand(TyperCommand):
    """A command whose help shows flags by their `rich_help_panel`, in the order declared."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section a heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                argument = parameter.param_type_name == "argument"
                heading = getattr(parameter, "rich_help_panel", None)
                heading = heading or (ARGUMENTS if argument else OTHERS)
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class OrderedGroup(TyperGroup):
    """Commands in the order of the table of verbs, groups among them."""

    names: tuple[str, ...] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands."""
        order = {name: place for place, name in enumerate(self.names)}
        return sorted(super().list_commands(ctx), key=lambda name: order.get(name, len(order)))
