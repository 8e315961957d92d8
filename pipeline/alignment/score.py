"""How well a calibration fits, and whether another one fits better.

The idea is old (Levinson and Thrun 2013): where the range jumps there is an outline, and an outline
mostly is an edge of the image. Under a wrong calibration depth edges fall where they may.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ...cache.frame import Camera
from .blocks import Estimate, block_mean, difference
from .view import View, ViewPair

FARTHEST = 6
"""Degrees about each axis within which a better rotation is looked for."""
STEPS = (1.0, 0.5, 0.25)
"""Degrees between the rotations that are tried: of all, then around the best."""
ELSEWHERE = 4.0
"""Degrees away at which a depth edge is compared with chance."""
FALSE_ALARM = 0.01
"""Probability of any warning about true calibrations, over all tests of one `judge`."""
TESTS = 3
"""Asked of each camera: is it turned, is it inverted, does nothing agree."""
LEAST_TURN = 0.5
"""Degrees: calibrations and clocks are hardly better; less is no reason to warn."""
POOR = 0.05
"""An alignment that certainly is lower than this is none."""
FOLDS = 4
"""Parts of the blocks: a rotation is looked for in all but one and measured on that one."""
FEWEST_BLOCKS, FEWEST_EDGES = 2 * FOLDS, 50
"""Fewer say too little."""

QUICK = (1.0, 2.0, 5.0)
"""Degrees of the turns of `quick_doubt`."""
EVERY_CAMERA = "all cameras"
INVERTED = "the inverse extrinsics fit better"
TURNED = "a rotation fits better"
APART = "depth edges do not fall on edges of the image"
TOGETHER = 16
"""Rotations that are tried at once: their edges fit a core's cache."""

Turn = Callable[[Camera, NDArray[np.float64]], NDArray[np.float64]]
"""`camera_from_lidar` (R, 4, 4) of a camera after rotations (R, 3, 3)."""


@dataclass(frozen=True, slots=True)
class CalibrationScore:
    """What edges say of the calibration of one camera, or of all cameras together.

    Shares are of the edge strength that chance gives: at places `ELSEWHERE` degrees off.

    Attributes:
        where: the camera's name, or ``all cameras``.
        images, edges: how many images and depth edges were looked at.
        alignment: how much stronger the image's edges are where depth edges fall than chance has
            it, as a share; 0 is chance. None here and below: too few edges to tell.
        inverse: the same under the inverse extrinsics.
        rotation: (3,) degrees about x, y, z: the rotation vector that fits best, in the camera's
            axes for one camera, in the LiDAR's for all.
        gain: how much it adds to the alignment, as a share: found on one half of the edges and
            measured on the other, either way, so that it is not flattered by the search.
        warning: what seems wrong, in a few words; empty where nothing does.
    """

    where: str
    images: int
    edges: int
    alignment: Estimate | None = None
    inverse: Estimate | None = None
    rotation: tuple[float, float, float] | None = None
    gain: Estimate | None = None
    warning: str = ""


def judge(pairs: Sequence[ViewPair]) -> list[CalibrationScore]:
    """Scores of all cameras together where there are several, then of each.

    Warnings about true calibrations have a probability of at most `FALSE_ALARM` in all, one half
    for all cameras together and one shared out among the single ones, as long as edges in different
    strips and frames tell different things: frames of a standing car do not.
    """
    names = list(dict.fromkeys(pair.usual.camera.name for pair in pairs))
    if len(names) == 1:
        return [_score(names[0], pairs, _camera, FALSE_ALARM / TESTS)]
    half = FALSE_ALARM / 2 / TESTS
    scores = [_score(EVERY_CAMERA, pairs, _lidar, half)] if names else []
    for name in names:
        own = [pair for pair in pairs if pair.usual.camera.name == name]
        scores.append(_score(name, own, _camera, half / len(names)))
    return scores


def quick_doubt(pairs: Sequence[ViewPair]) -> str:
    """What seems wrong with the calibration of all cameras together, in a few words; empty where
    nothing does.

    Instead of a search it tries turns of `QUICK` degrees about each axis and the inverse
    extrinsics, at a probability of a false alarm of `FALSE_ALARM` over all of them.
    """
    usual = _Group([pair.usual for pair in pairs], _lidar)
    inverse = _Group([pair.inverse for pair in pairs], _lidar)
    if not usual.enough:
        return _only_inverse(inverse, FALSE_ALARM)
    turns = np.array([s * size * axis for axis in np.eye(3) for size in QUICK for s in (1, -1)])
    level = FALSE_ALARM / (len(turns) + 2)
    alignment, own, chance = usual.alignment(), usual.own(), usual.chance()
    if inverse.enough and difference(inverse.alignment(), alignment).above(0, level):
        return f"{INVERTED} (alignment {inverse.alignment()} against {alignment})"
    gains = [usual.share(after - own, chance) for after in usual.strengths(turns)]
    gain, turn = max(zip(gains, turns, strict=True), key=lambda pair: pair[0].bound(1 - level))
    if gain.above(0, level):
        return f"{TURNED}: {_turn_name(turn, 'LiDAR')} adds {gain} to the alignment of {alignment}"
    return "" if alignment.above(POOR, 1 - level) else f"{APART} (alignment {alignment})"


def rotation_name(score: CalibrationScore) -> str:
    """The best rotation in words."""
    if score.rotation is None:
        return "unknown"
    frame = "LiDAR" if score.where == EVERY_CAMERA else "camera"
    return _turn_name(score.rotation, frame)


def _turn_name(turn: Sequence[float] | NDArray[np.float64], frame: str) -> str:
    parts = " ".join(f"{axis} {value:+.2g}" for axis, value in zip("xyz", turn, strict=True))
    return f"{np.linalg.norm(turn):.2g} degrees ({parts} in the {frame}'s axes)"


