"""The tables of the nuScenes schema: what each keyframe needs of them, and what it lacks."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ....cache.calibration_checks import quaternion_fault
from ....errors import CleverError

LIDAR = "LIDAR_TOP"
"""Channel of the LiDAR."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Keyframe:
    """What one keyframe needs of the tables; paths are relative to the root.

    Attributes:
        token: of the sample.
        scene: name of the scene.
        split: the split that the scene belongs to; empty for none.
        timestamp: of the sweep, microseconds.
        sweep, images: files.
        sweep_token: of the sweep's record in sample_data.
        image_tokens: of the images' records there.
        labels: file of point labels; None where there is none.
        sizes: width and height of every image in pixels.
        intrinsics: (M, 3, 3) float64, pixels.
        camera_from_lidar: (M, 4, 4) float64, through both ego poses.
        global_from_lidar: (4, 4) float64.
        sweep_fault: why there are no points; empty where there are.
        fault: why there is no whole frame, with the table; empty where there is one.
    """

    token: str
    scene: str
    split: str
    timestamp: int = 0
    sweep: str = ""
    images: tuple[str, ...] = ()
    labels: str | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    intrinsics: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3, 3)))
    camera_from_lidar: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4, 4)))
    global_from_lidar: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))
    sweep_token: str = ""
    image_tokens: tuple[str, ...] = ()
    sweep_fault: str = ""
    fault: str = ""


class RecordError(ValueError):
    """A record that is missing or wrong: its table, token and fault on one line."""


class Table:
    """Records by token. A token that two records share is as good as none.

    Args:
        name: of the table.
        records: all of them, or those that are needed.
    """

    def __init__(self, name: str, records: Iterable[Record]) -> None:
        self.name = name
        self.records: dict[str, Record] = {}
        self._shared: set[str] = set()
        for record in records:
            token = record.get("token")
            if token in self.records:
                self._shared.add(token)
            elif isinstance(token, str):
                self.records[token] = record

    def get(self, token: object, user: str) -> Record:
        """The record with a token.

        Args:
            user: what names the token, for the error.

        Raises:
            RecordError: there is none, or there are several.
        """
        if token in self._shared:
            raise RecordError(f"{self.name}.json has the record {token} of {user} twice")
        record = self.records.get(token) if isinstance(token, str) else None
        if record is None:
            raise RecordError(f"{self.name}.json has no record {token}, which {user} names")
        return record


