"""How far means over a sub-grid of pixels (`clever pretrain --pixel-stride S`) are from means over
all pixels of a region.

    clever cache-teacher ... --cache CACHE && clever cache-regions --cache CACHE ...
    python docs/pixel_stride.py CACHE [--regions slic150] [--strides 2 4 8]

For each stride, over the regions of all images of the first frames: regions without a pixel of the
sub-grid, the cosine of the two means, and the length of their difference over that of the mean of
all pixels; of the teacher's own features and behind a random linear layer to 64 channels.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from clever.cache import FeatureCache
from clever.cache.codec import decode
from clever.cache.store.region_reader import CachedRegions
from clever.errors import CleverError
from clever.student.losses.regions import NO_REGION, global_ids, pool_pixels


def main() -> None:
    """Read the arguments, pool every frame, print a line for each stride."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache")
    parser.add_argument("--teacher")
    parser.add_argument("--regions")
    parser.add_argument("--strides", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--frames", type=int, default=8)
    arguments = parser.parse_args()
    try:
        cache = FeatureCache(arguments.cache, arguments.teacher)
        regions = CachedRegions(arguments.cache, arguments.regions)
    except CleverError as error:
        parser.exit(2, f"error: {error}\n")
    torch.manual_seed(0)
    spaces = {
        "teacher's features": nn.Identity(),
        "behind a layer to 64": nn.Linear(cache.teacher.channels, 64),
    }
    names = [name for name in cache.ids if name in regions][: arguments.frames]
    print(f"{cache.teacher.id}, {regions.info.id}, {len(names)} frames")
    for space, head in spaces.items():
        for stride in arguments.strides:
            parts = [errors(cache, regions, head, stride, name) for name in names]
            lost = sum(part[0] for part in parts)
            cosine = torch.cat([part[1] for part in parts])
            error = torch.cat([part[2] for part in parts])
            print(
                f"  {space}, stride {stride}: {lost} of {lost + len(cosine)} regions lost, cosine "
                f"mean {float(cosine.mean()):.5f}, lowest {float(cosine.min()):.5f}; relative "
                f"error mean {float(error.mean()):.4f}, highest {float(error.max()):.4f}"
            )


@torch.no_grad()
def errors(
    cache: FeatureCache, regions: CachedRegions, head: nn.Module, stride: int, name: str
) -> tuple[int, Tensor, Tensor]:
    """Of a frame: regions that the sub-grid misses; of the others the cosine and the relative
    length of the difference between their means, (R,) each."""
    frame = cache[cache.position(name)]
    grid = head(decode(frame.tokens, frame.calibration)).permute(0, 3, 1, 2)
    maps = torch.from_numpy(regions.maps(name).astype("int64"))
    count = int(maps[maps != NO_REGION].max()) + 1
    numbers = global_ids(maps, count, torch.zeros(len(maps), dtype=torch.int64), shared=False)
    every, some = (pool_pixels(grid, numbers, count * len(maps), step) for step in (1, stride))
    both = every.present & some.present
    whole, part = every.means[both], some.means[both]
    lost = int((every.present & ~some.present).sum())
    return lost, cosine_similarity(whole, part), (part - whole).norm(dim=1) / whole.norm(dim=1)


if __name__ == "__main__":
    main()
