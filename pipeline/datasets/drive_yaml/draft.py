"""A first ``drive.yaml`` from what lies in a folder: what can be seen is written, what cannot is
marked."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from ....cache.calibration_checks import intrinsics_fault
from ....cache.store.point_statistics import is_dark
from ....errors import CleverError, FrameError
from ..readers.bare_files import read_cloud
from ..readers.file_patterns import TOKEN
from ..readers.kitti_layout import KittiCalibration, image_size
from ..readers.sweep_checks import reach_fault
from ..readers.text_rows import text_lines
from ..semantickitti_classes import RAW_IDS, UNLABELLED
from .calibrations import (
    KITTI_CAMERA,
    RosCalibration,
    by_name,
    kitti_calibrations,
    ros_calibrations,
)
from .points import read_array
from .schema import TODO
from .survey import FileGroup, Survey

SAMPLE = 8
"""Files of a kind that are opened."""
NAMED = 3
"""Files that one remark names."""
COLUMNS = (4, 5, 3, 6, 7, 8)
"""Numbers a point of a flat file that are tried, the usual first."""
COLUMN_NAMES = ("x", "y", "z", "intensity", "column5", "column6", "column7", "column8")
SMOOTHER = 0.8
"""Another number of columns wins over a more usual one if neighbouring rows then differ by less
than this share."""
SCALES = (1.0, 255.0, 65535.0)
"""Values of full intensity that sensors use."""
TIME_FILES = ("times.txt", "timestamps.txt")
POSE_FILES = re.compile(r"(poses?|trajectory|odometry).*\.(txt|csv|tum)|.*\.tum", re.IGNORECASE)
UNITS = ((1e8, "s"), (1e11, "s"), (1e14, "ms"), (1e17, "us"), (1e20, "ns"))
"""Largest value of a time in each unit, since 1970 or from the beginning of the drive."""

T = TypeVar("T")

_HEAD = """\
# Where the files of this drive lie and how its sensors are placed. All keys: docs/your-own-drive.md
# of the project. Patterns are paths below this folder: {scene}, {frame} and {time} stand for what
# differs from file to file within one name, * for what does not matter. Replace every TODO.
"""
_EXTRINSICS = """\
    # The camera's frame: x right, y down, z forward. Give camera_from_lidar (takes LiDAR points to
    # the camera) or lidar_from_camera (the camera's place in the LiDAR's frame) as 3 rows of 4
    # numbers, or as {translation: [x, y, z], quaternion_wxyz: [w, x, y, z]} (or quaternion_xyzw).
