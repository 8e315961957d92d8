"""What ``drive.yaml`` says: where the files of a drive of one's own lie, and how its sensors are
placed."""

import difflib
from collections.abc import Hashable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from scipy.spatial.transform import Rotation

from ....cache.calibration_checks import matrix_fault, quaternion_fault, rigid_fault
from ....cache.lens import Lens
from ....errors import CleverError
from ...settings.shared.choices import ClassMean
from ..base import IGNORE
from ..readers.bare_files import NO_FIELD
from ..readers.file_patterns import FilePattern
from ..readers.text_rows import square

DRIVE_FILE = "drive.yaml"
TODO = "TODO"
"""What stands in a written ``drive.yaml`` for what only its owner knows."""
IGNORED_CLASS = "ignore"
"""In place of a class's name: points that take no part."""

TimeUnit = Literal["s", "ms", "us", "ns", "date"]
"""Unit of times written as numbers, or ``date``: ``2011-09-26 13:02:25.964389445``."""
Rows = Literal["order", "number"]
"""How the lines of a file belong to frames: line n to the nth file in natural order, or to the
frame whose name is the number n, the first line being number 0."""


def _pattern(text: str) -> str:
    if fault := FilePattern(text).fault():
        raise ValueError(fault)
    return text


def _array(value: object, what: str) -> NDArray[np.float64]:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"is no {what}") from None
    if not np.isfinite(array).all():
        raise ValueError("is not finite")
    return array


def _transform(value: object) -> NDArray[np.float64]:
    """(4, 4) from rows of a matrix, or a quaternion and a translation."""
    what = (
        "transform: give 3 or 4 rows of 4 numbers, or `translation` and `quaternion_wxyz` or "
        "`quaternion_xyzw`"
    )
    if isinstance(value, dict):
        transform = _placed(value, what)
    else:
        matrix = _array(value, what)
        if matrix.shape in ((12,), (16,)):
            matrix = matrix.reshape(-1, 4)
        if matrix.shape not in ((3, 4), (4, 4)):
            raise ValueError(f"is no {what}")
        transform = square(matrix) if len(matrix) == 3 else matrix
    if fault := rigid_fault(transform):
        raise ValueError(fault)
    return transform


def _placed(value: dict[Any, Any], what: str) -> NDArray[np.float64]:
    orders = ({"translation", "quaternion_wxyz"}, {"translation", "quaternion_xyzw"})
    if set(value) not in orders:
        raise ValueError(f"is no {what}")
    first = "quaternion_wxyz" in value
    quaternion = _array(value["quaternion_wxyz" if first else "quaternion_xyzw"], "quaternion")
    if fault := quaternion_fault(quaternion):
        raise ValueError(f"has a quaternion that {fault}")
    translation = _array(value["translation"], "translation")
    if translation.shape != (3,):
        raise ValueError(f"has a translation of {translation.size} numbers, not 3")
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_quat(quaternion, scalar_first=first).as_matrix()
    transform[:3, 3] = translation
    return transform


def _intrinsics(value: object) -> NDArray[np.float64]:
    """(3, 3) from the four numbers by name, or from a matrix; of whatever image."""
    what = "calibration: give fx, fy, cx and cy, or 3 rows of 3 numbers"
    if isinstance(value, dict):
        if set(value) != {"fx", "fy", "cx", "cy"}:
            raise ValueError(f"is no {what}")
        fx, fy, cx, cy = (float(_array(value[name], what)) for name in ("fx", "fy", "cx", "cy"))
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    else:
        matrix = _array(value, what)
        if matrix.size != 9 or matrix.shape not in ((9,), (3, 3)):
            raise ValueError(f"is no {what}")
        matrix = matrix.reshape(3, 3)
    if fault := matrix_fault(matrix):
        raise ValueError(f"is no calibration: {fault}")
    return matrix


