"""RankMe of a student on a feature cache: which rows are drawn, what they give, what is left
untouched."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from clever.cache import CachedFrame
from clever.cache.frame import Camera, Frame
from clever.cache.projection import Correspondences
from clever.cache.store.records.models import PointSettings
from clever.cache.store.store import Store
from clever.cache.store.writer import GridShard, PointShard
from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline.rankme import rankme, student_ranks
from clever.pipeline.settings.rankme import RankmeSettings
from clever.pipeline.training.seeds import seeded
from clever.student.checkpoint import save_student
from clever.student.points import PointBatch
from clever.student.rank import feature_rank
from clever.student.registry import build_student
from clever.student.student import Student

CPU = torch.device("cpu")
COUNTS = (120, 300, 40, 300)


def cloud(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform([-6, -6, -1, 0], [6, 6, 2, 1], (count, 4)).astype(np.float32)


def cached(name: str, points: np.ndarray) -> CachedFrame:
    none = torch.zeros(0)
    return CachedFrame(
        name,
        "scene",
        0,
        torch.eye(4),
        torch.from_numpy(points),
        none,
        none,
        none,
        none,
        none,
        None,
    )


@pytest.fixture
def frames() -> list[CachedFrame]:
    rng = np.random.default_rng(0)
    return [cached(f"frame-{number}", cloud(rng, count)) for number, count in enumerate(COUNTS)]


@pytest.fixture
def student() -> Student:
    with seeded(3, "student"):
        return build_student("minkunet-tiny", 0.5).eval()


class Echo(torch.nn.Module):
    """Stands for a student: a point's feature is the point."""

    def voxel_features(self, points: PointBatch) -> tuple[Tensor, SimpleNamespace]:
        voxels = SimpleNamespace(inverse=torch.arange(len(points)))
        return torch.cat([points.xyz, points.intensity[:, None]], 1), voxels


def test_all_rows_give_the_ranks_of_all_features(
    frames: list[CachedFrame], student: Student
) -> None:
    result = student_ranks(student, frames, CPU)
    with torch.no_grad():
        features = torch.cat([student(PointBatch.from_clouds([frame.points])) for frame in frames])
    assert (result.rows, result.channels, result.frames) == (sum(COUNTS), 64, 4)
    assert result.tolerance == sum(COUNTS) * 2**-23
    for ranks, centred in ((result.uncentred, False), (result.centred, True)):
        expected = feature_rank(features, centred)
        assert ranks.rankme == pytest.approx(expected.rankme, rel=1e-6)
        assert ranks.matrix_rank == expected.matrix_rank
    assert result.uncentred.rankme != result.centred.rankme
    assert (
        student_ranks(student, frames, CPU, tolerance=0.5).uncentred.matrix_rank
        < result.uncentred.matrix_rank
    )


def drawn(cache: list[CachedFrame], monkeypatch: pytest.MonkeyPatch, **options: int) -> Tensor:
    """The rows that `student_ranks` hands to `feature_rank`."""
    samples: list[Tensor] = []

    def spy(features: Tensor, centred: bool, tolerance: float | None):
        samples.append(features)
        return feature_rank(features, centred, tolerance)

    monkeypatch.setattr("clever.pipeline.rankme.feature_rank", spy)
    student_ranks(Echo(), cache, CPU, **options)  # type: ignore[arg-type]
    return samples[0]


def owners(rows: Tensor, frames: list[CachedFrame]) -> list[int]:
    """How many rows every frame gave; each of its points at most once."""
    unique = {tuple(row) for row in rows.tolist()}
    assert len(unique) == len(rows)
    return [len(unique & {tuple(row) for row in frame.points.tolist()}) for frame in frames]