"""


@dataclass
class Draft:
    """Sections of a first ``drive.yaml``, and remarks on what was seen.

    Attributes:
        root: the drive's folder.
        seen: what lies there.
        remarks: what a user should know.
        taken: calibration files that the file takes its numbers from, or that a remark names.
    """

    root: Path
    seen: Survey
    remarks: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.seen.points is None:
            raise CleverError(
                f"{self.root} holds no point files (.bin, .pcd, .ply, .las, .laz, .npy); give the "
                "folder of your recordings"
            )
        self.points = self.seen.points
        every = kitti_calibrations(self.root, self.seen.texts)
        self.kitti = {
            path: one for path, one in every.items() if self._within_scenes(path)
        } or every
        self.ros = ros_calibrations(self.root, self.seen.texts)
        for group in self.seen.others:
            self.remarks.append(
                f"{group.pattern} are further point files; a drive has one LiDAR: change "
                "points.files to use them"
            )

    def text(self) -> str:
        """The whole file.

        Raises:
            CleverError: a point file of the sample that cannot be read.
        """
        sections = [
            _HEAD,
            self._points(),
            self._cameras(),
            self._match(),
            self._poses(),
            self._labels(),
            self._splits(),
        ]
        self._remark_idle_calibrations()
        return "\n".join(section for section in sections if section)

    def _points(self) -> str:
        first = self.root / self.points.files()[0]
        lines = ["points:", f"  files: {_quoted(self.points.pattern)}"]
        suffix = "".join(first.suffixes[-2:]) if first.name.endswith(".pcd.bin") else first.suffix
        if suffix == ".pcd.bin":
            lines += ["  input_format: nuscenes  # x y z intensity ring, float32"]
        elif suffix in (".bin", ".npy"):
            lines += _flat_lines(self._arrays(suffix), suffix)
        else:
            lines += self._opened(self.points, _field_lines)[0]
        return "\n".join([*lines, *self._times(self.points, "  ")]) + "\n"

    def _arrays(self, suffix: str) -> list[NDArray[np.float64]]:
        """Rows of some files: (R, C) of arrays, (R,) of flat files."""
        return self._opened(self.points, _rows_of if suffix == ".npy" else _numbers_of, SAMPLE)

    def _opened(self, group: FileGroup, reader: Callable[[Path], T], count: int = 1) -> list[T]:
        """What `count` files of a sample hold; those that cannot be read are remarked on, unless
        they are all."""
        contents: list[T] = []
        errors: list[CleverError] = []
        for file in _some(group.files()):
            if len(contents) == count:
                break
            try:
                contents.append(reader(self.root / file))
            except OSError as error:
                errors.append(CleverError(f"cannot read {self.root / file}: {error.strerror}"))
            except CleverError as error:
                errors.append(error)
        if not contents:
            raise errors[0]
        self.remarks += [str(error) for error in errors]
        return contents

    def _times(self, group: FileGroup, indent: str) -> list[str]:
        """Lines on when the files of a group were recorded; none where nothing tells it."""
        if group.timed:
            name = PurePosixPath(group.files()[0]).name
            digits = re.findall(r"\d{10,}(?:\.\d+)?", name)
            return [f"{indent}times: {{unit: {_unit(digits[-1])}}}  # of {{time}} in the names"]
        pattern = self._beside(group, re.compile("|".join(map(re.escape, TIME_FILES))))
        if pattern and (rows := self._rows(group, pattern)):
            line = next(iter(self._lines(group, pattern).values()))[0]
            numbered = ", rows: number" if rows == "number" else ""
            files = f"{{files: {_quoted(pattern)}, unit: {_unit(line)}{numbered}}}"
            return [f"{indent}times: {files}"]
        return [f"{indent}times: {TODO}"] if self._by_time() else []

    def _beside(self, group: FileGroup, names: re.Pattern[str]) -> str:
        """Pattern of the text files beside or above a group that every scene has; empty where there
        are none, or a scene lacks its own."""
        lacking: dict[str, list[str]] = {}
        for scene, folder in group.folders.items():
            for parent in (PurePosixPath(folder), *PurePosixPath(folder).parents):
                for text in self.seen.texts:
                    path = PurePosixPath(text)
                    if path.parent != parent or not names.fullmatch(path.name):
                        continue
                    pattern = _pattern(text, scene)
                    if TOKEN.search(path.name) or pattern in lacking:
                        continue
                    lacking[pattern] = [
                        other
                        for other in group.folders
                        if _of_scene(pattern, other) not in self.seen.texts
                    ]
                    if not lacking[pattern]:
                        return pattern
        for pattern, scenes in lacking.items():
            self.remarks.append(
                f"{pattern} is left out: the scenes {', '.join(scenes)} lack it; add it there if "
                "times matter, as with poses"
            )
        return ""

    def _lines(self, group: FileGroup, pattern: str) -> dict[str, list[str]]:
        """Lines of a text file by scene."""
        return {
            scene: list(text_lines(self.root / _of_scene(pattern, scene)))
            for scene in group.folders
        }

    def _rows(self, group: FileGroup, pattern: str) -> str:
        """``order`` or ``number``, whichever is right of the lines of every scene; empty for
        none."""
        lines = self._lines(group, pattern)
        uneven = [scene for scene in lines if len(lines[scene]) != len(group.names[scene])]
        if not uneven:
            return "order"
        for scene, rows in lines.items():
            stems = _stems(group, scene)
            if all(stem.isdecimal() and int(stem) < len(rows) for stem in stems):
                continue
            faulty = scene if scene in uneven else uneven[0]
            self.remarks.append(
                f"{pattern} is left out: {_of_scene(pattern, faulty)} has {len(lines[faulty])} "
                f"lines for {len(group.names[faulty])} files; restore it"
            )
            return ""
        return "number"

    def _cameras(self) -> str:
        if not self.seen.images:
            return "# cameras: no images here; without cameras only labels can be learned from\n"
        parts = ["cameras:"]
        for place, group in enumerate(self.seen.images):
            parts.append(f"  {_key(group.label)}:\n    images: {_quoted(group.pattern)}")
            parts += self._times(group, "    ")
            if lacking := [name for name in self.points.names if name not in group.names]:
                self.remarks.append(
                    f"the scenes {', '.join(lacking)} have no images {group.pattern}: their labels "
                    "can be learned from, but `clever cache-teacher` skips their frames"
                )
            calibration = self._calibration(group)
            if place:  # once is enough
                calibration = calibration.replace(_EXTRINSICS, "")
            parts.append(calibration.rstrip("\n"))
        return "\n".join(parts) + "\n"

    def _calibration(self, group: FileGroup) -> str:
        """Lines of a camera's calibration, from a file where one is there."""
        ((image, (width, height)),) = self._opened(group, _size_of)
        size = f"    size: [{width}, {height}]\n"
        if self.kitti and group.label == KITTI_CAMERA:
            path, calibration = next(iter(self.kitti.items()))
            self.taken |= self.kitti.keys()
            self._remark_other_calibrations(path, calibration)
            if not self._within_scenes(path):
                self.remarks.append(
                    f"{path} belongs to no scene and is taken, as there is no other; check that it "
                    "is of these drives"
                )
            try:
                intrinsics, place = calibration.camera2("", image, width, height)
            except FrameError as error:
                self.remarks.append(error.reason)
            else:
                return (
                    f"    # from {_key(path)}; images differ in size by a few pixels from drive to "
                    "drive\n"
                    f"    intrinsics: {_matrix(intrinsics)}\n"
                    f"    camera_from_lidar: {_matrix(place[:3])}\n"
                )
        ros = [each for each in self.ros if group.label in (each.camera, *Path(each.path).parts)]
        ros = ros or (self.ros if len(self.ros) == len(self.seen.images) == 1 else [])
        todo = f"{_EXTRINSICS}    camera_from_lidar: {TODO}\n"
        if not ros:
            return (
                f"{size}    intrinsics: {TODO}  # {{fx: , fy: , cx: , cy: }} in pixels\n"
                "    distortion: {model: pinhole}  # or radial-tangential or fisheye, with "
                f"coefficients: [k1, ...]\n{todo}"
            )
        self.taken.add(ros[0].path)
        distortion = f"{TODO}  # a model of ROS that is not read"
        if lens := ros[0].distortion:
            numbers = ", ".join(map(repr, lens.coefficients))
            coefficients = f", coefficients: [{numbers}]" if numbers else ""
            distortion = f"{{model: {lens.model}{coefficients}}}"
        return (
            f"    # from {_key(ros[0].path)}; of rectified images: the projection matrix, and "
            "pinhole\n"
            f"    size: [{ros[0].size[0]}, {ros[0].size[1]}]\n"
            f"    intrinsics: {self._ros_intrinsics(ros[0])}\n"
            f"    distortion: {distortion}\n{todo}"
        )

    def _ros_intrinsics(self, calibration: RosCalibration) -> str:
        """The matrix of a camera; left to fill in where it cannot be one, which is remarked."""
        if fault := intrinsics_fault(calibration.intrinsics, *calibration.size):
            self.remarks.append(f"{calibration.path} is no calibration: {fault}; correct it")
            return TODO
        return _matrix(calibration.intrinsics)

    def _remark_other_calibrations(self, path: str, calibration: KittiCalibration) -> None:
        others = [
            name
            for name, other in self.kitti.items()
            if not np.array_equal(other.projection, calibration.projection)
            or not np.array_equal(other.camera0_from_lidar, calibration.camera0_from_lidar)
        ]
        if others:
            self.remarks.append(
                f"{', '.join(others)} differ from {path}; a drive.yaml has one calibration: put "
                "the drives of each into a folder of their own"
            )

    def _within_scenes(self, path: str) -> bool:
        """Whether a file lies in the folder of a scene or above it."""
        own, scenes = PurePosixPath(path), self.points.folders
        folders = map(PurePosixPath, scenes.values())
        above = {place for folder in folders for place in (folder, *folder.parents)}
        return "" in scenes or own.parent in above or not scenes.keys().isdisjoint(own.parts)

    def _remark_idle_calibrations(self) -> None:
        """Name the calibration files of which no camera takes anything."""
        others = {calibration.path for calibration in self.ros}
        idle = [
            text
            for text in self.seen.texts
            if text not in self.taken and (text in others or by_name(text))
        ]
        if idle and self.seen.images:
            more = f" and {len(idle) - NAMED} more" if len(idle) > NAMED else ""
            self.remarks.append(
                f"calibration files of which nothing is taken: {', '.join(idle[:NAMED])}{more}; "
                "write what holds of them into cameras"
            )

    def _match(self) -> str:
        """How images belong to frames."""
        if not self.seen.images:
            return ""
        if not self._by_time():
            return "match: name  # an image has the {scene} and {frame} of its points\n"
        return (
            "match: time  # the image taken nearest to the points, at most largest_gap seconds "
            "away\nlargest_gap: 0.05\n"
        )

    def _by_time(self) -> bool:
        """Whether no image has the name of its points."""
        both = [
            (set(_stems(self.points, scene)), set(_stems(group, scene)))
            for group in self.seen.images
            for scene in self.points.names
            if scene in group.names
        ]
        return bool(both) and not any(frames & images for frames, images in both)

    def _poses(self) -> str:
        if pattern := self._beside(self.points, POSE_FILES):
            return self._pose_lines(pattern)
        return (
            "# poses: no such file in every scene; without them points are not moved with the car "
            "between times\n"
        )

    def _pose_lines(self, pattern: str) -> str:
        lines = next(iter(self._lines(self.points, pattern).values()))
        rows = [line for line in lines if not line.startswith("#")]
        columns = len(rows[0].split()) if rows else 0
        formats = {12: "kitti", 8: "tum  # qx qy qz qw; tum-wxyz where qw comes first"}
        order = self._rows(self.points, pattern) if columns == 12 else "order"
        if not order:
            return "# poses: left out, they have other numbers of lines than frames\n"
        numbered = order == "number"
        text = f"poses:\n  files: {_quoted(pattern)}\n"
        text += f"  format: {formats.get(columns, f'{TODO}  # kitti, tum or tum-wxyz')}\n"
        text += "  rows: number  # the first line is that of frame 0\n" if numbered else ""
        if self.kitti and columns == 12:
            self.taken |= self.kitti.keys()
            place = next(iter(self.kitti.values())).camera0_from_lidar
            return f"{text}  of: body  # camera 0\n  body_from_lidar: {_matrix(place[:3])}\n"
        return (
            f"{text}  of: {TODO}  # lidar, a camera's name, or body with body_from_lidar or "
            "lidar_from_body beside it\n"
        )

    def _labels(self) -> str:
        group = self.seen.labels
        if group is None:
            return "# labels: none here; see docs/your-own-drive.md\n"
        text = f"labels:\n  files: {_quoted(group.pattern)}\n"
        dtype, ids = self._raw_ids(group)
        text += f"  dtype: {dtype}\n" if dtype else ""
        names = {raw: name for name, raws in RAW_IDS.items() for raw in raws}
        names |= dict.fromkeys(UNLABELLED, "ignore")
        if ids and ids <= set(names) and group.pattern.endswith(".label"):
            entries = ", ".join(f"{raw}: {name}" for raw, name in names.items())
            return (
                f"{text}  # the ids are SemanticKITTI's\n"
                f"  classes: [{', '.join(RAW_IDS)}]\n  map: {{{entries}}}\n  mean: all\n"
            )
        entries = ", ".join(f"{raw}: ignore" for raw in sorted(ids))
        self.remarks.append(
            f"labels: ids {', '.join(map(str, sorted(ids)))} occur in a sample of files; name "
            "the class of each in labels.map, or remove labels"
        )
        return (
            f"{text}  classes: {TODO}  # names of the training classes, [road, car, ...]\n"
            f"  map: {{{entries}}}  # raw id: class, or ignore\n"
        )

    def _raw_ids(self, group: FileGroup) -> tuple[str, set[int]]:
        """Type of the raw bytes (empty for .npy), and the ids in a sample of files."""
        files = _some(group.files())
        if files[0].endswith(".npy"):
            arrays = self._opened(group, _ids_of, SAMPLE)
            return "", {int(raw) for array in arrays for raw in np.unique(array)}
        dtype = "uint32" if files[0].endswith(".label") else "uint8"
        raws = [np.fromfile(self.root / file, f"<{np.dtype(dtype).str[1:]}") for file in files]
        return dtype, {int(raw) & 0xFFFF for array in raws for raw in np.unique(array)}

    def _splits(self) -> str:
        scenes = list(self.points.folders)
        if scenes == [""]:
            return (
                "# splits: {train: lists/train.txt, val: lists/val.txt}  # files of one frame a "
                "line; until then --split all\n"
            )
        labelled = [name for name in scenes if self.seen.labels and name in self.seen.labels.names]
        held_out = (labelled or scenes)[-1] if len(scenes) > 1 else None
        quoted = ", ".join(_quoted(name) for name in scenes if name != held_out)
        text = f"splits:\n  train: [{quoted}]\n"
        return text + (f"  val: [{_quoted(held_out)}]\n" if held_out else "")


