"""What import contracts cannot say: one name installs, and a cache opens with little else there."""

import subprocess
import sys
import tomllib
from pathlib import Path

import clever


def test_the_package_installs_under_one_name() -> None:
    """No bare `cache` or `cli` lands in site-packages; every folder of modules is installed."""
    root = Path(clever.__file__).parent
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    rooms = ("cache", "student", "pipeline", "cli")
    folders = {path.parent for room in rooms for path in (root / room).rglob("*.py")}
    names = {".".join(("clever", *folder.relative_to(root).parts)) for folder in folders}
    assert setuptools["package-dir"] == {"clever": "."}
    assert set(setuptools["packages"]) == {"clever"} | names


def test_reading_a_cache_needs_neither_dataset_nor_teacher_packages() -> None:
    """`FeatureCache` imports on a machine without nuscenes-devkit, timm or spconv."""
    code = "import sys\nfor name in ('nuscenes', 'timm', 'spconv'): sys.modules[name] = None\n"
    code += "from clever.cache import FeatureCache"
    subprocess.run([sys.executable, "-c", code], check=True)