class NuScenesTables:
    """The tables of one version, read once; only the records that keyframes need are held.

    Args:
        folder: of the tables.
        cameras: channels, in the order of the keyframes' images.

    Raises:
        CleverError: a table that is missing or damaged, or channels that the set does not have.
    """

    def __init__(self, folder: Path, cameras: Sequence[str]) -> None:
        self.folder, self.cameras = folder, tuple(cameras)
        self.scenes = read_table(folder, "scene")
        self._samples = read_table(folder, "sample")
        self._sensors = Table("sensor", read_table(folder, "sensor"))
        self._check_channels()
        self._calibrated = Table("calibrated_sensor", read_table(folder, "calibrated_sensor"))
        self._data = self._keyframe_data()
        tokens = {
            record.get("ego_pose_token")
            for channels in self._data.values()
            for records in channels.values()
            for record in records
        }
        poses = read_table(folder, "ego_pose")
        self._poses = Table("ego_pose", (pose for pose in poses if pose.get("token") in tokens))
        self._labels, self.labels_fault = self._read_labels()

    def scene_names(self) -> list[str]:
        """Names of all scenes, in order."""
        return sorted(str(scene["name"]) for scene in self.scenes if "name" in scene)

    def keyframes(self, splits: Mapping[str, str]) -> list[Keyframe]:
        """The keyframes of some scenes, scene by scene in the order given, in order of time.

        Args:
            splits: the scenes by name, with the split of each.
        """
        order = {name: place for place, name in enumerate(splits)}
        names = {
            scene.get("token"): scene["name"] for scene in self.scenes if scene.get("name") in order
        }
        samples = [sample for sample in self._samples if sample.get("scene_token") in names]
        for sample in samples:
            if not isinstance(sample.get("token"), str):
                raise CleverError(
                    f"{self.folder / 'sample.json'} has a record without a token; restore it"
                )
        counts = Counter(sample["token"] for sample in samples)
        samples = list({sample["token"]: sample for sample in samples}.values())
        samples.sort(key=lambda one: (order[names[one["scene_token"]]], _time(one)))
        keyframes = []
        for sample in samples:
            token, scene = sample["token"], names[sample["scene_token"]]
            if counts[token] > 1:
                fault = f"sample.json has the record {token} {counts[token]} times"
                fault = f"{fault}; restore the tables in {self.folder}"
                empty = Keyframe(token, scene, splits[scene], sweep_fault=fault, fault=fault)
                keyframes.append(empty)
            else:
                keyframes.append(self._keyframe(token, scene, splits[scene]))
        return keyframes

    def _check_channels(self) -> None:
        """Raise CleverError for a channel that no sensor has."""
        channels: dict[object, list[str]] = {"lidar": [], "camera": []}
        for sensor in self._sensors.records.values():
            channels.setdefault(sensor.get("modality"), []).append(str(sensor.get("channel")))
        lidars, cameras = sorted(channels["lidar"]), sorted(channels["camera"])
        path = self.folder / "sensor.json"
        if LIDAR not in lidars:
            raise CleverError(
                f"{path} has no LiDAR {LIDAR}, only {', '.join(lidars) or 'none'}; rename the "
                f"channel to {LIDAR}"
            )
        lacking = [camera for camera in self.cameras if camera not in cameras]
        if lacking:
            raise CleverError(
                f"{path} has no camera {', '.join(lacking)}; choose among its own with "
                f"`cameras={','.join(cameras)}`"
            )

    def _keyframe_data(self) -> dict[str, dict[str, list[Record]]]:
        """Keyframe records of sample_data by sample and channel; "" where the channel is not to be
        known, because a record on the way to it is missing."""
        channels = {}
        for token, record in self._calibrated.records.items():
            sensor = self._sensors.records.get(record.get("sensor_token", ""), {})
            channels[token] = str(sensor.get("channel", ""))
        grouped: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        for record in read_table(self.folder, "sample_data"):
            if record.get("is_key_frame"):
                channel = channels.get(record.get("calibrated_sensor_token"), "")
                grouped[str(record.get("sample_token"))][channel].append(record)
        return grouped

    def _read_labels(self) -> tuple[dict[str, str], str]:
        """Label files by sample_data token, and why they are not to be known: only who asks for
        labels needs them."""
        path = self.folder / "lidarseg.json"
        if not path.exists():
            return {}, ""
        try:
            records = read_table(self.folder, "lidarseg")
            return {record["sample_data_token"]: str(record["filename"]) for record in records}, ""
        except CleverError as error:
            return {}, str(error)
        except (KeyError, TypeError):
            return {}, f"{path} has a record without sample_data_token or filename; restore it"

    def _keyframe(self, token: str, scene: str, split: str) -> Keyframe:
        """A keyframe, or what of it there is."""
        try:
            lidar = self._channel(token, LIDAR)
            sweep, timestamp = str(lidar["filename"]), int(lidar["timestamp"])
        except (RecordError, KeyError, TypeError, ValueError) as error:
            fault = self._fault(error, LIDAR)
            return Keyframe(token, scene, split, sweep_fault=fault, fault=fault)
        labels = self._labels.get(lidar["token"])
        channel = LIDAR
        try:
            global_from_lidar = self._global_from_sensor(lidar, LIDAR)
            images, tokens, sizes, intrinsics, cameras = [], [], [], [], []
            for channel in self.cameras:
                image = self._channel(token, channel)
                images.append(str(image["filename"]))
                tokens.append(str(image["token"]))
                sizes.append((int(image["width"]), int(image["height"])))
                intrinsics.append(self._intrinsics(image, channel))
                cameras.append(self._global_from_sensor(image, channel))
        except (RecordError, KeyError, TypeError, ValueError) as error:
            fault = self._fault(error, channel)
            return Keyframe(
                token,
                scene,
                split,
                timestamp,
                sweep,
                labels=labels,
                sweep_token=str(lidar["token"]),
                fault=fault,
            )
        count = len(self.cameras)
        return Keyframe(
            token,
            scene,
            split,
            timestamp,
            sweep,
            tuple(images),
            labels,
            tuple(sizes),
            np.array(intrinsics).reshape(count, 3, 3),
            np.linalg.inv(np.reshape(cameras, (count, 4, 4))) @ global_from_lidar,
            global_from_lidar,
            str(lidar["token"]),
            tuple(tokens),
        )

    def _fault(self, error: Exception, channel: str) -> str:
        if isinstance(error, RecordError):
            reason = str(error)
        elif isinstance(error, KeyError):
            reason = f"sample_data.json: the record of {channel} has no {error.args[0]}"
        else:
            reason = f"sample_data.json: the record of {channel} is damaged ({error})"
        return f"{reason}; restore the tables in {self.folder}"

    def _channel(self, sample: str, channel: str) -> Record:
        """The record of a channel's data in a keyframe."""
        records = self._data.get(sample, {}).get(channel, [])
        if len(records) == 1:
            return records[0]
        if records:
            raise RecordError(
                f"sample_data.json has {len(records)} records of {channel} of this keyframe"
            )
        for orphan in self._data.get(sample, {}).get("", []):
            if channel in str(orphan.get("filename", "")).split("/"):
                user = f"{channel} of this keyframe"
                calibrated = self._calibrated.get(orphan.get("calibrated_sensor_token"), user)
                self._sensors.get(calibrated.get("sensor_token"), user)
        raise RecordError(f"sample_data.json has no {channel} of this keyframe")

    def _global_from_sensor(self, data: Record, channel: str) -> NDArray[np.float64]:
        user = f"{channel} of this keyframe"
        pose = self._poses.get(data.get("ego_pose_token"), user)
        calibrated = self._calibrated.get(data.get("calibrated_sensor_token"), user)
        return record_transform("ego_pose", pose, channel) @ record_transform(
            "calibrated_sensor", calibrated, channel
        )

    def _intrinsics(self, data: Record, channel: str) -> NDArray[np.float64]:
        user = f"{channel} of this keyframe"
        record = self._calibrated.get(data.get("calibrated_sensor_token"), user)
        matrix = _array(record.get("camera_intrinsic"))
        if matrix is None or matrix.shape != (3, 3):
            raise RecordError(
                f"calibrated_sensor.json, record {record['token']} of {channel}: its "
                "camera_intrinsic is no 3 x 3 matrix"
            )
        return matrix