def _some(files: Sequence[str]) -> list[str]:
    """`SAMPLE` files, spread evenly."""
    places: list[int] = np.linspace(0, len(files) - 1, SAMPLE).round().astype(int).tolist()
    return [files[place] for place in dict.fromkeys(places)]


def _stems(group: FileGroup, scene: str) -> list[str]:
    """What stands for ``{frame}`` in the names of a scene."""
    expression = re.escape(PurePosixPath(group.pattern).name)
    for part in ("frame", "time"):
        expression = expression.replace(rf"\{{{part}\}}", "(.+)")
    matches = (re.fullmatch(expression, name) for name in group.names.get(scene, ()))
    return [f"{match[1]}" for match in matches if match]


def _pattern(path: str, scene: str) -> str:
    """A path with the scene's name as a named part."""
    parts = path.split("/")
    return "/".join("{scene}" if scene and part == scene else part for part in parts)


def _of_scene(pattern: str, scene: str) -> str:
    """The path of one scene."""
    return pattern.replace("{scene}", scene)


def _quoted(text: str) -> str:
    """A text as YAML reads it back, whatever is in it."""
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return dumped.rstrip("\n")


def _key(text: str) -> str:
    """A text with quotes only where it needs them."""
    plain = re.fullmatch(r"[A-Za-z][\w./-]*", text, re.ASCII) and yaml.safe_load(text) == text
    return text if plain else _quoted(text)