def _camera(camera: Camera, rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turned about the camera's own axes, at its place."""
    return _rigid(rotations) @ camera.camera_from_lidar


def _lidar(camera: Camera, rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """The LiDAR turned about its own axes, at its place."""
    return camera.camera_from_lidar @ _rigid(rotations)


def _rigid(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    transforms = np.tile(np.eye(4), (len(rotations), 1, 1))
    transforms[:, :3, :3] = rotations
    return transforms


def _score(where: str, pairs: Sequence[ViewPair], turn: Turn, level: float) -> CalibrationScore:
    """The score of some views; `level` is the probability of a false alarm of each test."""
    usual = _Group([pair.usual for pair in pairs], turn)
    inverse = _Group([pair.inverse for pair in pairs], turn)
    score = CalibrationScore(where, len(pairs), usual.edges)
    other = inverse.alignment() if inverse.enough else None
    if not usual.enough:
        return replace(score, inverse=other, warning=_only_inverse(inverse, level))
    alignment = usual.alignment()
    rotation, gain = _better_rotation(usual)
    return CalibrationScore(
        where, len(pairs), usual.edges, alignment, other, rotation, gain,
        _warning(alignment, other, rotation, gain, level),
    )  # fmt: skip


def _only_inverse(inverse: "_Group", level: float) -> str:
    """The warning where hardly an edge is in view: the inverse extrinsics, if edges agree with
    them."""
    return INVERTED if inverse.enough and inverse.alignment().above(POOR, level) else ""


def _warning(
    alignment: Estimate,
    inverse: Estimate | None,
    rotation: tuple[float, float, float],
    gain: Estimate,
    level: float,
) -> str:
    if inverse and difference(inverse, alignment).above(0, level):
        return INVERTED
    if np.linalg.norm(rotation) >= LEAST_TURN and gain.above(0, level):
        return TURNED
    if not alignment.above(POOR, 1 - level):
        return APART
    return ""


class _Group:
    """Views that are turned together."""

    def __init__(self, views: Sequence[View], turn: Turn) -> None:
        self._views = [view for view in views if len(view.edges)]
        self._turn = turn
        self.block = np.concatenate([np.empty(0, np.int64), *(v.block for v in self._views)])
        self.weight = np.concatenate([np.empty(0), *(v.edges.weight for v in self._views)])
        # By rank: where edges lie in a few strips alone, every fold has its share of them.
        self.fold = np.unique(self.block, return_inverse=True)[1] % FOLDS
        # Who takes part: all but one fold, for each fold; in the last row all.
        takes_part = self.fold != np.arange(FOLDS + 1)[:, None]
        shares = self.weight * takes_part
        self._shares = shares / np.maximum(shares.sum(1, keepdims=True), 1e-12)
        self.edges = len(self.block)
        self.enough = (
            self.edges >= FEWEST_EDGES
            and len(np.unique(self.block)) >= FEWEST_BLOCKS
            and len(np.unique(self.fold)) == FOLDS
        )

    def strengths(self, turns: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R, E) edge strength at every depth edge after rotation vectors (R, 3), degrees."""
        rotations = Rotation.from_rotvec(turns, degrees=True).as_matrix()
        return np.concatenate(
            [view.strengths(self._turn(view.camera, rotations)) for view in self._views], axis=1
        )

    def own(self) -> NDArray[np.float64]:
        """(E,) edge strength at every depth edge as it is."""
        return self.strengths(np.zeros((1, 3)))[0]

    def chance(self) -> NDArray[np.float64]:
        """(E,) mean strength at the same edges `ELSEWHERE` degrees off, in 26 directions."""
        around = np.array([way for way in product((-1.0, 0.0, 1.0), repeat=3) if any(way)])
        turns = ELSEWHERE * around / np.linalg.norm(around, axis=1, keepdims=True)
        return self.strengths(turns).mean(0)

    def alignment(self) -> Estimate:
        """See `CalibrationScore`."""
        chance = self.chance()
        return self.share(self.own() - chance, chance)

    def share(self, values: NDArray[np.float64], chance: NDArray[np.float64]) -> Estimate:
        """Mean of differences of strength (E,) as a share of chance (E,)."""
        scale = np.average(chance, weights=self.weight)
        return block_mean(values / scale, self.weight, self.block)

    def means(self, turns: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R, FOLDS + 1) mean strength after rotation vectors (R, 3), degrees: without each fold,
        and of all."""
        parts = [turns[start : start + TOGETHER] for start in range(0, len(turns), TOGETHER)]
        return np.concatenate([self.strengths(part) @ self._shares.T for part in parts])


def _better_rotation(group: _Group) -> tuple[tuple[float, float, float], Estimate]:
    """The rotation that fits best, and what such a search gains on edges that it has not seen."""
    ways = np.arange(-FARTHEST, FARTHEST + STEPS[0], STEPS[0])
    coarse = np.array(list(product(ways, repeat=3)))
    places = group.means(coarse).argmax(0)
    *others, best = (_refine(group, coarse[place], part) for part, place in enumerate(places))
    # Every fold is measured with the rotation that the other folds chose.
    crossed = np.choose(group.fold, list(group.strengths(np.array(others))))
    x, y, z = best.tolist()
    return (x, y, z), group.share(crossed - group.own(), group.chance())


def _refine(group: _Group, start: NDArray[np.float64], part: int) -> NDArray[np.float64]:
    """The best rotation vector near `start` for a part of the edges, see `_Group.means`."""
    best = start
    for step in STEPS[1:]:
        around = best + step * np.array(list(product((-1, 0, 1), repeat=3)))
        best = around[group.means(around)[:, part].argmax()]
    return best
