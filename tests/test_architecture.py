"""The rules of the house: imports point one way, and the package installs under one name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clever

ROOT = Path(clever.__file__).parent
ALLOWED = {
    "cache": {"cache"},
    "student": {"student"},
    "pipeline": {"pipeline", "cache", "student"},
    "cli": {"cli", "pipeline", "cache", "student"},
}


def imported_rooms(file: Path) -> set[str]:
    """Rooms that a file imports, relatively or absolutely, anywhere in it."""
    depth = len(file.relative_to(ROOT).parts) - 1
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            outside = node.level > depth
            module = node.module or ""
            names = [
                f"clever.{module or alias.name}" if outside else module for alias in node.names
            ]
        rooms |= {name.split(".")[1] for name in names if name.startswith("clever.")}
    return rooms & set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_point_one_way(room: str) -> None:
    wrong = {
        str(file.relative_to(ROOT)): sorted(imported_rooms(file) - ALLOWED[room])
        for file in (ROOT / room).rglob("*.py")
        if imported_rooms(file) - ALLOWED[room]
    }
    assert not wrong


def test_the_check_sees_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "cache" / "deep" / "wrong.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from ...pipeline.settings import JobSettings\nfrom ..frame import Frame\nimport "
        "clever.student.points\n"
    )
    assert imported_rooms(file) == {"pipeline", "student"}


def test_reading_a_cache_needs_neither_dataset_nor_teacher_packages() -> None:
    """`FeatureCache` imports on a machine without nuscenes-devkit, timm or spconv."""
    code = "import sys\nfor name in ('nuscenes', 'timm', 'spconv'): sys.modules[name] = None\n"
    code += "import clever.cache.store.reader"
    subprocess.run([sys.executable, "-c", code], check=True)
