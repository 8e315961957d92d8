"""The tables of the nuScenes schema, version v1.0-mini with lidarseg, as the official devkit reads
them, and how they are filled from a recipe and what was recorded."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...files import atomic_write
from .cameras import CAMERAS, CameraModel
from .geometry import rotation_of
from .record import (
    SWEEP_PERIOD,
    VERSION,
    Recipe,
    Recording,
    box_pose,
    file_name,
    label_name,
    seconds,
    timestamp,
)
from .world import World

CATEGORIES = (
    "noise", "animal", "human.pedestrian.adult", "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris",
    "movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack",
    "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck", "flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain",
    "static.manmade",
    "static.other", "static.vegetation", "vehicle.ego",
)  # fmt: skip
"""Names of the 32 raw categories; their position is the label in the lidarseg files."""

_ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving",
)  # fmt: skip
_VISIBILITY = ((0, 40), (40, 60), (60, 80), (80, 100))
_TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose",
    "log", "scene",
    "sample", "sample_data", "sample_annotation", "map", "lidarseg",
)  # fmt: skip

Row = dict[str, Any]


def token(*parts: object) -> str:
    """A 32-digit token, the same for the same parts."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


class Tables:
    """Rows of every table; the fixed ones are there from the start."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {name: [] for name in _TABLES}
        for index, name in enumerate(CATEGORIES):
            self.add("category", token("category", name), name=name, description=name, index=index)
        for name in _ATTRIBUTES:
            self.add("attribute", token("attribute", name), name=name, description=name)
        for level, (low, high) in enumerate(_VISIBILITY, 1):
            text = f"visibility of whole object is between {low} and {high}%"
            self.add("visibility", str(level), level=f"v{low}-{high}", description=text)

    def add(self, table: str, key: str, **fields: object) -> str:
        """Append a row with its token; returns the token."""
        self.rows[table].append({"token": key, **fields})
        return key

    def link(self, table: str, *group: str) -> None:
        """Fill `prev` and `next` of each run of rows that agree in the fields `group`, in order of
        addition."""
        runs: dict[tuple[object, ...], list[Row]] = defaultdict(list)
        for row in self.rows[table]:
            runs[tuple(row[field] for field in group)].append(row)
        for run in runs.values():
            for row in run:
                row.update(prev="", next="")
            for row_before, row_after in pairwise(run):
                row_before["next"], row_after["prev"] = row_after["token"], row_before["token"]

    def write(self, root: Path) -> None:
        """Write one JSON file a table."""
        for name, rows in self.rows.items():
            atomic_write(root / VERSION / f"{name}.json", json.dumps(rows, indent=0))


def attribute(category: str, state: str) -> list[str]:
    """Attribute tokens of a box of a category whose thing is in a state such as ``moving`` or
    ``parked``."""
    kind = (
        "cycle" if category in ("vehicle.bicycle", "vehicle.motorcycle") else category.split(".")[0]
    )
    name = f"{'pedestrian' if kind == 'human' else kind}.{state}"
    return [token("attribute", name)] if name in _ATTRIBUTES else []


def visibility(share: float) -> str:
    """Token of the visibility level of a share in 0..1."""
    return str(1 + sum(share >= low / 100 for low, _ in _VISIBILITY[1:]))


def _key(recipe: Recipe, *parts: object) -> str:
    """A token that no recipe of other keyframes uses."""
    return token(*recipe.keyframe_parts, *parts)


def sample_token(recipe: Recipe, scene: int, keyframe: int) -> str:
    """Token of a keyframe."""
    return _key(recipe, "sample", scene, keyframe)


def sweep_token(recipe: Recipe, scene: int, keyframe: int) -> str:
    """Token of a keyframe's LiDAR data."""
    return _data_key(recipe, scene, keyframe, "LIDAR_TOP")


def instance_token(recipe: Recipe, scene: int, instance: int) -> str:
    """Token of an instance, as numbered in `ground_truth`."""
    return _key(recipe, "instance", scene, instance)


def write_tables(
    recipe: Recipe,
    recordings: Sequence[Recording],
    root: Path,
    train: Sequence[str],
    val: Sequence[str],
) -> None:
    """Write all tables and ``splits.json``; `recordings` are in order of scene and time."""
    tables = Tables()
    _sensors(recipe, tables)
    scenes = sorted({recording.scene for recording in recordings})
    for scene in scenes:
        _scene(recipe, tables, scene)
    for recording in recordings:
        _data(recipe, tables, recording)
        _annotations(recipe, tables, recording)
    tables.link("sample", "scene_token")
    tables.link("sample_annotation", "instance_token")
    _instances(recipe, tables, scenes)
    tables.add("map", _key(recipe, "map"), log_tokens=[row["token"] for row in tables.rows["log"]],
               category="semantic_prior", filename="maps/blank.png")  # fmt: skip
    tables.write(root)
    atomic_write(
        root / VERSION / "splits.json", json.dumps({"train": list(train), "val": list(val)})
    )


def _sensors(recipe: Recipe, tables: Tables) -> None:
    for sensor in (recipe.lidar, *CAMERAS):
        camera = isinstance(sensor, CameraModel)
        tables.add("sensor", token("sensor", sensor.channel), channel=sensor.channel,
                   modality="camera" if camera else "lidar")  # fmt: skip
        tables.add(
            "calibrated_sensor",
            _key(recipe, "calibration", sensor.channel),
            sensor_token=token("sensor", sensor.channel),
            translation=list(sensor.place),
            rotation=sensor.rotation.tolist(),
            camera_intrinsic=sensor.intrinsics(recipe.image_width).tolist() if camera else [],
        )


