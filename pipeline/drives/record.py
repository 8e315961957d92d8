"""A keyframe of a scene: the recipe that decides it, what every sensor records, and the truth
behind the pixels."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import CleverError
from ...files import atomic_write
from .cameras import CAMERAS, CameraModel, photograph
from .geometry import rotation_of, transform
from .lidar import NOISE_LIMIT, LidarModel, Sweep, points_in_box, scan
from .raycast import PinholeRays
from .shading import SunMap, sun_map
from .town import draw_world
from .world import Hits, Placement, World, cast

VERSION = "v1.0-mini"
"""Of nuScenes, the one that the drives pass for."""
RECIPE_FILE = "drives.json"
_FORMAT = 1
PERIOD = 500_000
"""Microseconds between keyframes."""
SWEEP_PERIOD = 50_000
"""Microseconds between sweeps."""
_EPOCH, _SCENE_GAP = 1_600_000_000_000_000, 1_000_000_000
_BEYOND = 60.0
_SHADOW_REACH = 50.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the contents of a generated data set; the same recipe gives the same bytes.

    Attributes:
        seed: of everything random.
        keyframes: a scene.
        image_width: pixels; the height is 9 / 16 of it.
        azimuths: LiDAR firings a turn.
        range_noise: standard deviation in metres.
        sweeps: between keyframes that are written, before each.
    """

    seed: int
    keyframes: int
    image_width: int
    azimuths: int
    range_noise: float
    sweeps: int = 0

    @property
    def keyframe_parts(self) -> tuple[float, ...]:
        """What decides the keyframes, with sweeps between them or without."""
        return (self.seed, self.keyframes, self.image_width, self.azimuths, self.range_noise)

    @property
    def lidar(self) -> LidarModel:
        """The LiDAR of the rig."""
        return LidarModel(self.azimuths)

    @property
    def box_margin(self) -> float:
        """By how much boxes exceed their things on each side, metres: no range error leads out of a
        box."""
        return NOISE_LIMIT * self.range_noise + 0.01

    def world(self, scene: int) -> World:
        """The world of scene number `scene`, counted from 1."""
        return _world(self.seed, scene, self.keyframes)


@dataclass(frozen=True, slots=True)
class Box:
    """An annotation of a keyframe: instance number, points inside, share of its pixels that is not
    hidden."""

    instance: int
    points: int
    visibility: float


@dataclass(frozen=True, slots=True)
class Recording:
    """What a keyframe adds to the tables: its boxes, and how many points carry each raw
    category."""

    scene: int
    keyframe: int
    boxes: tuple[Box, ...]
    counts: NDArray[np.int64]


@lru_cache(maxsize=2)
def _world(seed: int, scene: int, keyframes: int) -> World:
    return draw_world(seed, scene, keyframes * PERIOD / 1e6)


@lru_cache(maxsize=1)
def _shadows(recipe: Recipe, scene: int) -> SunMap:
    world = recipe.world(scene)
    return sun_map(
        world, -_BEYOND, world.ego.speed.distance(recipe.keyframes * PERIOD / 1e6) + _BEYOND
    )


def recipe_text(recipe: Recipe, scenes: int) -> str:
    """JSON text that describes a data set of so many scenes, as it stands beside its tables."""
    fields = {name: value for name, value in asdict(recipe).items() if name != "sweeps" or value}
    return json.dumps({"format": _FORMAT, "scenes": scenes, "recipe": fields}, indent=1)


