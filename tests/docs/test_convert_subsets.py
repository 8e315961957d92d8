"""Subset files become lists of ids without running what they name."""

import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clever.pipeline.steps.samplers import read_frame_ids

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "convert_subsets.py"
TOKENS = [f"{number:032x}" for number in (7, 3, 5)]


class Harmful:
    """Makes a folder when it is unpickled in the ordinary way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def convert(content: object, folder: Path, protocol: int = 4) -> subprocess.CompletedProcess[str]:
    source = folder / "subset.pkl"
    source.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    command = [sys.executable, str(SCRIPT), str(source), str(folder / "ids.txt")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def infos() -> list[dict[str, Any]]:
    """Frames as mmdetection3d writes them, with what else may lie in them."""
    return [
        {
            "token": token,
            "timestamp": np.float64(1.5),
            "lidar_points": {"lidar2ego": np.eye(4), "num_pts_feats": 5},
            "images": OrderedDict(CAM_FRONT={"img_path": "a.jpg", "boxes": np.zeros(0, object)}),
            "kept": {1, 2},
            "path": Path("samples/a.bin"),
        }
        for token in TOKENS
    ]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "content",
    [{"metainfo": {"version": "v1.0-trainval"}, "data_list": infos()}, {"infos": infos()}, infos()],
)
def test_tokens_in_the_order_of_the_file(content: object, protocol: int, tmp_path: Path) -> None:
    process = convert(content, tmp_path, protocol)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == f"{tmp_path / 'ids.txt'}: 3 frames of {tmp_path / 'subset.pkl'}\n"
    assert read_frame_ids(tmp_path / "ids.txt") == TOKENS
    again = convert(content, tmp_path, protocol)
    assert again.returncode == 2
    assert "File exists" in again.stderr


def test_nothing_that_a_file_names_is_run(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    frames = [*infos(), {"token": "a", "extra": Harmful(harm)}]
    assert convert({"data_list": frames}, tmp_path).returncode == 0
    assert not harm.exists()
    pickle.loads(pickle.dumps(Harmful(harm)))  # or the test shows nothing
    assert harm.exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"no pickle", "is no pickle that can be read"),
        (pickle.dumps(infos())[:-20], "is no pickle that can be read"),
        ({"data": infos()}, "has no list of frames"),
        ({"infos": []}, "has no list of frames"),
        ([*infos(), {"sample": "a"}], "frame 3 of 4 has no token"),
        ([{"token": "a\nb"}], "frame 0 of 1 has no token"),
        ([{"token": Path("a")}], "frame 0 of 1 has no token"),
        (infos() + infos()[:1], "holds 1 frames twice"),
    ],
)
def test_another_file_is_one_line(content: object, complaint: str, tmp_path: Path) -> None:
    process = convert(content, tmp_path)
    assert (process.returncode, process.stdout) == (2, "")
    assert complaint in process.stderr
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "ids.txt").exists()