def _scene(recipe: Recipe, tables: Tables, scene: int) -> None:
    log = tables.add(
        "log",
        _key(recipe, "log", scene),
        logfile=f"drive-{scene:04}",
        vehicle="generated",
        date_captured="2020-09-13",
        location="generated-street",
    )
    tables.add(
        "scene",
        _key(recipe, "scene", scene),
        log_token=log,
        nbr_samples=recipe.keyframes,
        first_sample_token=sample_token(recipe, scene, 0),
        last_sample_token=sample_token(recipe, scene, recipe.keyframes - 1),
        name=f"scene-{scene:04}",
        description="Generated street",
    )


def _data_key(recipe: Recipe, scene: int, keyframe: int, channel: str, back: int = 0) -> str:
    """Token of a keyframe's file, or of the sweep `back` sweeps before it."""
    return _key(recipe, "data", scene, keyframe, channel, *([back] if back else []))


def _data(recipe: Recipe, tables: Tables, recording: Recording) -> None:
    """The sample, its seven files, the sweeps before it, and the ego poses of all."""
    scene, keyframe = recording.scene, recording.keyframe
    sample = tables.add("sample", sample_token(recipe, scene, keyframe), timestamp=timestamp(scene,
    keyframe),
                        scene_token=_key(recipe, "scene", scene))  # fmt: skip
    for back in range(recipe.sweeps, 0, -1):
        _file(recipe, tables, scene, keyframe, sample, "LIDAR_TOP", -back * SWEEP_PERIOD, back)
    for channel, trigger in (
        ("LIDAR_TOP", 0),
        *((camera.channel, camera.trigger) for camera in CAMERAS),
    ):
        _file(recipe, tables, scene, keyframe, sample, channel, trigger)
    sweep = sweep_token(recipe, scene, keyframe)
    tables.add("lidarseg", sweep, sample_data_token=sweep, filename=label_name(sweep))


def _file(
    recipe: Recipe,
    tables: Tables,
    scene: int,
    keyframe: int,
    sample: str,
    channel: str,
    trigger: int,
    back: int = 0,
) -> None:
    """A file of a keyframe, or the sweep `back` sweeps before it, with its ego pose."""
    camera, key = channel != "LIDAR_TOP", _data_key(recipe, scene, keyframe, channel, back)
    tables.add(
        "sample_data",
        key,
        sample_token=sample,
        ego_pose_token=key,
        calibrated_sensor_token=_key(recipe, "calibration", channel),
        timestamp=timestamp(scene, keyframe, trigger),
        fileformat="jpg" if camera else "pcd",
        is_key_frame=not back,
        height=recipe.image_width * 9 // 16 if camera else 0,
        width=recipe.image_width if camera else 0,
        filename=file_name(scene, keyframe, channel, trigger),
        **_neighbours(recipe, scene, keyframe, channel, back),
    )
    world = recipe.world(scene)
    pose = world.global_from_world @ world.ego.at(seconds(keyframe, trigger))
    tables.add("ego_pose", key, timestamp=timestamp(scene, keyframe, trigger),
               rotation=rotation_of(pose).tolist(), translation=pose[:3,
               3].tolist())  # fmt: skip


def _neighbours(
    recipe: Recipe, scene: int, keyframe: int, channel: str, back: int
) -> dict[str, str]:
    """Tokens of the files before and after one of the same sensor, empty at a scene's ends."""
    # A channel's files in order of time: the sweeps before a keyframe, the earliest first, then it.
    run = 1 + (recipe.sweeps if channel == "LIDAR_TOP" else 0)
    place = (keyframe + 1) * run - 1 - back

    def key(place: int) -> str:
        if not 0 <= place < recipe.keyframes * run:
            return ""
        return _data_key(recipe, scene, place // run, channel, run - 1 - place % run)

    return {"prev": key(place - 1), "next": key(place + 1)}


def _annotations(recipe: Recipe, tables: Tables, recording: Recording) -> None:
    world = recipe.world(recording.scene)
    for box in recording.boxes:
        centre, size, rotation = box_pose(world, recipe, box.instance, seconds(recording.keyframe))
        thing = world.things_by_instance()[box.instance]
        tables.add(
            "sample_annotation",
            _key(recipe, "box", recording.scene, recording.keyframe, box.instance),
            sample_token=sample_token(recipe, recording.scene, recording.keyframe),
            instance_token=instance_token(recipe, recording.scene, box.instance),
            visibility_token=visibility(box.visibility),
            attribute_tokens=attribute(CATEGORIES[thing.model.category], thing.state),
            translation=centre,
            size=size,
            rotation=rotation,
            num_lidar_pts=box.points,
            num_radar_pts=0,
        )


def _instances(recipe: Recipe, tables: Tables, scenes: Sequence[int]) -> None:
    """One row for every instance that was annotated."""
    runs: dict[str, list[str]] = {}
    for row in tables.rows["sample_annotation"]:
        runs.setdefault(row["instance_token"], []).append(row["token"])
    for scene in scenes:
        world: World = recipe.world(scene)
        for number, thing in world.things_by_instance().items():
            run = runs.get(instance_token(recipe, scene, number))
            if run:
                tables.add(
                    "instance",
                    instance_token(recipe, scene, number),
                    category_token=token("category", CATEGORIES[thing.model.category]),
                    nbr_annotations=len(run),
                    first_annotation_token=run[0],
                    last_annotation_token=run[-1],
                )