def load_recipe(root: Path) -> tuple[Recipe, int]:
    """The recipe of the generated drives in `root`, and the number of their scenes.

    Raises:
        CleverError: `root` holds no generated drives, or of another format.
    """
    path = root / VERSION / RECIPE_FILE
    try:
        fields = json.loads(path.read_text())
        if fields["format"] != _FORMAT:
            raise CleverError(
                f"{path} is of another version; generate the drives again with make-drives"
            )
        return Recipe(**fields["recipe"]), int(fields["scenes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CleverError(
            f"{path} does not describe generated drives: {error}; point at a make-drives folder"
        ) from error


def timestamp(scene: int, keyframe: int, trigger: int = 0) -> int:
    """Microseconds; `trigger` is the sensor's delay after the LiDAR."""
    return _EPOCH + scene * _SCENE_GAP + keyframe * PERIOD + trigger


def seconds(keyframe: int, trigger: int = 0) -> float:
    """Seconds since the scene's first sweep."""
    return (keyframe * PERIOD + trigger) / 1e6


def file_name(scene: int, keyframe: int, channel: str, trigger: int = 0) -> str:
    """Path of a sensor's file below the data set's root."""
    camera = channel.startswith("CAM")
    folder, ending = (
        "samples" if camera or not trigger else "sweeps",
        "jpg" if camera else "pcd.bin",
    )
    time = timestamp(scene, keyframe, trigger)
    return f"{folder}/{channel}/drive-{scene:04}__{channel}__{time}.{ending}"


def label_name(sweep_token: str) -> str:
    """Path of a sweep's labels below the data set's root."""
    return f"lidarseg/{VERSION}/{sweep_token}_lidarseg.bin"


def recorded_sweep(recipe: Recipe, scene: int, keyframe: int, back: int = 0) -> Sweep:
    """The LiDAR sweep of a keyframe, or the one `back` sweeps before it, as `make_drives` writes
    it; scenes count from 1, keyframes from 0."""
    world, time = recipe.world(scene), seconds(keyframe, -back * SWEEP_PERIOD)
    # The cameras' noise has the streams 1 to 6.
    stream = len(CAMERAS) + back if back else 0
    rng = np.random.default_rng([recipe.seed, scene, keyframe, stream])
    return scan(world, recipe.lidar, world.ego.at(time), time, recipe.range_noise, rng)


def record_keyframe(
    recipe: Recipe, scene: int, keyframe: int, root: Path, sweep_token: str
) -> Recording:
    """Write the sweep, its labels, the six images of a keyframe and the sweeps before it below
    `root`."""
    world, time = recipe.world(scene), seconds(keyframe)
    sweep = recorded_sweep(recipe, scene, keyframe)
    atomic_write(root / file_name(scene, keyframe, "LIDAR_TOP"), sweep.points.tobytes())
    atomic_write(root / label_name(sweep_token), sweep.labels.tobytes())
    for back in range(1, recipe.sweeps + 1):
        file = file_name(scene, keyframe, "LIDAR_TOP", -back * SWEEP_PERIOD)
        earlier = recorded_sweep(recipe, scene, keyframe, back)
        atomic_write(root / file, earlier.points.tobytes())
    inside = _points_inside(
        world,
        recipe,
        time,
        transform(world.ego.at(time) @ recipe.lidar.ego_from_lidar, sweep.points[:, :3]),
    )
    visible_pixels, all_pixels = np.zeros(len(world.things)), np.zeros(len(world.things))
    for number, camera in enumerate(CAMERAS):
        noise = np.random.default_rng([recipe.seed, scene, keyframe, 1 + number])
        placement, rays, hits = view(recipe, scene, keyframe, camera)
        in_reach = np.hypot(*(placement.poses[:, :2, 3] - rays.pose[:2, 3]).T) < _SHADOW_REACH
        movers = placement.only(np.flatnonzero(in_reach & np.isin(placement.owner, world.movers())))
        image = photograph(
            world, placement, rays, hits, _shadows(recipe, scene).with_things(movers), noise
        )
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=92)
        atomic_write(
            root / file_name(scene, keyframe, camera.channel, camera.trigger), buffer.getvalue()
        )
        _count_pixels(placement, rays, hits, inside, visible_pixels, all_pixels)
    boxes = tuple(
        Box(
            world.things[index].instance,
            count,
            float(visible_pixels[index] / max(all_pixels[index], 1)),
        )
        for index, count in inside.items()
    )
    return Recording(scene, keyframe, boxes, np.bincount(sweep.labels, minlength=32))


def view(
    recipe: Recipe, scene: int, keyframe: int, camera: CameraModel
) -> tuple[Placement, PinholeRays, Hits]:
    """What a camera sees when it fires."""
    world, time = recipe.world(scene), seconds(keyframe, camera.trigger)
    placement, rays = world.at(time), camera.rays(world.ego.at(time), recipe.image_width)
    return placement, rays, cast(rays, placement, world.street)


