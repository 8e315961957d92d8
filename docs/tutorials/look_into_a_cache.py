"""Tutorial 1: make a small cache and look into it.

    python docs/tutorials/look_into_a_cache.py [FOLDER]

Two generated keyframes are cached with an untrained ViT, because that needs no download; with
``model="vitb14", weights="hub"`` the features are DINOv2's.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import zarr

import clever
from clever.cache.sampling import sample_tokens

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tutorial")

# A drive in the nuScenes format: six cameras, a LiDAR of 32 beams.
drives = clever.MakeDrivesSettings(
    out=folder / "drives", scenes=1, keyframes=2, image_width=320, azimuths=360, workers=1
)
print(clever.make_drives(drives))

# Stage one: the teacher runs once over every image.
settings = clever.CacheTeacherSettings(
    data_root=folder / "drives",
    cache=folder / "run.zarr",
    model="vits14",
    weights="random:0",
    image_size=(112, 224),
    split="all",
    device="cpu",
)
clever.cache_teacher(settings)

# The store, frame by frame. Only it is read: no images, no dataset, no teacher.
cache = clever.FeatureCache(folder / "run.zarr")
frame = cache[0]
cameras, height, width, channels = frame.tokens.shape
print(f"{len(cache)} frames; {cameras} cameras of {height} x {width} tokens, {channels} channels")
print(f"{len(frame.points)} points, {len(frame.pair_point)} of them seen by a camera")

# A pair says at which pixel of which camera a point is seen: (u, v) from 0 to 1 of the image.
point, camera = frame.points[frame.pair_point[0]], frame.pair_camera[0]
u, v = frame.pair_uv[0] * frame.image_size[camera] - 0.5
print(f"the point {point[:3].tolist()} m lies at pixel ({u:.1f}, {v:.1f}) of camera {camera}")

# What the student has to predict: the teacher's feature at that pixel, interpolated between the
# four nearest tokens. Stored codes are int8; centre + step * code is the feature.
targets = sample_tokens(
    frame.tokens, frame.pair_camera, frame.pair_uv, frame.image_size, frame.calibration
)
print(f"targets {tuple(targets.shape)}, of length {targets.norm(dim=1).mean():.2f} in the mean")

# The same with zarr alone, as another language would read it.
counts = zarr.open_array(folder / "run.zarr/frames/points", mode="r")
points = zarr.open_array(folder / "run.zarr/points/xyzi", mode="r")
first = np.asarray(points[0, : len(frame.points)])
assert np.asarray(counts)[0] == len(frame.points)
assert torch.equal(torch.from_numpy(first), frame.points)
