"""Datasets of other packages: found by name, opened with their own options, refused in one line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import clever
from clever.cache import FeatureCache
from clever.cli.environment import VARIABLES
from clever.cli.main import main
from clever.errors import CleverError
from clever.pipeline.datasets import build_dataset, open_dataset
from clever.pipeline.datasets.registry import DATASETS, dataset_class
from clever.pipeline.settings.shared.dataset import DatasetSettings, WholeDatasetSettings

MODULE = '''
from pathlib import Path

import numpy as np
from PIL import Image

from clever.cache.frame import Camera, Frame
from clever.errors import CleverError


class Tiny:
    """Images ``*.png`` before a wall of points, one frame an image."""

    name = "tiny"
    cameras = ("front",)
    class_names = ("wall",)

    def __init__(self, root, *, version=None, distance="5"):
        try:
            self.distance = float(distance)
        except ValueError:
            raise CleverError(f"distance={distance} is no number of metres") from None
        self.images = sorted(Path(root).glob("*.png"))
        self.frame_ids = [path.stem for path in self.images]
        self.scenes = ["only"] * len(self.images)

    def __len__(self):
        return len(self.images)

    def frame(self, index):
        with Image.open(self.images[index]) as image:
            width, height = image.size
        intrinsics = np.array([[50, 0, width / 2], [0, 50, height / 2], [0, 0, 1.0]])
        pose = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
        camera = Camera("front", self.images[index], width, height, intrinsics, pose)
        name = self.frame_ids[index]
        return Frame(name, "only", index, self.points(index), np.eye(4), (camera,))

    def points(self, index):
        y, z = np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-0.5, 0.5, 5))
        x, light = np.full(y.shape, self.distance), np.full(y.shape, 0.5)
        return np.stack([x, y, z, light], -1).reshape(-1, 4).astype(np.float32)

    def has_labels(self, index):
        return False

    def labels(self, index):
        return np.zeros(40, np.uint8)
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Folder of an installed package `tiny_set` whose entry point is ``tiny``."""
    site = tmp_path / "site"
    info = site / "tiny_set-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "tiny_set.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-set\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clever.datasets]\ntiny = tiny_set:Tiny\n")
    return site


@pytest.fixture
def images(tmp_path: Path) -> Path:
    from PIL import Image

    root = tmp_path / "frames"
    root.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 32), (80 * number, 120, 40)).save(root / f"{number}.png")
    return root