def _points_inside(
    world: World, recipe: Recipe, time: float, points: NDArray[np.float64]
) -> dict[int, int]:
    """Number of points in the box of every boxed thing that has any, by index of the thing."""
    inside, (x, y) = {}, points[:, :2].T.copy()
    for index, thing in enumerate(world.things):
        if not thing.instance:
            continue
        world_from_thing, (low, high) = thing.motion.at(time), thing.box(recipe.box_margin)
        reach = float(np.linalg.norm(np.maximum(-low, high)))
        neighbours = points[
            (np.abs(x - world_from_thing[0, 3]) < reach)
            & (np.abs(y - world_from_thing[1, 3]) < reach)
        ]
        count = int(points_in_box(neighbours, world_from_thing, low, high).sum())
        if count:
            inside[index] = count
    return inside


def _count_pixels(
    placement: Placement,
    rays: PinholeRays,
    hits: Hits,
    things: dict[int, int],
    visible_pixels: NDArray[np.float64],
    all_pixels: NDArray[np.float64],
) -> None:
    """Add each thing's pixels in an image, on every fourth row and column: those that are `seen`,
    and as if alone."""
    step = 4
    thin = rays.thin(step)
    solid_numbers = hits.solid[::step, ::step]
    owners = np.append(placement.owner, [-1, -1])[solid_numbers]
    windows, _ = thin.windows(placement.corners)
    candidates = placement.owner[(windows[:, 0] < windows[:, 1]) & (windows[:, 2] < windows[:, 3])]
    for index in np.intersect1d(candidates, list(things)):
        solids = np.flatnonzero(placement.owner == index)
        alone = cast(thin, placement.only(solids), None)
        all_pixels[index] += np.count_nonzero(alone.inverse)
        visible_pixels[index] += np.count_nonzero(owners == index)


def box_pose(
    world: World, recipe: Recipe, instance: int, time: float
) -> tuple[list[float], list[float], list[float]]:
    """Centre, size (width, length, height) and quaternion of a box in the global frame."""
    thing = world.things_by_instance()[instance]
    low, high = thing.box(recipe.box_margin)
    global_from_thing = world.global_from_world @ thing.motion.at(time)
    width, length, height = (high - low)[[1, 0, 2]].tolist()
    return (
        transform(global_from_thing, (low + high) / 2).tolist(),
        [width, length, height],
        rotation_of(global_from_thing).tolist(),
    )


class Truth(NamedTuple):
    """What a camera sees at the moment it fires.

    Attributes:
        depth: float32, metres along the optical axis, inf where nothing is hit.
        label: uint8 raw nuScenes category, 255 where nothing is hit.
        instance: int32 instance number within the scene, 0 for things without a box.
    """

    depth: NDArray[np.float32]
    label: NDArray[np.uint8]
    instance: NDArray[np.int32]


def ground_truth(source: Path | Recipe, scene: str, keyframe: int, camera: str) -> Truth:
    """Ray-cast truth of one image; arrays are (H, W).

    Args:
        source: folder that `make_drives` wrote, or the recipe itself.
        scene: name such as ``scene-0001``.
        keyframe: number within the scene, from 0.
        camera: channel name.

    Raises:
        CleverError: no generated drives there, or an unknown scene, keyframe or camera.
    """
    recipe, number, model = _find(source, scene, keyframe, camera)
    placement, rays, hits = view(recipe, number, keyframe, model)
    label, instance = recipe.world(number).labels(hits, placement, rays)
    with np.errstate(divide="ignore"):
        return Truth((1 / hits.inverse).astype(np.float32), label, instance)


def _find(
    source: Path | Recipe, scene: str, keyframe: int, camera: str
) -> tuple[Recipe, int, CameraModel]:
    recipe, scenes = (source, 9999) if isinstance(source, Recipe) else load_recipe(source)
    model = next((model for model in CAMERAS if model.channel == camera), None)
    digits = scene.removeprefix("scene-")
    number = int(digits) if digits.isdigit() else 0
    if model is None or not 1 <= number <= scenes or not 0 <= keyframe < recipe.keyframes:
        raise CleverError(
            f"no image {camera} of keyframe {keyframe} in {scene}; choose one that the drives hold"
        )
    return recipe, number, model
