"""How far a mirrored or cut feature map is from the map of the mirrored or cut image.

    python docs/mirrored_maps.py IMAGE... --model efficientnet_lite0 [--weights hub]

Prints mean and 1st percentile of the cosine over the tokens of all images.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from clever.cache.images import load_image
from clever.cache.teacher import load_teacher
from clever.cache.teacher_settings import TeacherSettings


def main() -> None:
    """Read the arguments, run the teacher, print a line for each change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--weights", default="hub")
    parser.add_argument("--size", type=int, nargs=2, default=(224, 448))
    arguments = parser.parse_args()
    height, width = arguments.size
    square = height, height
    whole, part = (
        load_teacher(
            TeacherSettings(model=arguments.model, weights=arguments.weights, image_size=size)
        )
        for size in ((height, width), square)
    )
    left = (width - height) // 2 // whole.stride * whole.stride
    columns = slice(left // whole.stride, left // whole.stride + part.grid[1])
    cosines: dict[str, list[Tensor]] = {"mirrored": [], "middle cut out": []}
    for path in arguments.images:
        image = whole.preprocess(load_image(path))[None]
        features = whole.features(image)
        mirrored = whole.features(image.flip(3))
        cut = part.features(image[..., left : left + height].contiguous())
        cosines["mirrored"].append(cosine_similarity(features.flip(2), mirrored, dim=-1).flatten())
        cosines["middle cut out"].append(
            cosine_similarity(features[:, :, columns], cut, dim=-1).flatten()
        )
    print(
        f"{arguments.model}, {whole.weights_description}, {whole.readout.layer}, "
        f"{len(arguments.images)} images of {height}x{width}"
    )
    for name, parts in cosines.items():
        values = torch.cat(parts)
        low = float(values.quantile(0.01))
        print(f"  {name}: cosine mean {float(values.mean()):.4f}, 1st percentile {low:.4f}")


if __name__ == "__main__":
    main()