def _either(transform: Any, inverse: Any) -> NDArray[np.float64]:
    """A transform that is given in one of its two directions."""
    return np.linalg.inv(inverse) if transform is None else transform


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _names(value: object) -> object:
    if isinstance(value, list | tuple):
        if wrong := [name for name in value if not isinstance(name, str)]:
            raise ValueError(f"holds {wrong[0]!r}, which is no text; write names in quotes")
    elif not isinstance(value, str):
        raise ValueError("needs a list of names in quotes, or a text file of one name a line")
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
"""See `FilePattern`."""
_NUMBER = BeforeValidator(_number)
Transform = Annotated[Any, PlainValidator(_transform)]
"""(4, 4) float64, rigid."""


class Part(BaseModel):
    """Base of the parts of ``drive.yaml``: an unknown key is refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Times(Part):
    """When files were recorded."""

    unit: TimeUnit
    """Of the times."""
    files: Pattern | None = None
    """Text file with one time a line; default: the ``{time}`` in the name of each file."""
    rows: Rows = "order"
    """How its lines belong to files."""


class Points(Part):
    """The point files."""

    files: Pattern
    """Where they lie; every match is a frame."""
    input_format: Literal["bin", "npy", "kitti", "nuscenes", "pcd", "ply", "las"]
    """What they are; ``bin`` and ``npy`` have `columns`."""
    columns: tuple[str, ...] = ()
    """Names of the numbers of a point in order, x, y and z among them."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of the numbers of a ``bin`` file, little-endian."""
    intensity_field: str | None = None
    """Column or field of the intensity; ``none`` leaves it out; default: ``intensity``, or the
    usual names in PCD and PLY."""
    intensity_scale: Annotated[Annotated[float, Field(gt=0)] | None, _NUMBER] = None
    """Stored value of full intensity."""
    no_returns: tuple[Literal["nan", "zero"], ...] = ()
    """Rows that are no points and are left out with their labels: NaN, or exactly 0 0 0."""
    times: Times | None = None
    """When the sweeps were recorded; default: unknown, frames are counted 0.1 s apart."""

    @property
    def scale(self) -> float | None:
        """Stored value of full intensity; None where each file's own type tells it."""
        if self.intensity_scale is None:
            return {"kitti": 1.0, "nuscenes": 255.0}.get(self.input_format)
        return self.intensity_scale

    @model_validator(mode="after")
    def _complete(self) -> "Points":
        flat = self.input_format in ("bin", "npy")
        if not flat and self.columns:
            raise ValueError(f"{self.input_format} files need no columns; leave `columns` out")
        if flat and not {"x", "y", "z"} <= set(self.columns):
            raise ValueError("needs `columns` with x, y and z, such as [x, y, z, intensity]")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("names one of its `columns` twice")
        field = self.intensity_field or "intensity"
        if flat and field not in (*self.columns, NO_FIELD):
            raise ValueError(
                f"has no {field} among its `columns`; name one as `intensity_field`, or leave it "
                f"out with `intensity_field: {NO_FIELD}`"
            )
        named = self.input_format in ("pcd", "ply", "bin", "npy")
        if self.intensity_field and not named:
            raise ValueError(f"{self.input_format} files have no named fields; leave it out")
        if flat and field != NO_FIELD and self.intensity_scale is None:
            raise ValueError("needs `intensity_scale`, the stored value of full intensity")
        names = FilePattern(self.files).names()
        if not names & {"frame", "time"}:
            raise ValueError("needs {frame} or {time} in `files`, to tell frames apart")
        _check_times(self.times, names)
        return self


class Distortion(Part):
    """Lens of a camera whose images are not rectified."""

    model: Literal["pinhole", "radial-tangential", "fisheye"]
    """As OpenCV has them."""
    coefficients: tuple[float, ...] = ()
    """radial-tangential: k1 k2 p1 p2, k3, k4 k5 k6 (4, 5 or 8 of them); fisheye: k1 k2 k3 k4."""

    @model_validator(mode="after")
    def _possible(self) -> "Distortion":
        if self.model == "pinhole" and self.coefficients:
            raise ValueError("a pinhole has no coefficients; name the `model` or leave them out")
        if (lens := self.lens()) and (fault := lens.fault()):
            raise ValueError(fault)
        return self

    def lens(self) -> Lens | None:
        """The lens; None for a pinhole."""
        return None if self.model == "pinhole" else Lens(self.model, self.coefficients)


