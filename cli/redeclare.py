"""What a settings field cannot say of its flag: that it is positional, or has a shorter name."""

import inspect
from typing import Any

import typer


def redeclare(app: typer.Typer, field: str, annotation: Any) -> None:
    """Give the parameter `field` of the command that `job_command` added last another Typer annotation."""
    command: Any = app.registered_commands[-1].callback
    signature = inspect.signature(command)
    parameters = [
        parameter.replace(annotation=annotation) if parameter.name == field else parameter
        for parameter in signature.parameters.values()
    ]
    command.__signature__ = signature.replace(parameters=parameters)
