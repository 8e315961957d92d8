"""`import clever`: what it offers, and what it costs."""

import ast
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path
from typing import get_origin, get_type_hints

import pytest

import clever

HEAVY = ("torch", "numpy", "zarr", "pydantic", "spconv", "nuscenes", "timm")


def test_every_name_is_the_object_of_its_home() -> None:
    homes = {name: home for home, names in clever._HOMES.items() for name in names}
    assert len(homes) == sum(len(names) for names in clever._HOMES.values())
    for name, home in homes.items():
        assert getattr(clever, name).__module__.startswith(f"clever.{home}"), name
    assert set(dir(clever)) == {*homes, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'teacher'"):
        _ = clever.teacher  # pyright: ignore[reportAttributeAccessIssue]


def test_type_checkers_see_the_same_homes() -> None:
    tree = ast.parse(Path(clever.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        node.module: tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert typed == clever._HOMES
    exported = next(node for node in block.body if isinstance(node, ast.Assign))
    assert ast.unparse(exported.targets[0]) == "__all__"
    assert sorted(ast.literal_eval(exported.value)) == sorted(sum(clever._HOMES.values(), ()))


def test_the_result_of_every_job_prints_as_its_command_does() -> None:
    jobs = {name: getattr(clever, name) for names in clever._HOMES.values() for name in names}
    results = {
        name: get_type_hints(job)["return"]
        for name, job in jobs.items()
        if inspect.isfunction(job) and "settings" in inspect.signature(job).parameters
    }
    assert {"cache_teacher", "cache_regions", "verify", "repair", "demo"} <= results.keys()
    for name, kind in results.items():
        lineage = (get_origin(kind) or kind).__mro__
        home = next(own.__module__ for own in lineage if "__str__" in vars(own))
        assert home.startswith("clever."), name


def test_help_fits_on_a_page() -> None:
    """The tour and where to read on, not every method of every class."""
    lines = pydoc.plain(pydoc.render_doc(clever)).splitlines()
    assert len(lines) < 60
    for name in ("cache_teacher", "pretrain", "finetune", "dir(clever)", "help(clever.pretrain)"):
        assert any(name in line for line in lines), name


def test_importing_the_face_imports_nothing_heavy() -> None:
    code = f"import sys, clever; dir(clever); print([m for m in {HEAVY} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert printed.strip() == "[]"


def test_the_module_is_the_command() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "clever", "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert "cache-teacher" in printed
    assert "pretrain" in printed