def test_rows_are_spread_evenly_and_short_frames_pass_theirs_on(
    frames: list[CachedFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert owners(drawn(frames, monkeypatch, rows=160), frames) == [40, 40, 40, 40]
    assert owners(drawn(frames, monkeypatch, rows=400), frames) == [100, 100, 40, 160]
    assert owners(drawn(frames, monkeypatch, rows=10), frames) == [3, 3, 2, 2]
    assert sorted(owners(drawn(frames, monkeypatch, rows=20, frames=2), frames)) == [0, 0, 10, 10]


def test_the_sample_is_uniform_and_repeats_with_its_seed(
    frames: list[CachedFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn(frames, monkeypatch, rows=80, seed=7)
    assert torch.equal(first, drawn(frames, monkeypatch, rows=80, seed=7))
    assert not torch.equal(first, drawn(frames, monkeypatch, rows=80, seed=8))
    picked = np.zeros(4)
    halves = np.zeros(2)
    for seed in range(200):
        rows = drawn(frames, monkeypatch, rows=10, frames=1, seed=seed)
        picked += np.array(owners(rows, frames)) / 10
        halves += [(rows[:, 0] < 0).sum(), (rows[:, 0] >= 0).sum()]
    assert picked.sum() == 200
    assert picked.min() > 30  # 50 expected, standard deviation 6
    assert abs(halves[0] - 1000) < 150  # of 2000 points


def test_the_student_and_the_global_generator_are_left_as_they_were(
    frames: list[CachedFrame], student: Student
) -> None:
    expected = student_ranks(student, frames, CPU)
    student.train()
    frozen = next(
        module for module in student.modules() if isinstance(module, torch.nn.BatchNorm1d)
    ).eval()
    weights = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    generator = torch.get_rng_state()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert student_ranks(student, frames, CPU) == expected
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in student.state_dict().items())
    assert [module for module in student.modules() if not module.training] == [frozen]
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in student.parameters()
    )


def test_a_bad_frame_is_named(frames: list[CachedFrame], student: Student) -> None:
    far = frames[2].points.numpy().copy()
    far[0, 0] = 1e9
    with pytest.raises(CleverError, match=r"^frame far: scene 0 of the batch spans"):
        student_ranks(student, [*frames, cached("far", far)], CPU)
    with torch.no_grad():
        next(student.parameters()).fill_(torch.nan)
    with pytest.raises(CleverError, match="frame frame-0: the student's features are not finite"):
        student_ranks(student, frames, CPU)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A store of three frames with one camera that sees nothing."""
    rng = np.random.default_rng(1)
    store = Store.open_or_create(tmp_path / "toy.zarr", PointSettings("toy", ("front",)))
    camera = Camera(
        "front", Path("front.png"), 8, 8, np.array([[8, 0, 4], [0, 8, 4], [0, 0, 1.0]]), np.eye(4)
    )
    pairs = Correspondences(np.zeros(0, np.uint32), np.zeros((0, 2)), np.zeros(2, np.int64))
    frames = [
        Frame(f"frame-{n}", "scene", n, cloud(rng, 200), np.eye(4), (camera,)) for n in range(3)
    ]
    store.extend([frame.id for frame in frames], [frame.scene for frame in frames])
    info = store.add_teacher(
        "toy-2x2", "drawn at random", (2, 2), 3, "fp16", "grid", {"model": "toy"}
    )
    points, grid = PointShard(store, 0), GridShard(store, info, 0)
    for number, frame in enumerate(frames):
        points.add(number, frame, pairs)
        grid.add(number, np.ones((1, 2, 2, 3), np.float16), None)
    points.commit()
    grid.commit()
    store.finalise()
    return tmp_path / "toy.zarr"


def test_random_weights_equal_a_checkpoint_of_the_same_weights(
    cache: Path, student: Student, tmp_path: Path
) -> None:
    save_student(tmp_path / "run", student, {"origin": "distilled from toy"})
    values = {"cache": cache, "rows": 150, "seed": 3, "device": "cpu"}
    random = rankme(
        RankmeSettings.resolve(
            None, {**values, "checkpoint": "none", "student": "minkunet-tiny", "voxel_size": 0.5}
        )
    )
    trained = rankme(RankmeSettings.resolve(None, {**values, "checkpoint": tmp_path / "run"}))
    assert trained.ranks == random.ranks
    assert (random.weights, trained.weights) == (
        "random initialisation, seed 3",
        "from run (distilled from toy)",
    )
    with pytest.raises(
        CleverError, match=r"is a minkunet-tiny with voxels of 0\.5 m; leave `student`"
    ):
        rankme(
            RankmeSettings.resolve(
                None, {**values, "checkpoint": tmp_path / "run", "student": "ptv3-tiny"}
            )
        )


def test_the_command_prints_rows_seed_and_tolerance_or_json(cache: Path) -> None:
    app = build_app("rankme")
    arguments = [
        "rankme",
        "--checkpoint",
        "none",
        "--student",
        "minkunet-tiny",
        "--cache",
        str(cache),
    ]
    arguments += [
        "--rows",
        "90",
        "--frames",
        "2",
        "--voxel-size",
        "0.5",
        "--tolerance",
        "0.01",
        "--seed",
        "4",
    ]
    text = CliRunner().invoke(app, arguments).stdout
    assert "90 points x 64 channels, drawn uniformly from 2 of 3 frames of toy" in text
    assert "seed 4" in text
    assert "above 0.01 of the largest" in text
    result = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    ranks = result["ranks"]
    assert (
        ranks["rows"],
        ranks["channels"],
        ranks["frames"],
        ranks["seed"],
        ranks["tolerance"],
    ) == (
        90,
        64,
        2,
        4,
        0.01,
    )
    assert "1e-07" in result["rule"]
    table = [line.split() for line in text.splitlines()]
    printed = next(line for line in table if line[:1] == ["RankMe"])
    for shown, kind in zip(printed[1:3], ("uncentred", "centred"), strict=True):
        assert float(shown) == pytest.approx(ranks[kind]["rankme"], abs=5e-4)
