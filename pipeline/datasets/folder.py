"""A drive of one's own, as ``drive.yaml`` in its folder describes it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame
from ...cache.time_steps import SLOWEST, step_fault
from ...errors import CleverError, FrameError
from ..settings.shared.choices import ClassMean
from .drive_yaml.images import SceneImages, TimedImage
from .drive_yaml.points import read_array, read_points
from .drive_yaml.schema import DRIVE_FILE, Drive, read_drive
from .drive_yaml.tracks import Fault, ScenePoses, known, recording_times
from .readers.cameras import choose_cameras
from .readers.file_patterns import FilePattern, NamedFile
from .readers.kitti_layout import FRAME_SECONDS, image_size
from .readers.sweep_files import label_table, read_labels, training_labels
from .readers.text_rows import text_lines

ONLY_SCENE = "drive"
"""Name of the only scene where the pattern of the points names none."""


@dataclass(frozen=True)
class _Scene:
    """What the frames of one scene share; read when the first of them is asked for."""

    root: Path
    drive: Drive
    files: tuple[NamedFile, ...]

    @cached_property
    def times(self) -> list[int | Fault] | None:
        """Of the sweeps, nanoseconds; None where they are unknown."""
        times = self.drive.points.times
        if times is None:
            return None
        stamps: list[int | Fault] = recording_times(times, self.root, self.files)
        if fault := self._unit_fault(stamps):
            stamps = [fault for _ in stamps]
        return stamps

    def _unit_fault(self, stamps: Sequence[int | Fault]) -> Fault | None:
        """What is wrong with times that follow too fast, where images are told by them or moved
        with the car; too slow ones find no image, or no pose."""
        if self.drive.match != "time" and self.drive.poses is None:
            return None
        sound = [stamp for stamp in stamps if not isinstance(stamp, Fault)]
        steps = np.abs(np.diff(np.array(sound, np.int64))) / 1e9
        if not len(steps) or float(np.median(steps)) > SLOWEST:
            return None
        fault = step_fault(steps)
        return Fault(f"points.times of {DRIVE_FILE}: {fault}; correct it") if fault else None

    @cached_property
    def poses(self) -> ScenePoses | None:
        """Where the body was; None where that is unknown."""
        poses = self.drive.poses
        if poses is None:
            return None
        path = FilePattern(poses.files).path(self.root, self.files[0].parts)
        return ScenePoses(poses, path, [file.frame for file in self.files], self.times)

    @cached_property
    def images(self) -> dict[str, SceneImages]:
        """The images of each camera."""
        gap = self.drive.largest_gap
        return {
            name: SceneImages(camera, self.root, self.files[0], gap)
            for name, camera in self.drive.cameras.items()
        }

    @property
    def body_from_lidar(self) -> NDArray[np.float64]:
        """(4, 4) float64: what the poses are of."""
        poses = self.drive.poses
        if poses is None or poses.of == "lidar":
            return np.eye(4)
        if poses.of in self.drive.cameras:
            return self.drive.cameras[poses.of].from_lidar
        return poses.from_lidar

    def time(self, place: int) -> int | None:
        """When a sweep was recorded, nanoseconds; raises ValueError where that is not to be
        known."""
        return None if self.times is None else known(self.times[place])

    def world_from_lidar(self, place: int, time: int | None) -> NDArray[np.float64]:
        """(4, 4) float64 at a sweep's time; the identity without poses."""
        if self.poses is None:
            return np.eye(4)
        return self.poses.of_frame(place, time) @ self.body_from_lidar

    def camera_from_lidar(
        self, name: str, place: int, time: int | None, image_time: int | None
    ) -> NDArray[np.float64]:
        """(4, 4) float64: a sweep's points, at their time, to a camera at its own."""
        camera_from_lidar = self.drive.cameras[name].from_lidar
        poses = self.drive.poses
        if self.poses is None or poses is None or not poses.compensate:
            return camera_from_lidar
        if time is None or image_time is None or time == image_time:
            return camera_from_lidar
        world_from_then = self.poses.at(image_time) @ self.body_from_lidar
        then_from_now = np.linalg.inv(world_from_then) @ self.world_from_lidar(place, time)
        return camera_from_lidar @ then_from_now


@dataclass(frozen=True, slots=True)
class _Entry:
    """One frame: its id, its scene and split, and its place among the files of the scene."""

    id: str
    scene: str
    place: int
    split: str = ""


