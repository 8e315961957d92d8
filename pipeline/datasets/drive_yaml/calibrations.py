"""Calibration files that other tools write: KITTI's calib.txt and ROS's camera_info."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ....errors import FrameError
from ..readers.kitti_layout import KittiCalibration, read_calibration
from .schema import Distortion

KITTI_CAMERA = "image_2"
"""The camera that KITTI's file is read for."""
ROS_MODELS = {
    "plumb_bob": "radial-tangential",
    "rational_polynomial": "radial-tangential",
    "equidistant": "fisheye",
    "fisheye": "fisheye",
}
_FILE = re.compile(r"calib|camera_?info|intrinsic|extrinsic", re.IGNORECASE)
_FOLDER = re.compile(r"calib(ration)?s?", re.IGNORECASE)


@dataclass(frozen=True)
class RosCalibration:
    """A camera by ROS's camera_info: no place in the LiDAR's frame.

    Attributes:
        path: the file, relative to the root.
        camera: name in the file; empty for none.
        size: width and height in pixels.
        intrinsics: (3, 3) float64.
        distortion: the lens; None where the model is one that is not read.
    """

    path: str
    camera: str
    size: tuple[int, int]
    intrinsics: NDArray[np.float64]
    distortion: Distortion | None


def by_name(text: str) -> bool:
    """Whether a file is a calibration by its own name or its folder's."""
    path = PurePosixPath(text)
    return bool(_FILE.search(path.name) or _FOLDER.fullmatch(path.parent.name))


def kitti_calibrations(root: Path, texts: Sequence[str]) -> dict[str, KittiCalibration]:
    """KITTI's files by path, relative to the root."""
    result: dict[str, KittiCalibration] = {}
    for text in texts:
        if Path(text).name != "calib.txt":
            continue
        try:
            result[text] = read_calibration("", root / text)
        except FrameError:  # of another layout
            continue
    return result


def ros_calibrations(root: Path, texts: Sequence[str]) -> list[RosCalibration]:
    """ROS's files, in order of path."""
    files = [text for text in texts if text.endswith((".yaml", ".yml"))]
    return [calibration for text in files if (calibration := _ros(root, text))]


def _ros(root: Path, text: str) -> RosCalibration | None:
    """The calibration in a file; None where it is none."""
    try:
        content: Any = yaml.safe_load((root / text).read_text(encoding="utf-8"))
        intrinsics = np.array(content["camera_matrix"]["data"], np.float64).reshape(3, 3)
        size = int(content["image_width"]), int(content["image_height"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return None
    return RosCalibration(
        text, str(content.get("camera_name", "")), size, intrinsics, _distortion(content)
    )


def _distortion(content: dict[str, Any]) -> Distortion | None:
    try:
        numbers = [float(value) for value in content["distortion_coefficients"]["data"]]
        if not any(numbers):
            return Distortion(model="pinhole")
        model: Any = ROS_MODELS[content.get("distortion_model", "plumb_bob")]
        return Distortion(model=model, coefficients=tuple(numbers))
    except (KeyError, TypeError, ValueError):
        return None