def _matrix(matrix: NDArray[np.float64]) -> str:
    """Rows in YAML, every digit."""
    rows = (", ".join(map(repr, row)) for row in matrix.tolist())
    return "[" + ", ".join(f"[{row}]" for row in rows) + "]"


def _size_of(path: Path) -> tuple[Path, tuple[int, int]]:
    """An image with its width and height; raises CleverError where it is none."""
    try:
        return path, image_size("", path)
    except FrameError as error:
        raise CleverError(error.reason) from error


def _array_of(path: Path, kinds: str) -> NDArray[Any]:
    """An array that is not empty, of numpy's `kinds` of numbers; raises CleverError for others."""
    array = read_array(path)
    if not array.size:
        raise CleverError(f"{path} is empty; restore it, or leave it out")
    if array.dtype.kind not in kinds:
        raise CleverError(f"{path} is an array of {array.dtype}, not of numbers; convert it")
    return array


def _rows_of(path: Path) -> NDArray[np.float64]:
    return _array_of(path, "fiu").astype(np.float64)


def _ids_of(path: Path) -> NDArray[np.int64]:
    return _array_of(path, "iu").astype(np.int64)


def _numbers_of(path: Path) -> NDArray[np.float64]:
    """float32 of a flat file."""
    numbers = np.fromfile(path, "<f4").astype(np.float64)
    if not len(numbers):
        raise CleverError(f"{path} is empty; restore it, or leave it out")
    return numbers