class CameraPart(Part):
    """One camera; its frame is OpenCV's: x right, y down, z forward."""

    images: Pattern
    """Where its images lie."""
    intrinsics: Annotated[Any, PlainValidator(_intrinsics)]
    """fx, fy, cx, cy in pixels, or the 3 x 3 matrix."""
    distortion: Distortion = Distortion(model="pinhole")
    """Lens, where images are not rectified."""
    camera_from_lidar: Transform | None = None
    """Takes points of the LiDAR's frame to the camera's, metres."""
    lidar_from_camera: Transform | None = None
    """The inverse: the camera's place in the LiDAR's frame."""
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Width and height of the images that the calibration belongs to, in pixels; default: any."""
    times: Times | None = None
    """When the images were taken."""

    @property
    def from_lidar(self) -> NDArray[np.float64]:
        """(4, 4) float64 camera <- LiDAR, at one instant."""
        return _either(self.camera_from_lidar, self.lidar_from_camera)

    @model_validator(mode="after")
    def _complete(self) -> "CameraPart":
        if (self.camera_from_lidar is None) == (self.lidar_from_camera is None):
            raise ValueError("needs one of `camera_from_lidar` and `lidar_from_camera`")
        _check_times(self.times, FilePattern(self.images).names())
        return self


class CameraChange(Part):
    """What is otherwise with one camera in some scenes; what is left out stays as it is."""

    intrinsics: Annotated[Any, PlainValidator(_intrinsics)] = None
    """See `CameraPart`, as for the others."""
    distortion: Distortion | None = None
    """Lens."""
    camera_from_lidar: Transform | None = None
    """Takes points of the LiDAR's frame to the camera's, metres."""
    lidar_from_camera: Transform | None = None
    """The inverse."""
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Width and height of the images, in pixels."""

    @model_validator(mode="after")
    def _complete(self) -> "CameraChange":
        if self.camera_from_lidar is not None and self.lidar_from_camera is not None:
            raise ValueError("needs at most one of `camera_from_lidar` and `lidar_from_camera`")
        if not self.model_fields_set:
            raise ValueError("says nothing; give what is otherwise, or remove it")
        return self

    def of(self, camera: CameraPart) -> CameraPart:
        """`camera` as it is in those scenes."""
        moved = self.camera_from_lidar is not None or self.lidar_from_camera is not None
        placed = self if moved else camera
        return CameraPart(
            images=camera.images,
            intrinsics=camera.intrinsics if self.intrinsics is None else self.intrinsics,
            distortion=self.distortion or camera.distortion,
            camera_from_lidar=placed.camera_from_lidar,
            lidar_from_camera=placed.lidar_from_camera,
            size=self.size or camera.size,
            times=camera.times,
        )


class SceneCalibration(Part):
    """Sensors that are placed otherwise in some scenes: another car, another day."""

    scenes: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_names)]
    """Names of the scenes in quotes; ``*`` stands for any part of one."""
    cameras: dict[str, CameraChange] = Field(default_factory=dict)
    """By the name of the camera."""
    body_from_lidar: Transform | None = None
    """Where the LiDAR is on the body that the poses are of."""
    lidar_from_body: Transform | None = None
    """The inverse."""

    @model_validator(mode="after")
    def _complete(self) -> "SceneCalibration":
        if self.body_from_lidar is not None and self.lidar_from_body is not None:
            raise ValueError("needs at most one of `body_from_lidar` and `lidar_from_body`")
        return self

    @property
    def moves_body(self) -> bool:
        """Whether the LiDAR is elsewhere on its body."""
        return self.body_from_lidar is not None or self.lidar_from_body is not None

    def holds(self, scene: str) -> bool:
        """Whether `scene` is one of its scenes."""
        return any(fnmatchcase(scene, name) for name in self.scenes)


