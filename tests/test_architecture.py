"""What import contracts cannot say: one name installs, and a cache opens with little else there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import clever


def test_the_package_installs_under_one_name() -> None:
    """No bare `cache` or `cli` lands in site-packages; every folder is installed."""
    root = Path(clever.__file__).parent
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    rooms = ("cache", "student", "pipeline", "cli")
    kinds = (".py", ".yaml", ".html", ".css", ".js")
    paths = [path for room in rooms for path in (root / room).rglob("*")]
    folders = {path.parent for path in paths if path.suffix in kinds}
    names = {".".join(("clever", *folder.relative_to(root).parts)) for folder in folders}
    assert setuptools["package-dir"] == {"clever": "."}
    assert set(setuptools["packages"]) == {"clever"} | names


def test_everything_that_is_installed_has_a_lowest_version() -> None:
    """Those that the minimum job of the hosted checks installs; tools of developers are new."""
    root = Path(clever.__file__).parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    users = [extras[name] for name in extras if name not in ("test", "docs", "dev")]
    requirements = [line for group in (project["dependencies"], *users) for line in group]
    assert len(requirements) > 30
    for line in requirements:
        assert re.match(r"clever-distiller\[|[\w-]+(\[\w+\])?[>=]=\d", line), line


def test_lines_fit_into_100_characters() -> None:
    """Also those that end in a type comment, which ruff does not count."""
    root = Path(clever.__file__).parent
    folders = [root / room for room in ("cache", "student", "pipeline", "cli", "tests")]
    files = [*root.glob("*.py"), *root.glob("*.toml")]
    files += [path for folder in folders for path in folder.rglob("*.py")]
    files += [path for folder in folders for path in folder.rglob("*.yaml")]
    long_lines = [
        f"{path.relative_to(root)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 100
    ]
    assert len(files) > 200
    assert not long_lines


def test_reading_a_cache_needs_neither_dataset_nor_teacher_packages() -> None:
    """`FeatureCache` imports on a machine without nuscenes-devkit, timm or spconv."""
    code = "import sys\nfor name in ('nuscenes', 'timm', 'spconv'): sys.modules[name] = None\n"
    code += "from clever.cache import FeatureCache"
    subprocess.run([sys.executable, "-c", code], check=True)