def _unit(text: str) -> str:
    """Unit of a time by its size, or a date."""
    try:
        value = abs(float(text))
    except ValueError:
        return "date"
    return next((unit for limit, unit in UNITS if value < limit), TODO)


def _flat_lines(arrays: Sequence[NDArray[np.float64]], suffix: str) -> list[str]:
    """Lines on the columns of flat files and arrays and on the scale of their intensity."""
    if suffix == ".npy":
        counts = [arrays[0].shape[1]] if arrays[0].ndim == 2 else []
        counts = [count for count in counts if 3 <= count <= len(COLUMN_NAMES)]
        arrays = [array for array in arrays if array.shape[1:] == arrays[0].shape[1:]]
    else:
        counts = plausible_columns(arrays)
    lines = [f"  input_format: {suffix[1:]}"]
    if not counts:
        return [*lines, f"  columns: {TODO}  # names of the numbers of a point, [x, y, z, ...]"]
    count = counts[0]
    doubt = f"  # or {' or '.join(map(str, counts[1:]))} columns" if len(counts) > 1 else ""
    lines.append(f"  columns: [{', '.join(COLUMN_NAMES[:count])}]{doubt}")
    rows = np.concatenate([array.reshape(-1, count) for array in arrays])
    if count == 3:
        lines.append("  intensity_field: none")
    else:
        lines.append(_scale_line(rows[:, 3]))
    placed = np.isfinite(rows[:, :3]).all(1)
    kinds = [] if placed.all() else ["nan"]
    kinds += ["zero"] if (rows[:, :3] == 0).all(1).mean() > 0.01 else []
    return [*lines, *([f"  no_returns: [{', '.join(kinds)}]"] if kinds else [])]


