"""The calibration score: true calibrations pass, turned and inverted ones are noticed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from clever.cache.frame import Frame
from clever.cache.images import load_image
from clever.pipeline.alignment import score as alignment
from clever.pipeline.alignment.blocks import block_mean, difference
from clever.pipeline.alignment.depth_edges import DepthEdges, depth_edges
from clever.pipeline.alignment.image_edges import ImageEdges, image_edges
from clever.pipeline.alignment.score import (
    APART,
    EVERY_CAMERA,
    INVERTED,
    TURNED,
    CalibrationScore,
    judge,
    quick_doubt,
)
from clever.pipeline.alignment.view import ViewPair, view_pairs, views_of
from clever.pipeline.datasets import build_dataset
from clever.pipeline.drives import make_drives
from clever.pipeline.settings.make_drives import MakeDrivesSettings

AXES = np.eye(3)


@dataclass(frozen=True)
class Scene:
    """A frame with its edges: they stay the same whatever the calibration is said to be."""

    frame: Frame
    edges: DepthEdges
    images: tuple[ImageEdges, ...]

    def turned(self, degrees: NDArray[np.float64]) -> "Scene":
        """With a LiDAR that is said to stand otherwise."""
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
        return self._with([camera.camera_from_lidar @ turn for camera in self.frame.cameras])

    def inverted(self) -> "Scene":
        return self._with([np.linalg.inv(c.camera_from_lidar) for c in self.frame.cameras])

    def _with(self, transforms: list[NDArray[np.float64]]) -> "Scene":
        cameras = zip(self.frame.cameras, transforms, strict=True)
        other = tuple(replace(camera, camera_from_lidar=t) for camera, t in cameras)
        return replace(self, frame=replace(self.frame, cameras=other))


def scene_of(frame: Frame) -> Scene:
    images = tuple(image_edges(load_image(camera.image)) for camera in frame.cameras)
    return Scene(frame, depth_edges(frame.points[:, :3]), images)


def pairs_of(scenes: list[Scene]) -> list[ViewPair]:
    return [
        pair
        for number, scene in enumerate(scenes)
        for pair in view_pairs(scene.frame.cameras, scene.edges, scene.images, number)
    ]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Scene]], CalibrationScore]:
    """The first score: that of single cameras takes as long again."""
    own = alignment._score

    def first(where: str, *rest: Any) -> CalibrationScore:
        alone = where in (EVERY_CAMERA, "image_2")
        return own(where, *rest) if alone else CalibrationScore(where, 0, 0)

    def score(scenes: list[Scene]) -> CalibrationScore:
        with monkeypatch.context() as patch:
            patch.setattr(alignment, "_score", first)
            return judge(pairs_of(scenes))[0]

    return score


@pytest.fixture(scope="module")
def drive_scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """A keyframe of each of six generated streets, whose geometry is exact."""
    root = tmp_path_factory.mktemp("drives") / "drives"
    make_drives(MakeDrivesSettings(out=root, scenes=6, keyframes=1, image_width=320, workers=1))
    dataset = build_dataset("nuscenes", root, split="all")
    return [scene_of(dataset.frame(index)) for index in range(6)]


@pytest.fixture(scope="module")
def nuscenes_scenes(shared_data: Path) -> list[Scene]:
    return [scene_of(build_dataset("nuscenes", shared_data / "nuscenes", split="all").frame(0))]


@pytest.fixture(scope="module")
def kitti_scenes(shared_data: Path) -> list[Scene]:
    dataset = build_dataset("semantickitti", shared_data / "semantickitti", sequences=("40",))
    return [scene_of(dataset.frame(index)) for index in range(2, 39, 9)]


def test_a_block_mean_has_the_error_of_its_blocks() -> None:
    """Equal blocks: the mean of block means and their standard error, whatever is inside."""
    rng = np.random.default_rng(0)
    blocks = rng.normal(size=12)
    values = np.repeat(blocks, 5)
    which = np.repeat(np.arange(12), 5) * 7
    result = block_mean(values, np.full(60, 0.3), which)
    assert result.mean == pytest.approx(blocks.mean())
    assert result.error == pytest.approx(blocks.std(ddof=1) / np.sqrt(12))
    assert result.bound(0.025) - result.mean == pytest.approx(2.2010 * result.error, rel=1e-4)
    assert result.above(result.mean - 3 * result.error, 0.05)
    assert not result.above(result.mean - 1.7 * result.error, 0.05)
    weight = np.repeat(rng.uniform(0.5, 2, 12), 5)
    weighted = block_mean(values, weight, which)
    assert weighted.mean == pytest.approx(np.average(values, weights=weight))
    both = difference(result, weighted)
    assert both.mean == pytest.approx(result.mean - weighted.mean)
    assert both.error == pytest.approx(np.hypot(result.error, weighted.error))


@pytest.mark.slow
def test_generated_drives_fit_and_turned_ones_do_not(
    drive_scenes: list[Scene], together: Callable[[list[Scene]], CalibrationScore]
) -> None:
    one = drive_scenes[:1]
    true = together(one)
    assert true.warning == ""
    assert true.alignment is not None
    assert true.alignment.above(0, 1e-4)
    for degrees in (AXES[2] * 2, -AXES[0] * 2, AXES[1] * 5):
        score = together([scene.turned(degrees) for scene in one])
        assert score.warning == TURNED
        assert score.rotation is not None
        assert np.linalg.norm(np.array(score.rotation) + degrees) < 0.8
    score = together([scene.inverted() for scene in one])
    assert score.warning == INVERTED


@pytest.mark.slow
def test_true_drives_of_many_streets_are_not_warned_of(
    drive_scenes: list[Scene], together: Callable[[list[Scene]], CalibrationScore]
) -> None:
    assert [quick_doubt(pairs_of([scene])) for scene in drive_scenes] == [""] * 6
    assert [together([scene]).warning for scene in drive_scenes] == [""] * 6


@pytest.mark.slow
@pytest.mark.parametrize("scenes", ["nuscenes_scenes", "kitti_scenes"])
def test_real_frames_fit_as_they_are_and_no_other_way(
    scenes: str,
    request: pytest.FixtureRequest,
    together: Callable[[list[Scene]], CalibrationScore],
) -> None:
    """The true calibrations pass; 1, 2 and 5 degrees about any axis and the inverse matrix are
    noticed."""
    true: list[Scene] = request.getfixturevalue(scenes)
    assert [score.warning for score in judge(pairs_of(true))] == [""] * (
        7 if scenes == "nuscenes_scenes" else 1
    )
    assert quick_doubt(pairs_of(true)) == ""
    noticed = {
        (size, axis): together([scene.turned(size * AXES[axis]) for scene in true])
        for size, axis in [(1, 0), (-1, 1), (1, 2), (-2, 0), (2, 1), (5, 0), (-5, 2)]
    }
    assert {key: score.warning for key, score in noticed.items()} == dict.fromkeys(noticed, TURNED)
    score = together([scene.inverted() for scene in true])
    assert score.warning == INVERTED
    assert quick_doubt(pairs_of([scene.inverted() for scene in true])).startswith(INVERTED)
    assert TURNED in quick_doubt(pairs_of([scene.turned(2 * AXES[2]) for scene in true]))


@pytest.mark.slow
def test_noise_fits_nothing(nuscenes_scenes: list[Scene]) -> None:
    """Images of another place: no calibration is better, and that is what is said."""
    rng = np.random.default_rng(0)
    frame = nuscenes_scenes[0].frame
    images = [load_image(camera.image)[:, ::-1].copy() for camera in frame.cameras]
    order = rng.permutation(len(images))
    while (order == np.arange(len(images))).any():
        order = rng.permutation(len(images))
    scores = judge(views_of(frame, [images[place] for place in order], 0))
    assert scores[0].where == EVERY_CAMERA
    assert scores[0].warning in ("", APART)
    assert scores[0].alignment is not None
    assert not scores[0].alignment.above(0.05, 0.01)


def test_too_little_says_so(nuscenes_scenes: list[Scene]) -> None:
    frame = replace(nuscenes_scenes[0].frame, points=nuscenes_scenes[0].frame.points[:200])
    images = [load_image(camera.image) for camera in frame.cameras]
    pairs = views_of(frame, images, 0)
    assert {score.alignment for score in judge(pairs)} == {None}
    assert {score.warning for score in judge(pairs)} == {""}
    assert quick_doubt(pairs) == ""
    assert judge([]) == []
    assert quick_doubt([]) == ""
