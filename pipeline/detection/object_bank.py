"""Ground-truth sampling (SECOND, Yan et al. 2018): objects of other frames are put into a frame."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..training.seeds import stream
from .box_frame import BoxFrame
from .boxes import Boxes
from .overlap import shared_area


@dataclass(frozen=True, slots=True)
class ObjectBank:
    """Objects of the training frames, where they were recorded.

    Objects are not moved onto the ground of the frame they come to: road planes, which OpenPCDet
    reads for that, are no part of KITTI's release.

    Attributes:
        rows: (K, 7) float32, boxes.
        classes: (K,) int64.
        points: (P_k, 4) float32 of every object, in the LiDAR frame.
    """

    rows: Tensor
    classes: Tensor
    points: tuple[Tensor, ...]

    @classmethod
    def of(cls, frames: Iterable[BoxFrame], min_points: int = 5) -> "ObjectBank":
        """Gather the objects of frames.

        Args:
            frames: with those boxes alone that may be sampled; one is held at a time.
            min_points: objects with fewer points are left out.
        """
        rows, classes, points = [torch.zeros(0, 7)], [torch.zeros(0, dtype=torch.int64)], []
        for frame in frames:
            inside = frame.boxes.contain(frame.points[:, :3])
            full = inside.sum(1) >= min_points
            rows.append(frame.boxes.rows[full].float())
            classes.append(frame.classes[full])
            points += [frame.points[mask] for mask in inside[full]]
        return cls(torch.cat(rows), torch.cat(classes), tuple(points))

    def __len__(self) -> int:
        return len(self.rows)

    def add_to(self, frame: BoxFrame, targets: Mapping[int, int], key: int) -> BoxFrame:
        """A frame with objects put in; `key` (of seed, pass and frame, see `FrameDraw`) and the
        bank alone decide which.

        Of every class so many objects are drawn, none twice, as the frame lacks to its target. One
        whose footprint meets that of an object already there is left out (of two drawn ones that
        meet, the later; OpenPCDet leaves out both). Points of the frame in an object's box make
        room for its own.

        Args:
            targets: objects that the frame should have by class (20, 15, 15 for KITTI's).
        """
        draws = self._draws(frame, targets, key)
        objects = self._without_collisions(frame.boxes, draws)
        boxes = Boxes(self.rows[objects].to(frame.boxes.rows))
        covered = boxes.contain(frame.points[:, :3]).any(0)
        points = [frame.points[~covered], *(self.points[place] for place in objects.tolist())]
        return BoxFrame(
            torch.cat(points),
            Boxes(torch.cat([frame.boxes.rows, boxes.rows])),
            torch.cat([frame.classes, self.classes[objects]]),
        )

    def _draws(self, frame: BoxFrame, targets: Mapping[int, int], key: int) -> Tensor:
        """Places in the bank (D,) int64, class by class."""
        places = [torch.zeros(0, dtype=torch.int64)]
        for category, target in sorted(targets.items()):
            members = torch.nonzero(self.classes == category).flatten()
            lacking = max(target - int((frame.classes == category).sum()), 0)
            generator = stream(key, "object bank", category)
            places.append(members[torch.randperm(len(members), generator=generator)[:lacking]])
        return torch.cat(places)

    def _without_collisions(self, boxes: Boxes, draws: Tensor) -> Tensor:
        """Those of the places `draws` whose footprints meet neither the boxes nor an earlier
        one."""
        candidates = Boxes(self.rows[draws].to(boxes.rows))
        free = (shared_area(candidates, boxes) == 0).all(1)
        meets = shared_area(candidates, candidates) > 0
        for place in range(len(draws)):
            free[place] &= not bool((meets[place, :place] & free[:place]).any())
        return draws[free]