def plausible_columns(arrays: Sequence[NDArray[np.float64]]) -> list[int]:
    """Numbers of columns that flat files (R,) may have, the likeliest first: neighbouring points of
    a sweep lie close together, and rows of a wrong length mix axes."""
    roughness: dict[int, float] = {}
    for count in COLUMNS:
        if any(len(array) % count or not len(array) for array in arrays):
            continue
        xyz = np.concatenate([array.reshape(-1, count)[:, :3] for array in arrays])
        xyz = xyz[np.isfinite(xyz).all(1)]
        if len(xyz) < 2 or reach_fault(xyz):
            continue
        roughness[count] = float(np.median(np.abs(np.diff(xyz, axis=0)).max(1)))
    order = sorted(roughness, key=lambda count: roughness[count])
    for count in roughness:
        if roughness[order[0]] > SMOOTHER * roughness[count]:
            return [count, *(other for other in order if other != count)]
    return order


def _field_lines(path: Path) -> list[str]:
    """Lines on a file with named fields."""
    kind = "las" if path.suffix.lower() == ".laz" else path.suffix.lower()[1:]
    lines = [f"  input_format: {kind}"]
    try:
        cloud = read_cloud(path)
    except CleverError as error:
        if "intensity" not in str(error):
            raise
        return [*lines, "  intensity_field: none"]
    placed = np.isfinite(cloud.xyz).all(1)
    if cloud.full is None:
        lines.append(_scale_line(cloud.intensity[placed].astype(np.float64)))
    return lines if placed.all() else [*lines, "  no_returns: [nan]"]


def _scale_line(intensity: NDArray[np.float64]) -> str:
    """The value of full intensity that the brightest point of a sample suggests."""
    values = intensity[np.isfinite(intensity)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    scale = next((scale for scale in SCALES if high <= scale), None)
    span = f"{low:g} to {high:g}"
    if scale is None or low < 0 or is_dark(high / scale):
        return f"  intensity_scale: {TODO}  # value of full intensity; a sample has {span}"
    return f"  intensity_scale: {scale:g}  # a sample has {span}"