@pytest.fixture
def run(package: Path, images: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `clever` in a process that has the package installed."""
    paths = [str(package), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "clever", *words, "--data-root", str(images)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return command


@pytest.fixture
def here(
    package: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Runs `clever` in this process as if the package were installed: exit code, output, errors."""
    monkeypatch.syspath_prepend(package)
    for name, value in VARIABLES.items():  # which the command sets; taken back after the test
        monkeypatch.setenv(name, value)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clever", *words, "--data-root", str(images)])
        with pytest.raises(SystemExit) as end:
            main()
        output, errors = capsys.readouterr()
        return int(end.value.code or 0), output, errors

    return command


TEACHER = [
    "--model",
    "test_vit",
    "--weights",
    "random:0",
    "--image-size",
    "32x64",
    "--device",
    "cpu",
]


@pytest.mark.slow
def test_an_installed_dataset_from_cache_to_verification(
    run: Callable[..., subprocess.CompletedProcess[str]],
    here: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    store = tmp_path / "x.zarr"
    more = ["--dataset", "tiny", "--dataset-option", "distance=7", "--cache", str(store)]
    result = run("cache-teacher", *more, *TEACHER)
    assert result.returncode == 0, result.stderr
    cache = FeatureCache(store)
    assert list(cache.ids) == ["0", "1", "2"]
    assert cache[1].points[:, 0].tolist() == [7.0] * 40
    code, output, errors = here("cache", "verify", str(store), "--dataset-option", "distance=7")
    assert code == 0, output + errors
    assert "3 frames compared with the dataset" in output


@pytest.mark.parametrize("name", ["tiny", "tiny_set:Tiny"])
def test_a_plugged_dataset_from_cache_to_verification(
    here: Callable[..., tuple[int, str, str]], tmp_path: Path, name: str
) -> None:
    store = tmp_path / "x.zarr"
    more = ["--dataset", name, "--dataset-option", "distance=7", "--cache", str(store)]
    code, _, errors = here("cache-teacher", *more, *TEACHER)
    assert code == 0, errors
    assert FeatureCache(store)[1].points[:, 0].tolist() == [7.0] * 40
    option = ["--dataset-option", "distance=7"]
    code, output, errors = here("cache", "verify", str(store), "--dataset", name, *option)
    assert code == 0, output + errors
    assert "3 frames compared with the dataset" in output
    assert "3 frames compared with the dataset" in here("cache", "verify", str(store), *option)[1]
    other, _, _ = here("cache", "verify", str(store), "--dataset", name)
    assert other == 1  # the wall stands 5 m away by default


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("tony", f"--dataset is 'tony': unknown dataset; choose {', '.join(DATASETS)}, tiny or"),
        ("absent.module:Tiny", "cannot import absent.module: No module named 'absent'"),
        ("tiny_set:Tony", "module 'tiny_set' has no attribute 'Tony'"),
        ("tiny_set:np", "tiny_set:np is no dataset class"),
        ("tiny --dataset-option depth=3", "tiny has no dataset option depth; it has distance"),
        ("tiny --dataset-option distance", "'distance' should be NAME=VALUE"),
        ("tiny --dataset-option distance=far", "distance=far is no number of metres"),
        ("tiny --split val", "tiny has no splits; leave --split out and choose with --version"),
        ("tiny --sequences 3", "tiny has no sequences; leave --sequences out"),
    ],
)
def test_what_is_wrong_is_one_line(
    here: Callable[..., tuple[int, str, str]], tmp_path: Path, words: str, line: str
) -> None:
    store = ["--cache", str(tmp_path / "x.zarr")]
    code, _, errors = here("cache-teacher", "--dataset", *words.split(), *store, *TEACHER)
    assert code == 2
    assert line in errors
    assert errors.count("\n") == 1


def test_names_of_the_table_are_those_of_the_classes() -> None:
    assert [dataset_class(name).name for name in DATASETS] == list(DATASETS)


def test_entry_points_that_mislead(
    package: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = package / "tiny_set-1.0.dist-info/entry_points.txt"
    points.write_text("[clever.datasets]\nsmall = tiny_set:Tiny\n")
    monkeypatch.syspath_prepend(package)
    with pytest.raises(
        CleverError, match="'small' is the class tiny_set:Tiny, whose name is 'tiny'"
    ):
        build_dataset("small", images)
    again = package / "rival-2.0.dist-info"
    again.mkdir()
    (again / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 2.0\n")
    (again / "entry_points.txt").write_text("[clever.datasets]\nsmall = rival:Small\n")
    with pytest.raises(CleverError, match=r"several packages: rival \(rival:Small\), tiny-set"):
        build_dataset("small", images)


def test_a_dataset_without_frames(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CleverError, match=r"tiny has no frames in .*nothing for this choice; pass"):
        build_dataset("tiny_set:Tiny", tmp_path / "nothing", options={"distance": "7"})


def test_semantickitti_has_no_versions(kitti_root: Path) -> None:
    with pytest.raises(CleverError, match="semantickitti has no versions; leave `version` out"):
        build_dataset("semantickitti", kitti_root, version="v1.0-mini")


def test_defaults_of_a_job_are_no_choice(
    package: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    whole = WholeDatasetSettings(dataset="tiny_set:Tiny", data_root=images)
    assert (whole.split, whole.default_of("split")) == ("all", "all")
    assert list(open_dataset(whole, whole.dataset).frame_ids) == ["0", "1", "2"]
    train = DatasetSettings(dataset="tiny_set:Tiny", data_root=images, split="all")
    with pytest.raises(CleverError, match="tiny has no splits"):
        open_dataset(train, train.dataset)


def test_settings_import_no_dataset() -> None:
    code = (
        "import sys, clever.pipeline.settings.shared.dataset as d; d.DatasetSettings();"
        "print(sorted({'numpy', 'torch', 'nuscenes', 'PIL'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", clever.__file__ + result.stderr