def read_table(folder: Path, table: str) -> list[Record]:
    """All records of a table.

    Raises:
        CleverError: missing, no JSON, or no list of records; the message names the file.
    """
    path = folder / f"{table}.json"
    try:
        records = json.loads(path.read_bytes())
    except OSError as error:
        raise CleverError(f"nuScenes needs {path}: {error.strerror}; restore it") from error
    except json.JSONDecodeError as error:
        raise CleverError(
            f"{path} is no JSON ({error.msg}, line {error.lineno}); restore it"
        ) from error
    except UnicodeDecodeError as error:
        raise CleverError(
            f"{path} is no JSON (byte {error.start} is no text); restore it"
        ) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise CleverError(f"{path} is no list of records; restore it")
    return records


def _time(sample: Record) -> float:
    """What a scene's samples are ordered by; those without a time come last."""
    time = sample.get("timestamp")
    return time if isinstance(time, int | float) else float("inf")


def record_transform(table: str, record: Record, channel: str) -> NDArray[np.float64]:
    """(4, 4) float64 of a pose or calibration record: parent <- child."""
    place = f"{table}.json, record {record['token']} of {channel}"
    translation, rotation = _array(record.get("translation")), _array(record.get("rotation"))
    if translation is None or translation.shape != (3,) or not np.isfinite(translation).all():
        raise RecordError(f"{place}: its translation is no three finite numbers")
    if rotation is None:
        raise RecordError(f"{place}: its rotation is no quaternion")
    if fault := quaternion_fault(rotation):
        raise RecordError(f"{place}: its rotation {fault}")
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_quat(rotation, scalar_first=True).as_matrix()
    transform[:3, 3] = translation
    return transform


def _array(values: object) -> NDArray[np.float64] | None:
    """Numbers of a record; None where they are none."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError):
        return None