class Poses(Part):
    """Where the car was."""

    files: Pattern
    """Text file of a scene, or of all."""
    format: Literal["kitti", "tum", "tum-wxyz"]
    """kitti: 12 numbers a line, rows of a 3 x 4 matrix, one line a frame; tum: time in seconds, x y
    z, qx qy qz qw; tum-wxyz: time, x y z, qw qx qy qz."""
    of: str
    """Whose pose in the world: ``lidar``, a camera by name, or ``body`` with its place below."""
    rows: Rows = "order"
    """How the lines of a kitti file belong to frames."""
    body_from_lidar: Transform | None = None
    """Where the LiDAR is on the body that the poses are of."""
    lidar_from_body: Transform | None = None
    """The inverse."""
    compensate: bool = True
    """Whether points are moved with the car from their time to the image's, where both times are
    known."""

    @property
    def from_lidar(self) -> NDArray[np.float64]:
        """(4, 4) float64 body <- LiDAR, of poses of a body."""
        return _either(self.body_from_lidar, self.lidar_from_body)

    @model_validator(mode="after")
    def _complete(self) -> "Poses":
        transforms = (self.body_from_lidar is not None) + (self.lidar_from_body is not None)
        if transforms != (self.of == "body"):
            raise ValueError(
                "needs one of `body_from_lidar` and `lidar_from_body` if it is `of: body`, and "
                "neither otherwise"
            )
        return self


class Labels(Part):
    """Classes of points."""

    files: Pattern
    """One integer a point, as raw bytes of `dtype` or as .npy."""
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=IGNORE)]
    """Names of the training classes, in order."""
    map: dict[int, str]
    """Name of the class of every raw id, or ``ignore``; of ids above 65535 the lower 16 bits count,
    as in SemanticKITTI."""
    dtype: Literal["uint8", "int8", "uint16", "int16", "uint32", "int32"] = "uint32"
    """Of raw bytes, little-endian."""
    mean: ClassMean = "present"
    """Whether a class that does not occur counts 0 in the mean IoU (``all``) or not at all."""

    @model_validator(mode="after")
    def _complete(self) -> "Labels":
        if twice := [name for name in self.classes if self.classes.count(name) > 1]:
            raise ValueError(f"`classes` has {twice[0]} twice; name each class once")
        if IGNORED_CLASS in self.classes:
            raise ValueError(f"`classes` has {IGNORED_CLASS}, which is for `map` alone; remove it")
        for raw, name in self.map.items():
            if name not in (*self.classes, IGNORED_CLASS):
                near = difflib.get_close_matches(name, [*self.classes, IGNORED_CLASS], n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"`map` takes {raw} to {name}, which is no class{hint}")
            if not -(2**15) <= raw < 2**16:
                raise ValueError(f"`map` has the id {raw}, which 16 bits do not hold")
        if unused := [name for name in self.classes if name not in self.map.values()]:
            raise ValueError(f"`map` gives no id to the class {unused[0]}")
        return self

    def training(self) -> dict[int, int]:
        """Training label of every raw id."""
        number = {IGNORED_CLASS: IGNORE} | {name: n for n, name in enumerate(self.classes)}
        return {raw: number[name] for raw, name in self.map.items()}

    def raw_ids(self) -> tuple[int, ...]:
        """The first raw id above 0 of every class, for 0 is no class in files of predictions; empty
        where a class has none."""
        first = {name: raw for raw, name in reversed(self.map.items()) if raw > 0}
        complete = all(name in first for name in self.classes)
        return tuple(first[name] for name in self.classes) if complete else ()


