"""The calibration score: true calibrations pass, turned and inverted ones are noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from clever.cache.frame import Frame
from clever.cache.images import load_image
from clever.pipeline.alignment import score as alignment
from clever.pipeline.alignment.blocks import block_mean, difference
from clever.pipeline.alignment.score import (
    APART,
    EVERY_CAMERA,
    INVERTED,
    TURNED,
    CalibrationScore,
    judge,
    quick_doubt,
)
from clever.pipeline.alignment.view import ViewPair, views_of
from clever.pipeline.datasets import build_dataset
from clever.pipeline.drives import make_drives
from clever.pipeline.settings.make_drives import MakeDrivesSettings

AXES = np.eye(3)


def turned(frame: Frame, degrees: NDArray[np.float64]) -> Frame:
    """The frame with a LiDAR that is said to stand otherwise."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
    return with_extrinsics(frame, [camera.camera_from_lidar @ turn for camera in frame.cameras])


def inverted(frame: Frame) -> Frame:
    return with_extrinsics(
        frame, [np.linalg.inv(camera.camera_from_lidar) for camera in frame.cameras]
    )


def with_extrinsics(frame: Frame, transforms: list[NDArray[np.float64]]) -> Frame:
    cameras = zip(frame.cameras, transforms, strict=True)
    return replace(
        frame, cameras=tuple(replace(camera, camera_from_lidar=t) for camera, t in cameras)
    )


def pairs_of(frames: list[Frame]) -> list[ViewPair]:
    return [
        pair
        for number, frame in enumerate(frames)
        for pair in views_of(frame, [load_image(c.image) for c in frame.cameras], number)
    ]


def together(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> CalibrationScore:
    """The first score: that of single cameras takes as long again."""
    own = alignment._score
    monkeypatch.setattr(
        alignment,
        "_score",
        lambda where, pairs, turn, level: (
            own(where, pairs, turn, level)
            if where in (EVERY_CAMERA, "image_2")
            else CalibrationScore(where, 0, 0)
        ),
    )
    return judge(pairs_of(frames))[0]


@pytest.fixture(scope="session")
def drive_frames(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Two keyframes of two generated streets, whose geometry is exact."""
    root = tmp_path_factory.mktemp("drives") / "drives"
    make_drives(MakeDrivesSettings(out=root, scenes=2, keyframes=1, image_width=480, workers=1))
    dataset = build_dataset("nuscenes", root, split="all")
    return [dataset.frame(index) for index in range(2)]


@pytest.fixture(scope="session")
def nuscenes_frames(shared_data: Path) -> list[Frame]:
    return [build_dataset("nuscenes", shared_data / "nuscenes", split="all").frame(0)]


@pytest.fixture(scope="session")
def kitti_frames(shared_data: Path) -> list[Frame]:
    dataset = build_dataset("semantickitti", shared_data / "semantickitti", sequences=("40",))
    return [dataset.frame(index) for index in range(2, 39, 5)]


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
    drive_frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    true = together(drive_frames, monkeypatch)
    assert true.warning == ""
    assert true.alignment is not None
    assert true.alignment.above(0, 1e-4)
    for degrees in (AXES[2] * 2, -AXES[0] * 2, AXES[1] * 5):
        score = together([turned(frame, degrees) for frame in drive_frames], monkeypatch)
        assert score.warning == TURNED
        assert score.rotation is not None
        assert np.linalg.norm(np.array(score.rotation) + degrees) < 0.8
    score = together([inverted(frame) for frame in drive_frames], monkeypatch)
    assert score.warning == INVERTED


@pytest.mark.slow
def test_true_drives_of_many_seeds_are_not_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings = []
    for seed in range(6):
        root = tmp_path / str(seed)
        make_drives(
            MakeDrivesSettings(
                out=root, scenes=1, keyframes=1, image_width=480, workers=1, seed=seed
            )
        )
        frame = build_dataset("nuscenes", root, split="all").frame(0)
        warnings.append(quick_doubt(pairs_of([frame])))
        warnings.append(together([frame], monkeypatch).warning)
    assert warnings == [""] * 12


@pytest.mark.slow
@pytest.mark.parametrize("frames", ["nuscenes_frames", "kitti_frames"])
def test_real_frames_fit_as_they_are_and_no_other_way(
    frames: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The true calibrations pass; 1, 2 and 5 degrees about any axis and the inverse matrix are
    noticed."""
    true: list[Frame] = request.getfixturevalue(frames)
    assert [score.warning for score in judge(pairs_of(true))] == [""] * (
        7 if frames == "nuscenes_frames" else 1
    )
    assert quick_doubt(pairs_of(true)) == ""
    noticed = {
        (size, axis): together([turned(frame, size * AXES[axis]) for frame in true], monkeypatch)
        for size, axis in [(1, 0), (-1, 1), (1, 2), (-2, 0), (2, 1), (5, 0), (-5, 2)]
    }
    assert {key: score.warning for key, score in noticed.items()} == dict.fromkeys(noticed, TURNED)
    score = together([inverted(frame) for frame in true], monkeypatch)
    assert score.warning == INVERTED
    assert quick_doubt(pairs_of([inverted(frame) for frame in true])).startswith(INVERTED)
    assert TURNED in quick_doubt(pairs_of([turned(frame, 2 * AXES[2]) for frame in true]))


@pytest.mark.slow
def test_noise_fits_nothing(nuscenes_frames: list[Frame]) -> None:
    """Images of another place: no calibration is better, and that is what is said."""
    rng = np.random.default_rng(0)
    frame = nuscenes_frames[0]
    images = [load_image(camera.image)[:, ::-1].copy() for camera in frame.cameras]
    order = rng.permutation(len(images))
    while (order == np.arange(len(images))).any():
        order = rng.permutation(len(images))
    scores = judge(views_of(frame, [images[place] for place in order], 0))
    assert scores[0].where == EVERY_CAMERA
    assert scores[0].warning in ("", APART)
    assert scores[0].alignment is not None
    assert not scores[0].alignment.above(0.05, 0.01)


def test_too_little_says_so(nuscenes_frames: list[Frame]) -> None:
    frame = replace(nuscenes_frames[0], points=nuscenes_frames[0].points[:200])
    images = [load_image(camera.image) for camera in frame.cameras]
    pairs = views_of(frame, images, 0)
    assert {score.alignment for score in judge(pairs)} == {None}
    assert {score.warning for score in judge(pairs)} == {""}
    assert quick_doubt(pairs) == ""
    assert judge([]) == []
    assert quick_doubt([]) == ""
