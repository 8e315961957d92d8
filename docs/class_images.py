"""Exact class images of generated drives, as masks for ``clever cache-regions --kind class``.

    python docs/class_images.py DRIVES FOLDER
    clever cache-regions --cache CACHE --data-root DRIVES --from FOLDER --kind class \
        --classes "$(cat FOLDER/classes.txt)" --empty 255

One PNG a camera image, named as the image is: the 16 classes of the lidarseg challenge, 255 for sky
and what the challenge ignores. They are truth: what learns from them is no longer self-supervised.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from clever.errors import CleverError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.base import positions
from clever.pipeline.datasets.nuscenes import CLASSES, NuScenesDataset
from clever.pipeline.drives import ground_truth


def write_class_images(drives: Path, folder: Path) -> int:
    """Write the masks of all images in `drives`; returns their number."""
    dataset = build_dataset("nuscenes", drives, version="v1.0-mini", split="all")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text(",".join(CLASSES))
    count, keyframe, scene = 0, 0, ""
    for index in sorted(positions(dataset).values()):
        frame = dataset.frame(index)
        keyframe = keyframe + 1 if frame.scene == scene else 0
        scene = frame.scene
        for camera in frame.cameras:
            label = ground_truth(drives, scene, keyframe, camera.name).label
            # Sky is no category of the tables: it becomes 255 as what the challenge ignores is.
            classes = NuScenesDataset.released_format.table[label].astype(np.uint8)
            Image.fromarray(classes).save(folder / f"{Path(str(camera.image)).stem}.png")
            count += 1
    return count


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("give the folder of the drives and one for the masks")
    try:
        print(f"{write_class_images(Path(sys.argv[1]), Path(sys.argv[2]))} masks")
    except CleverError as error:
        raise SystemExit(f"error: {error}") from error