class Drive(Part):
    """All of ``drive.yaml``."""

    points: Points
    """The point files."""
    cameras: dict[str, CameraPart] = Field(default_factory=dict)
    """The cameras by name, in order; without any only labels can be learned from."""
    match: Literal["name", "time"] = "name"
    """How an image belongs to a frame: by the same ``{scene}`` and ``{frame}``, or as the one of
    its camera and scene that was taken nearest."""
    largest_gap: Annotated[Annotated[float, Field(gt=0)] | None, _NUMBER] = None
    """Seconds between points and the nearest image, at most, with `match: time`."""
    poses: Poses | None = None
    """Where the car was; default: unknown."""
    labels: Labels | None = None
    """Classes of points; default: none."""
    calibrations: tuple[SceneCalibration, ...] = ()
    """Scenes in which sensors are placed otherwise, each in one of them at most."""
    splits: dict[str, Annotated[str | tuple[str, ...], BeforeValidator(_names)]] = Field(
        default_factory=dict
    )
    """Scenes or frames of each split: a list of names in quotes, or a text file of one name a
    line."""

    @model_validator(mode="after")
    def _consistent(self) -> "Drive":
        if self.match == "time" and self.largest_gap is None:
            raise ValueError("`largest_gap` is missing, which `match: time` needs: give seconds")
        if self.match != "time" and self.largest_gap is not None:
            raise ValueError("`largest_gap` is for `match: time` alone; write that, or remove it")
        points = FilePattern(self.points.files).names()
        if self.match == "time" and self.points.times is None:
            raise ValueError("points.times is needed with `match: time`")
        for name, camera in self.cameras.items():
            images = FilePattern(camera.images).names()
            if self.match == "time" and camera.times is None:
                raise ValueError(f"cameras.{name}.times is needed with `match: time`")
            if self.match == "name":
                _check_names(f"cameras.{name}.images", images, points)
            elif "scene" in images - points:
                raise ValueError(f"cameras.{name}.images has {{scene}}, points.files has not")
        for key, part in (("labels", self.labels), ("poses", self.poses)):
            if part and not FilePattern(part.files).exact():
                raise ValueError(f"{key}.files has *, but it has to tell the whole path")
        if self.labels:
            _check_names("labels.files", FilePattern(self.labels.files).names(), points)
        if self.poses:
            self._check_poses(self.poses, points)
        for calibration in self.calibrations:
            self._check_calibration(calibration)
        return self

    def in_scene(self, scene: str) -> "Drive":
        """The drive as it is in one scene.

        Raises:
            ValueError: the scene is in two of `calibrations`.
        """
        calibrations = [part for part in self.calibrations if part.holds(scene)]
        if not calibrations:
            return self
        if len(calibrations) > 1:
            raise ValueError(f"scene {scene} is in two of `calibrations`; name it in one")
        change, poses = calibrations[0], self.poses
        cameras = {
            name: change.cameras[name].of(camera) if name in change.cameras else camera
            for name, camera in self.cameras.items()
        }
        if poses and change.moves_body:
            poses = Poses(
                files=poses.files,
                format=poses.format,
                of=poses.of,
                rows=poses.rows,
                body_from_lidar=change.body_from_lidar,
                lidar_from_body=change.lidar_from_body,
                compensate=poses.compensate,
            )
        return Drive(
            points=self.points,
            cameras=cameras,
            match=self.match,
            largest_gap=self.largest_gap,
            poses=poses,
            labels=self.labels,
            splits=self.splits,
        )

    def _check_calibration(self, calibration: SceneCalibration) -> None:
        if "scene" not in FilePattern(self.points.files).names():
            raise ValueError("calibrations needs {scene} in points.files, to tell scenes apart")
        if unknown := [name for name in calibration.cameras if name not in self.cameras]:
            raise ValueError(f"calibrations has the camera {unknown[0]}, which cameras has not")
        if calibration.moves_body and (self.poses is None or self.poses.of != "body"):
            raise ValueError("calibrations places a body, which poses are not of")

    def _check_poses(self, poses: Poses, points: set[str]) -> None:
        if poses.of not in ("lidar", "body", *self.cameras):
            bodies = ", ".join(("lidar", "body", *self.cameras))
            raise ValueError(f"poses.of is {poses.of!r}, which is none of {bodies}")
        if poses.format != "kitti" and self.points.times is None:
            raise ValueError(f"points.times is needed with `format: {poses.format}` of poses")
        if FilePattern(poses.files).names() - (points & {"scene"}):
            raise ValueError("poses.files may have {scene}, if points.files has it, and no more")


def _check_times(times: Times | None, names: set[str]) -> None:
    if times is None:
        return
    if times.files is None and "time" not in names:
        raise ValueError("needs {time} in the names of its files, or a file named in `times`")
    pattern = FilePattern(times.files or "")
    if not pattern.exact() or pattern.names() - (names & {"scene"}):
        raise ValueError("`times` has a file whose name may have {scene}, and no more")


