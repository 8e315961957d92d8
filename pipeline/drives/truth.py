"""What every pixel of a generated camera image shows, recomputed from the recipe."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError
from .record import Recipe, view
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
    label, instance = recipe.world(number).labels(hits, placed, rays)
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
