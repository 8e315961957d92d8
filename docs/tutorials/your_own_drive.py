"""Tutorial 3: a recording of your own, by one drive.yaml.

    python docs/tutorials/your_own_drive.py [FOLDER]

Instead of a recording, a folder is filled here with what a car may have written: sweeps as BIN
files, and images. What all keys of drive.yaml mean: docs/your-own-drive.md.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import clever
from clever.cli.verbs import VERBS, Verb, load

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tutorial")
drive = folder / "drive"
generator = np.random.default_rng(0)

# Two scenes of two sweeps: a road 1.6 m below the sensor, a wall 15 m ahead, and one camera that
# looks ahead (x right, y down, z forward, where the LiDAR has x forward, y left, z up).
for scene in ("monday", "tuesday"):
    for part in ("lidar", "front"):
        (drive / scene / part).mkdir(parents=True)
    for number in range(2):
        road = np.c_[generator.uniform([3, -8], [15, 8], (3000, 2)), np.full(3000, -1.6)]
        wall = np.c_[np.full(1500, 15.0), generator.uniform([-8, -1.6], [8, 2], (1500, 2))]
        points = np.r_[road, wall]
        intensity = generator.uniform(0, 1, len(points))
        np.c_[points, intensity].astype("<f4").tofile(drive / scene / f"lidar/{number:06}.bin")
        pixels = generator.integers(0, 255, (96, 192, 3), np.uint8)
        Image.fromarray(pixels).save(drive / scene / f"front/{number:06}.png")

(drive / "drive.yaml").write_text("""\
points:
  files: "{scene}/lidar/{frame}.bin"
  input_format: bin
  columns: [x, y, z, intensity]
  intensity_scale: 1
cameras:
  front:
    images: "{scene}/front/{frame}.png"
    intrinsics: {fx: 96, fy: 96, cx: 95.5, cy: 47.5}
    camera_from_lidar: [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]
splits: {train: ["monday"], val: ["tuesday"]}
""")


def run(command: str, **values: object) -> object:
    """What ``clever COMMAND`` does, without a command line."""
    verb = VERBS[command]
    assert isinstance(verb, Verb)
    return load(verb.job)(load(verb.settings).resolve(None, values))


# Does the calibration fit? Pictures of points on images, and how well edges lie on edges. (These
# images are noise: the warning about their calibration, here and while caching, is right.)
print(run("doctor", dataset="folder", data_root=drive, split="all", out=folder / "look", frames=1))

# From here on it is like any dataset.
cache = folder / "run.zarr"
clever.cache_teacher(
    clever.CacheTeacherSettings(
        dataset="folder",
        data_root=drive,
        cache=cache,
        model="vits14",
        weights="random:0",
        image_size=(112, 224),
        split="all",
        device="cpu",
    )
)
print(clever.FeatureCache(cache).ids)