def _check_names(key: str, names: set[str], points: set[str]) -> None:
    """Raise ValueError where files cannot be told by the names of a point file."""
    if extra := sorted(names - points):
        raise ValueError(f"{key} has {{{extra[0]}}}, which points.files has not")
    if not names & {"frame", "time"}:
        raise ValueError(f"{key} needs {{frame}} or {{time}}, to tell frames apart")


def read_drive(path: Path) -> Drive:
    """Read a ``drive.yaml``.

    Raises:
        CleverError: no such file, no YAML, a key that is unknown, missing, wrong, twice there or
            still to be filled in; the message names the file and the key.
    """
    content, todo = parsed(_text(path), path)
    if todo:
        raise CleverError(
            f"{path} is not complete: fill in {', '.join(todo)} (the comments beside them say how)"
        )
    return drive_of(content, path)


def drive_of(content: object, path: Path) -> Drive:
    """What the content of a ``drive.yaml`` says; raises CleverError as `read_drive` does."""
    if not isinstance(content, dict):
        raise CleverError(f"{path} has no keys; it needs at least points")
    try:
        return Drive.model_validate(content)
    except ValidationError as error:
        faults = [_explain(detail) for detail in error.errors(include_url=False)]
        raise CleverError(f"{path}: {'; '.join(faults)}") from None


def parsed(text: str, path: Path) -> tuple[object, list[str]]:
    """Content of a ``drive.yaml`` and its keys that are still to be filled in; raises CleverError
    where it is no YAML."""
    try:
        content: object = yaml.load(text, _UniqueKeys)
        return content, _todo(content, "")
    except RecursionError:
        raise CleverError(
            f"{path} has a value that holds itself, or too many in one another; write it out"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CleverError(f"{path} is no valid YAML: {reason}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CleverError(
            f"{path.parent} has no {path.name}, which says where its files lie; `clever init-drive "
            f"{path.parent}` writes a first one"
        ) from None
    except OSError as error:
        raise CleverError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        reason = " ".join(str(error).split())
        raise CleverError(f"{path} is no valid YAML: {reason}") from error


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would drop one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key} is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def _todo(value: object, key: str) -> list[str]:
    """Keys whose values are still to be filled in."""
    if isinstance(value, dict):
        inner = [(f"{key}.{name}" if key else str(name), part) for name, part in value.items()]
        return [place for name, part in inner for place in _todo(part, name)]
    if isinstance(value, list):
        return [key] if any(_todo(part, key) for part in value) else []
    return [key] if isinstance(value, str) and value.startswith(TODO) else []


def _explain(detail: Any) -> str:
    """One pydantic error: the key, what is wrong and what is allowed."""
    place, kind = tuple(map(str, detail["loc"])), detail["type"]
    key = ".".join(place)
    if kind == "extra_forbidden":
        keys = _keys(place[:-1])
        near = difflib.get_close_matches(place[-1], keys, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(keys)}"
        return f"unknown key {key}; {hint}"
    if kind == "missing":
        return f"{key} is missing"
    if kind in ("model_type", "dict_type"):
        example = f", such as {_keys(place)[0]}" if kind == "model_type" else ""
        empty = " is empty; it" if detail["input"] is None else ""
        return f"{key}{empty} needs keys of its own{example}"
    reason = str(detail["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    value = detail["input"]
    if isinstance(value, str | int | float):
        hint = "; put names in quotes" if kind == "string_type" else ""
        return f"{key} is {value!r}: {reason}{hint}"
    return f"{key} {reason}".lstrip()


def _keys(place: tuple[str, ...]) -> list[str]:
    """Keys that the part of ``drive.yaml`` at `place` may have."""
    part: Any = Drive
    for name in place:
        # Below a mapping every name is a key: its values are all of one kind.
        kind = part.model_fields[name].annotation if _is_part(part) else get_args(part)[1]
        optional = () if get_origin(kind) is dict else get_args(kind)
        part = next((choice for choice in optional if _is_part(choice)), kind)
    return list(part.model_fields)


def _is_part(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Part)
