"""Generated drives: streets drawn from a seed and recorded in the nuScenes schema, with exact
truth.

Whoever needs drives imports them from here; what a scene is made of is known inside alone.

Frames of reference: *ego* is x forward, y left, z up, its origin on the ground below the rear axle;
the LiDAR is x right, y forward, z up; cameras are x right, y down, z forward. Poses are (4, 4)
float64 matrices, `a_from_b` maps b's coordinates to a's, metres. The same seed gives the same
bytes.
"""

from .cameras import CAMERAS, CameraModel
from .lidar import LidarModel, Sweep, scan
from .make import DrivesSummary, make_drives
from .record import Recipe, Truth, ground_truth, load_recipe, recorded_sweep, seconds
from .tables import CATEGORIES
from .town import draw_world
from .world import World

__all__ = [
    "CAMERAS",
    "CATEGORIES",
    "CameraModel",
    "DrivesSummary",
    "LidarModel",
    "Recipe",
    "Sweep",
    "Truth",
    "World",
    "draw_world",
    "ground_truth",
    "load_recipe",
    "make_drives",
    "recorded_sweep",
    "scan",
    "seconds",
]