class FolderDataset:
    """Point files, images and labels anywhere below a folder, as its ``drive.yaml`` says.

    Format: see `drive_yaml.schema.Drive`. A frame is a file that ``points.files`` matches; its id
    is ``SCENE/FRAME`` where the pattern has ``{scene}``, else ``FRAME``; scenes, and frames within
    one, come in natural order. Times are exact to a nanosecond; without any, the frames of a scene
    count 0.1 s apart. Where both times and poses are known, points are moved with the car from the
    LiDAR's time to each image's, composed in float64.

    Classes, raw ids and splits are those of ``drive.yaml``; a frame that no split names belongs to
    none. A file at fault costs its own frame; a text file that all frames of a scene share costs
    those whose lines are at fault. Licence: the recording's own.

    Checked on real files: a nuScenes keyframe and a KITTI drive described so.

    Args:
        root: folder with ``drive.yaml``.
        split: one of ``splits``, or ``all``.
        sequences: scenes; they win over `split`.
        cameras: cameras to read, in this order; None: all.

    Raises:
        CleverError: no or a wrong ``drive.yaml``, no point file, frames that cannot be told apart,
            an unknown split, scene or camera.
    """

    name: str = "folder"
    intensity_setting = f"points.intensity_scale of {DRIVE_FILE}"
    time_setting = f"points.times of {DRIVE_FILE}"

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        sequences: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
    ) -> None:
        self._root = Path(root)
        path = self._root / DRIVE_FILE
        self._drive = drive = read_drive(path)
        self.cameras = choose_cameras(
            str(self._root / DRIVE_FILE), cameras, tuple(self._drive.cameras)
        )
        self.class_names: tuple[str, ...] = drive.labels.classes if drive.labels else ()
        self.label_ids: tuple[int, ...] = drive.labels.raw_ids() if drive.labels else ()
        self.class_mean: ClassMean = drive.labels.mean if drive.labels else "present"
        self.intensity_scale = drive.points.scale
        self.counted_times = drive.points.times is None
        self._table = label_table(drive.labels.training()) if drive.labels else None
        self._scenes = self._read_scenes()
        self._entries = self._choose(self._all_entries(), split, sequences)
        self.frame_ids: Sequence[str] = [entry.id for entry in self._entries]
        self.scenes: Sequence[str] = [entry.scene for entry in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    def frame(self, index: int) -> Frame:
        entry = self._entries[index]
        scene = self._scenes[entry.scene]
        with _frame_errors(entry.id):
            time = scene.time(entry.place)
            global_from_lidar = scene.world_from_lidar(entry.place, time)
        return Frame(
            id=entry.id,
            scene=entry.scene,
            timestamp=_microseconds(time, entry.place),
            points=self.points(index),
            global_from_lidar=global_from_lidar,
            cameras=tuple(self._camera(entry, name, time) for name in self.cameras),
            split=entry.split,
        )

    def points(self, index: int) -> NDArray[np.float32]:
        return self._sweep(index)[0]

    def has_labels(self, index: int) -> bool:
        return self._drive.labels is not None and self._label_file(index).exists()

    def labels(self, index: int) -> NDArray[np.uint8]:
        frame_id, labels = self.frame_ids[index], self._drive.labels
        if labels is None or self._table is None:
            raise FrameError(frame_id, f"{self._root / DRIVE_FILE} has no labels; add them")
        path, (_, mask) = self._label_file(index), self._sweep(index)
        if path.suffix != ".npy":
            dtype = np.dtype(labels.dtype).newbyteorder("<").str
            return read_labels(frame_id, path, dtype, self._table, len(mask))[mask]
        with _frame_errors(frame_id):
            raw = read_array(path)
        if raw.shape != mask.shape or raw.dtype.kind not in "iu":
            raise FrameError(
                frame_id,
                f"{path} holds an array {' x '.join(map(str, raw.shape))} of {raw.dtype}, but the "
                f"sweep has {len(mask)} points; restore the pair",
            )
        return training_labels(frame_id, path, raw, self._table)[mask]

    def _sweep(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        entry = self._entries[index]
        return read_points(entry.id, self._file(entry).path, self._drive.points)

    def _label_file(self, index: int) -> Path:
        assert self._drive.labels
        entry = self._entries[index]
        return FilePattern(self._drive.labels.files).path(self._root, self._file(entry).parts)

    def _file(self, entry: _Entry) -> NamedFile:
        return self._scenes[entry.scene].files[entry.place]

    def _camera(self, entry: _Entry, name: str, time: int | None) -> Camera:
        scene = self._scenes[entry.scene]
        part = scene.drive.cameras[name]
        with _frame_errors(entry.id, f"camera {name}: "):
            image: TimedImage = scene.images[name].of_frame(self._file(entry), time)
            camera_from_lidar = scene.camera_from_lidar(name, entry.place, time, image.time)
        width, height = image_size(entry.id, image.path)
        if part.size not in (None, (width, height)):
            expected = "x".join(map(str, part.size or ()))
            raise FrameError(
                entry.id,
                f"image {image.path} has {width}x{height} pixels, not the {expected} of "
                f"cameras.{name}.size in {DRIVE_FILE}; use the images that the calibration "
                "belongs to",
            )
        return Camera(
            name,
            image.path,
            width,
            height,
            part.intrinsics,
            camera_from_lidar,
            part.distortion.lens(),
        )

    def _read_scenes(self) -> dict[str, _Scene]:
        """All scenes by name, in natural order."""
        files: dict[str, list[NamedFile]] = {}
        pattern = FilePattern(self._drive.points.files)
        for file in pattern.files(self._root):
            files.setdefault(file.scene or ONLY_SCENE, []).append(file)
        if not files:
            raise CleverError(
                f"{self._root} holds no file {pattern.text}; correct points.files in "
                f"{self._root / DRIVE_FILE}"
            )
        for scene, group in files.items():
            counts = Counter(file.frame for file in group)
            frame, count = counts.most_common(1)[0]
            if count > 1:
                first, second = [file.path for file in group if file.frame == frame][:2]
                raise CleverError(
                    f"{first} and {second} are both frame {frame} of scene {scene}; correct "
                    f"points.files in {self._root / DRIVE_FILE}"
                )
        self._check_calibrations(set(files))
        try:
            return {
                scene: _Scene(self._root, self._drive.in_scene(scene), tuple(group))
                for scene, group in files.items()
            }
        except ValueError as error:
            raise CleverError(f"{self._root / DRIVE_FILE}: {error}") from error

    def _check_calibrations(self, scenes: set[str]) -> None:
        """Refuse names that are no scene's."""
        for calibration in self._drive.calibrations:
            for name in calibration.scenes:
                if not any(fnmatchcase(scene, name) for scene in scenes):
                    raise CleverError(
                        f"{self._root / DRIVE_FILE}: calibrations names {name}, which is no scene; "
                        f"there are {_some(dict.fromkeys(sorted(scenes)))}"
                    )

    def _all_entries(self) -> list[_Entry]:
        """Every frame, with its split."""
        named = "scene" in FilePattern(self._drive.points.files).names()
        entries = [
            _Entry(f"{scene}/{file.frame}" if named else file.frame, scene, place)
            for scene, group in self._scenes.items()
            for place, file in enumerate(group.files)
        ]
        splits: dict[str, str] = {}
        for split, names in self._drive.splits.items():
            members = self._members(split, names, entries)
            for entry in entries:
                if entry.id in members or entry.scene in members:
                    other = splits.setdefault(entry.id, split)
                    if other != split:
                        raise CleverError(
                            f"{self._root / DRIVE_FILE}: frame {entry.id} is in the splits {other} "
                            f"and {split}; name it in one"
                        )
        return [
            _Entry(entry.id, entry.scene, entry.place, splits.get(entry.id, ""))
            for entry in entries
        ]

    def _members(
        self, split: str, names: str | Sequence[str], entries: Sequence[_Entry]
    ) -> set[str]:
        """Scenes and frames that a split names."""
        place = f"{self._root / DRIVE_FILE}: splits.{split}"
        if isinstance(names, str):
            try:
                names = [line.strip() for line in text_lines(self._root / names) if line.strip()]
            except OSError as error:
                raise CleverError(
                    f"{place}: cannot read {self._root / names}: {error.strerror}; give a list of "
                    "names, or a file of one name a line"
                ) from error
        members = {entry.id for entry in entries} | set(self._scenes)
        if unknown := [name for name in names if name not in members]:
            raise CleverError(
                f"{place} names {', '.join(unknown[:5])}, which is no scene or frame; there are "
                f"the scenes {_some(self._scenes)}"
            )
        return set(names)

    def _choose(
        self, entries: list[_Entry], split: str, sequences: Sequence[str] | None
    ) -> list[_Entry]:
        """The frames asked for, scene by scene."""
        contents = f"{self._root} holds the scenes {_some(self._scenes)}"
        if sequences:
            if missing := [name for name in sequences if name not in self._scenes]:
                raise CleverError(
                    f"no scene {', '.join(missing)}: {contents}; choose among them with `sequences`"
                )
            order = dict.fromkeys(sequences)
            return [entry for scene in order for entry in entries if entry.scene == scene]
        if split == "all":
            return entries
        if split not in self._drive.splits:
            names = ", ".join(self._drive.splits)
            split_list = f"it has {names}" if names else "it has no splits"
            raise CleverError(
                f"{self._root / DRIVE_FILE} has no split {split!r} ({split_list}); name its "
                "scenes under splits, or choose `split=all`"
            )
        return [entry for entry in entries if entry.split == split]


@contextmanager
def _frame_errors(frame: str, where: str = "") -> Iterator[None]:
    """What is wrong with one frame, as a FrameError."""
    try:
        yield
    except OSError as error:
        raise FrameError(frame, f"{where}cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, CleverError) as error:
        raise FrameError(frame, f"{where}{error}") from error


def _microseconds(time: int | None, place: int) -> int:
    """Time stamp of a frame, rounded half to even."""
    if time is None:
        return round(place * FRAME_SECONDS * 1e6)
    whole, nanoseconds = divmod(time, 1000)
    return whole + (nanoseconds > 500 or (nanoseconds == 500 and whole % 2 == 1))


def _some(names: Mapping[str, object]) -> str:
    """The first of some names."""
    first = list(names)[:8]
    return ", ".join(first) + (", ..." if len(names) > len(first) else "")
