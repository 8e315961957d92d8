"""nuScenes, and generated drives, which share its schema."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame
from ...errors import CleverError, FrameError
from ..settings.shared.choices import ClassMean
from .boxes import LabelledBoxes
from .earlier_sweeps import EarlierSweep, moved
from .nuscenes_schema.boxes import NuScenesBoxes
from .nuscenes_schema.splits import find_version, scene_splits
from .nuscenes_schema.sweeps import NuScenesSweeps
from .nuscenes_schema.tables import Keyframe, NuScenesTables
from .readers.intensity import scale_option
from .readers.sweep_files import class_table, count_points, read_labels, read_sweep
from .released import ReleasedFormat, ReleasedFrame
from .submission import Submission

CAMERAS = (
    "CAM_FRONT_LEFT",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
)
_RAW_IDS = {
    "barrier": (9,),
    "bicycle": (14,),
    "bus": (15, 16),
    "car": (17,),
    "construction_vehicle": (18,),
    "motorcycle": (21,),
    "pedestrian": (2, 3, 4, 6),
    "traffic_cone": (12,),
    "trailer": (22,),
    "truck": (23,),
    "driveable_surface": (24,),
    "other_flat": (25,),
    "sidewalk": (26,),
    "terrain": (27,),
    "manmade": (28,),
    "vegetation": (30,),
}
CLASSES = tuple(_RAW_IDS)
_TABLE = class_table(_RAW_IDS.values(), ignored=range(32))
_COLUMNS = 5
SUBMISSION_INPUTS = ("use_camera", "use_lidar", "use_radar", "use_map", "use_external")
"""What a submission.json has to say of a method's inputs."""
SUBMISSION_NOTE = (
    "submission.json says that the input is LiDAR alone (`use_external` is false); the challenge "
    "may want to be told of a teacher that was trained on other images"
)


