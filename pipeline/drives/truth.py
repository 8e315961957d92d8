"""What every pixel of a generated camera image shows, recomputed from the recipe."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError
from .geometry import invert, transform
from .raycast import Rays
from .record import Recipe, seconds, view
from .scene import Hits, Placed, World, cast
from .schema import VERSION
from .sensors import CAMERAS, CameraModel

RECIPE_FILE = "drives.json"
_FORMAT = 1


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


def recipe_text(recipe: Recipe, scenes: int) -> str:
    """JSON text that describes a data set of so many scenes, as it stands beside its tables."""
    return json.dumps({"format": _FORMAT, "scenes": scenes, "recipe": asdict(recipe)}, indent=1)


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
    placed, rays, hits = view(recipe, number, keyframe, model)
    return _truth(recipe.world(number), placed, rays, hits)


def truth_at(
    source: Path | Recipe, scene: str, keyframe: int, camera: str, pixels: NDArray[np.floating]
) -> Truth:
    """The same at continuous pixel positions (N, 2), cast in float64; arrays are (N,)."""
    recipe, number, model = _find(source, scene, keyframe, camera)
    world, time = recipe.world(number), seconds(keyframe, model.trigger)
    k = model.intrinsics(recipe.image_width)
    x, y = ((pixels.astype(np.float64) - k[:2, 2]) / k[0, 0]).T[:, :, None]
    rays = Rays(world.ego.at(time) @ model.ego_from_camera, x, y, np.ones_like(x))
    placed = world.at(time)
    found = _truth(world, placed, rays, cast(rays, placed, world.street))
    return Truth(found.depth[:, 0], found.label[:, 0], found.instance[:, 0])


def follow(
    source: Path | Recipe,
    scene: str,
    keyframe: int,
    camera: str,
    points: NDArray[np.floating],
    instances: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Carry LiDAR points along with the things they lie on, to the moment the camera fires.

    Args:
        points: (N, 3) in the LiDAR frame, as in the sweep.
        instances: (N,) instance numbers, 0 for points on things that stay.

    Returns:
        (N, 3) in the camera frame: where the pixels that show them are.
    """
    recipe, number, model = _find(source, scene, keyframe, camera)
    world, before, after = recipe.world(number), seconds(keyframe), seconds(keyframe, model.trigger)
    moved = transform(world.ego.at(before) @ recipe.lidar.ego_from_lidar, points)
    things = world.boxed()
    for instance in np.unique(instances[instances > 0]).tolist():
        motion, chosen = things[instance].motion, instances == instance
        moved[chosen] = transform(motion.at(after) @ invert(motion.at(before)), moved[chosen])
    return transform(invert(world.ego.at(after) @ model.ego_from_camera), moved)


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


def _truth(world: World, placed: Placed, rays: Rays, hits: Hits) -> Truth:
    label, instance = world.labels(hits, placed, rays)
    with np.errstate(divide="ignore"):
        return Truth((1 / hits.inverse).astype(np.float32), label, instance)
