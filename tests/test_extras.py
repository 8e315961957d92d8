"""Packages of extras that are not installed: what needs them says so, what does not runs on."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import clever
from clever.extras import EXTRAS, lacking_extra

from .interpreter import Interpreter

HIDE = f"""
import importlib.abc, sys
HIDDEN = {(*EXTRAS, "nuscenes")}
for name in list(sys.modules):
    if name.partition(".")[0] in HIDDEN:
        del sys.modules[name]
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(scope="module")
def lacking() -> Iterator[Interpreter]:
    """An interpreter in which no package of an extra can be found."""
    with Interpreter(HIDE) as interpreter:
        yield interpreter


def test_every_extra_is_declared_and_brings_its_package() -> None:
    path = Path(clever.__file__).parent / "pyproject.toml"
    if not path.is_file():
        pytest.skip("an installed package has no pyproject.toml")
    extras = tomllib.loads(path.read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        name = {"skimage": "scikit-image"}.get(package, package)
        assert any(line.startswith(name) for line in extras[extra])


def test_an_extra_is_named_for_its_packages_alone() -> None:
    error = ModuleNotFoundError("No module named 'timm.models'", name="timm.models")
    assert lacking_extra(error) == (
        "this needs the package timm, which is not installed: "
        "pip install 'clever-distiller[teacher]'"
    )
    assert lacking_extra(ModuleNotFoundError("No module named 'spam'", name="spam")) is None
    assert lacking_extra(ImportError("cannot import name 'x' from 'timm'", name="timm")) is None
    assert lacking_extra(ModuleNotFoundError("no name")) is None


@pytest.mark.slow
def test_a_student_machine_needs_no_extra(lacking: Interpreter) -> None:
    code = (
        "from clever.cli.verbs import VERBS, load\n"
        "for name in ('pretrain', 'finetune', 'evaluate', 'predict', 'features', 'rankme',\n"
        "             'robustness', 'corrupt', 'share', 'import-weights', 'runs', 'make-drives'):\n"
        "    load(VERBS[name].job), load(VERBS[name].printer)\n"
        "import clever; clever.FeatureCache, clever.load_segmenter, clever.from_pretrained\n"
        "print('loaded', sorted(HIDDEN & sys.modules.keys()))\n"
    ).replace("HIDDEN &", "set(HIDDEN) &")
    process = lacking.run(code)
    assert process.stdout == "loaded []\n", process.stderr


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        ("look --checkpoint nowhere", "matplotlib", "pictures"),
        ("report nowhere", "matplotlib", "pictures"),
        ("cache-teacher --model vits14 --weights random:0", "timm", "teacher"),
    ],
)
def test_a_command_says_which_extra_it_lacks(
    words: str,
    package: str,
    extra: str,
    lacking: Interpreter,
    nuscenes_root: Path,
    tmp_path: Path,
) -> None:
    line = [*words.split()]
    if line[0] == "cache-teacher":
        line += ["--data-root", str(nuscenes_root), "--cache", str(tmp_path / "store")]
    process = lacking.run(
        f"sys.argv = {['clever', *line]}\nfrom clever.cli.main import main\nmain()"
    )
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1] == (
        f"error: this needs the package {package}, which is not installed: "
        f"pip install 'clever-distiller[{extra}]'"
    )
    assert "Traceback" not in process.stderr


def test_a_name_of_the_package_says_which_extra_it_lacks(lacking: Interpreter) -> None:
    code = "import clever\ntry: clever.ablate\nexcept clever.CleverError as error: print(error)\n"
    assert lacking.run(code).stdout == (
        "clever.ablate: this needs the package matplotlib, which is not installed: "
        "pip install 'clever-distiller[pictures]'\n"
    )