class NuScenesDataset:
    """Keyframes of six cameras and a 32-beam LiDAR, in the order of the split's scenes, then of
    time.

    Format, under ``root``:

    - ``<version>/*.json``: the tables of the nuScenes schema: ``scene``, ``sample``,
      ``sample_data``, ``ego_pose``, ``calibrated_sensor`` and ``sensor``, and ``lidarseg`` where
      there are labels; ``sample_annotation``, ``instance`` and ``category`` for boxes;
    - ``samples/LIDAR_TOP/*.pcd.bin``: float32 x, y, z in metres, intensity 0-255, ring (dropped);
    - ``samples/CAM_*/*.jpg``: images; their sizes come from the ``sample_data`` table;
    - ``lidarseg/<version>/*_lidarseg.bin``: uint8, one of 32 raw categories a point;
    - ``<version>/splits.json``, optional: ``{"train": [scene names], "val": [...]}`` instead of the
      official splits.

    Classes: the 16 of the lidarseg challenge (`CLASSES`); the other raw categories are ignored.
    Splits: train, val and test of the official scene lists. Licence: CC BY-NC-SA 4.0 [R],
    remembered, not verified. Checked on real files: a keyframe; generated drives share the format.

    LiDAR points at the LiDAR's timestamp go into each camera at the camera's own timestamp through
    both ego poses.

    The tables are read once, here; what the keyframes need of them is held (2 kB a keyframe), so
    that the dataset is cheap to pickle and to fork. A keyframe with an incomplete or impossible
    record is in `frame_ids`; asking for it raises FrameError with the table.

    Args:
        root: dataset folder.
        version: ``v1.0-mini``, ``v1.0-trainval``, ``v1.0-test`` or another folder of tables; None:
            see `find_version`.
        split: ``train``, ``val``, ``test`` or ``all`` (every scene of the version, by name).
        cameras: channels to read, in this order; None: the six of nuScenes.
        intensity_scale: full intensity in the sweeps, a positive number.

    Raises:
        CleverError: a table missing or damaged as a whole; unknown split or camera; no scene of the
            split is there.
    """

    name: str = "nuscenes"
    cameras: tuple[str, ...] = CAMERAS
    class_names: tuple[str, ...] = CLASSES
    class_mean: ClassMean = "present"
    released_format = ReleasedFormat(
        "nuscenes", _COLUMNS, 4, "u1", {"fog": 41, "snow": 42, "crosstalk": 43}, _TABLE
    )

    def __init__(
        self,
        root: Path | str,
        version: str | None = None,
        split: str = "train",
        cameras: Sequence[str] | None = None,
        intensity_scale: str | float = 255.0,
    ) -> None:
        self._root = Path(root)
        self.intensity_scale = scale_option(intensity_scale)
        self.cameras = tuple(cameras or CAMERAS)
        folder = _table_folder(self._root, version or find_version(self._root))
        tables = NuScenesTables(folder, self.cameras)
        self._keyframes = tables.keyframes(scene_splits(folder, tables.scene_names(), split))
        self._split_prefix = "mini_" if folder.name.endswith("mini") else ""
        self._labels_fault = tables.labels_fault
        self._tables = folder
        self._boxes: NuScenesBoxes | None = None
        self._earlier: NuScenesSweeps | None = None
        self.frame_ids: Sequence[str] = [keyframe.token for keyframe in self._keyframes]
        self.scenes: Sequence[str] = [keyframe.scene for keyframe in self._keyframes]

    def __len__(self) -> int:
        return len(self._keyframes)

    def frame(self, index: int) -> Frame:
        keyframe = self._keyframes[index]
        if keyframe.fault:
            raise FrameError(keyframe.token, keyframe.fault)
        return Frame(
            id=keyframe.token,
            scene=keyframe.scene,
            timestamp=keyframe.timestamp,
            points=self.points(index),
            global_from_lidar=keyframe.global_from_lidar,
            cameras=tuple(self._camera(keyframe, m) for m in range(len(self.cameras))),
            split=keyframe.split,
        )

    def points(self, index: int) -> NDArray[np.float32]:
        return read_sweep(self.frame_ids[index], self._sweep(index), _COLUMNS, self.intensity_scale)

    def has_labels(self, index: int) -> bool:
        return bool(self._labels_fault) or self._keyframes[index].labels is not None

    def labels(self, index: int) -> NDArray[np.uint8]:
        keyframe, sweep = self._keyframes[index], self._sweep(index)
        if keyframe.labels is None:
            raise FrameError(
                keyframe.token,
                self._labels_fault
                or "lidarseg.json lists no labels for this keyframe; choose a labelled split",
            )
        count = count_points(keyframe.token, sweep, _COLUMNS)
        return read_labels(keyframe.token, self._root / keyframe.labels, "u1", _TABLE, count)

    def boxes(self, index: int) -> LabelledBoxes:
        """Boxes of a keyframe in the LiDAR frame, by the name of their class in the detection
        benchmark, or their category where it has none.

        The tables of boxes are read at the first call, or by `load_boxes` before the dataset goes
        to workers.

        Raises:
            CleverError: a table of boxes is missing or damaged as a whole.
            FrameError: the keyframe or one of its annotations is incomplete or impossible.
        """
        keyframe = self._keyframes[index]
        if keyframe.fault:
            raise FrameError(keyframe.token, keyframe.fault)
        return self.load_boxes().of(keyframe.token, keyframe.global_from_lidar)

    def load_boxes(self) -> NuScenesBoxes:
        """Read the tables of boxes (1.2 GB of JSON in v1.0-trainval) where that is not done yet,
        and hold what the keyframes need of them; raises CleverError where one is missing or damaged
        as a whole."""
        if self._boxes is None:
            self._boxes = NuScenesBoxes(self._tables, self.frame_ids)
        return self._boxes

    def earlier_sweeps(self, index: int, count: int) -> list[EarlierSweep]:
        """The sweeps before a keyframe, latest first, in its own LiDAR frame; fewer at the
        beginning of a scene.

        The tables ``sample_data`` and ``ego_pose`` are read anew at the first call: call it once
        before the dataset goes to workers.

        Raises:
            CleverError: a table is missing or damaged as a whole.
            FrameError: a sweep or a record of it is missing or damaged.
        """
        keyframe = self._keyframes[index]
        if keyframe.fault:
            raise FrameError(keyframe.token, keyframe.fault)
        if self._earlier is None or self._earlier.count < count:
            tokens = [one.sweep_token for one in self._keyframes if one.sweep_token]
            self._earlier = NuScenesSweeps(self._tables, tokens, count)
        sweeps = []
        for sweep in self._earlier.of(keyframe.token, keyframe.sweep_token)[:count]:
            # Both poses lie far from the origin: their product is composed in float64.
            motion = np.linalg.inv(keyframe.global_from_lidar) @ sweep.global_from_lidar
            points = read_sweep(
                keyframe.token, self._root / sweep.file, _COLUMNS, self.intensity_scale
            )
            seconds = (sweep.timestamp - keyframe.timestamp) / 1e6
            sweeps.append(EarlierSweep(moved(points, motion), seconds))
        return sweeps

    def image_tokens(self, index: int) -> Sequence[str]:
        """Tokens of the images' records in sample_data, by camera; raises FrameError where the
        keyframe is incomplete."""
        keyframe = self._keyframes[index]
        if keyframe.fault:
            raise FrameError(keyframe.token, keyframe.fault)
        return keyframe.image_tokens

    def label_sources(self, index: int) -> Sequence[Path]:
        """Files of a frame's points and labels, see `base.label_sources`."""
        keyframe = self._keyframes[index]
        if keyframe.labels is None or keyframe.sweep_fault:
            return ()
        return self._sweep(index), self._root / keyframe.labels

    def submission(self) -> Submission:
        """As nuscenes-devkit takes it: ``lidarseg/SPLIT/TOKEN_lidarseg.bin``, uint8 1 to 16, and
        ``SPLIT/submission.json``; of v1.0-mini the splits are called ``mini_train`` and
        ``mini_val``.

        Raises:
            CleverError: a keyframe of no split, or without a record of its sweep.
        """
        files = []
        for keyframe in self._keyframes:
            if keyframe.sweep_fault or not keyframe.split:
                reason = keyframe.sweep_fault or "its scene is in no official split"
                raise CleverError(f"no submission: keyframe {keyframe.token}: {reason}")
            split = f"{self._split_prefix}{keyframe.split}"
            files.append(Path("lidarseg", split, f"{keyframe.sweep_token}_lidarseg.bin"))
        meta = {"meta": dict.fromkeys(SUBMISSION_INPUTS, False) | {"use_lidar": True}}
        extra = {Path(file.parts[1], "submission.json"): json.dumps(meta) for file in files}
        return Submission(tuple(files), "u1", extra, SUBMISSION_NOTE)

    def released_frame(self, index: int) -> ReleasedFrame:
        """Files of a frame here and in nuScenes-C, where they are called as here; raises FrameError
        without a record of the sweep."""
        keyframe, sweep = self._keyframes[index], self._sweep(index)
        labels = keyframe.labels or f"lidarseg/{keyframe.sweep_token}_lidarseg.bin"
        return ReleasedFrame(
            sweep,
            None if keyframe.labels is None else self._root / keyframe.labels,
            Path(keyframe.sweep),
            Path(labels),
        )

    def _sweep(self, index: int) -> Path:
        keyframe = self._keyframes[index]
        if keyframe.sweep_fault:
            raise FrameError(keyframe.token, keyframe.sweep_fault)
        return self._root / keyframe.sweep

    def _camera(self, keyframe: Keyframe, m: int) -> Camera:
        image = self._root / keyframe.images[m]
        if not image.is_file():
            fault = "is a folder" if image.is_dir() else "is not there"
            raise FrameError(keyframe.token, f"no image {image}: it {fault}; restore it")
        return Camera(
            self.cameras[m],
            image,
            *keyframe.sizes[m],
            keyframe.intrinsics[m],
            keyframe.camera_from_lidar[m],
        )


def _table_folder(root: Path, version: str) -> Path:
    """Folder of a version's tables; raises CleverError where there is none."""
    folder = root / version
    if not folder.is_dir():
        names = sorted(path.parent.name for path in root.glob("*/scene.json"))
        raise CleverError(
            f"{root} has no folder {version} (it holds {', '.join(names) or 'no tables'}); pass "
            "another `version` or `data_root`"
        )
    return folder
