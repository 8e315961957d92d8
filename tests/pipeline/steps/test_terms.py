"""The terms of rivals against loops over pairs, pixels and regions."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clever.cache import FeatureCache
from clever.cache.choices import RegionKind
from clever.cache.projection import Correspondences
from clever.cache.store.records.models import RegionSettings
from clever.cache.store.store import Store
from clever.cache.store.writer import RegionShard, SweepShard
from clever.errors import CleverError
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.contrast_run import (
    dense_sweeps,
    input_sweeps,
    neighbour_doubt,
    region_layer,
    student_passes,
    with_passes,
)
from clever.pipeline.pretraining.networks import build_step
from clever.pipeline.pretraining.stores import open_teachers
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps.cached_frames import PairedFrames
from clever.pipeline.steps.contrast import ContrastStep, PreparedPasses
from clever.pipeline.steps.mixed_frames import MixedFrames
from clever.pipeline.steps.passes import PassBatch, draw_cameras
from clever.pipeline.steps.terms import TermOptions, Terms
from clever.student.losses.regions import NO_REGION

SIZE = (6, 9)
CLASSES = 4
SCENES = ("a", "a", "a", "b", "b")


def test_a_term_that_no_loss_is_written_for_is_not_passed_over() -> None:
    """`distance`, which a run computes elsewhere, stands for a new one."""
    options = TermOptions(4, 0.07, 8, 1, False)
    terms = Terms({"distance": 1.0}, options, 3, 5)
    with pytest.raises(NotImplementedError, match="no loss is computed for the term distance"):
        terms(None, {}, None)


def add_regions(cache: Path, kind: RegionKind) -> np.ndarray:
    """Regions of five frames and two cameras, (5, 2, 6, 9); some pixels have none."""
    rng = np.random.default_rng(5)
    most = CLASSES if kind == "class" else 400
    maps = rng.integers(0, most, (5, 2, *SIZE)).astype(np.uint16)
    maps[:, :, 0, :4] = NO_REGION
    store = Store(cache)
    names = tuple("abcd") if kind == "class" else ()
    info = store.add_regions(
        RegionSettings(kind, "files", SIZE, name="drawn", pattern="{id}.png", classes=names)
    )
    shard = RegionShard(store, info, 0)
    for row in range(5):
        shard.add(row, maps[row])
    shard.commit()
    store.finalise()
    return maps


def settings(cache: Path, **changes: Any) -> PretrainSettings:
    values = {
        "cache": cache, "student": "minkunet-tiny", "voxel_size": 1.0, "epochs": 1,
        "batch_size": 2, "device": "cpu", "rankme_every": 0, "mix3d": 0.0, "points": "all",
        "occupancy_weight": 0, "contrast_channels": 8, "drawn_pairs": 30, **changes,
    }  # fmt: skip
    return PretrainSettings.resolve(None, values)


def add_sweeps(cache: Path) -> dict[str, np.ndarray]:
    """Two sweeps of 30 points before each frame, with a pair of every second point; by frame."""
    rng, store, clouds = np.random.default_rng(9), Store(cache), {}
    info = store.add_sweeps(2, True)
    shard = SweepShard(store, info, 0)
    size = np.array([[64, 32], [40, 40]])
    for row in range(5):
        sweeps = [
            rng.uniform([-6, -6, -1, 0], [6, 6, 2, 1], (30, 4)).astype(np.float32) for _ in range(2)
        ]
        point = np.tile(np.arange(0, 60, 2, dtype=np.uint32), 2)
        uv = rng.uniform(1, 30, (60, 2))
        shard.add(
            row, sweeps, (-0.05, -0.1), Correspondences(point, uv, np.array([0, 30, 60])), size
        )
        clouds[store.ids[row]] = np.concatenate(sweeps)
    shard.commit()
    store.finalise()
    return clouds


class Case:
    """A step and its parts after one forward pass on frames 1 and 3."""

    def __init__(self, job: PretrainSettings, indices: tuple[int, ...] = (1, 3)) -> None:
        caches = open_teachers(job)
        step = build_step(job, caches)
        assert isinstance(step, ContrastStep)
        self.step = step
        paired = PairedFrames(
            caches,
            regions=region_layer(job),
            input_sweeps=input_sweeps(job),
            dense_sweeps=dense_sweeps(job),
        )
        frames = with_passes(job, MixedFrames([paired], ["toy"]))
        self.frames = [frames[index, 11 + index] for index in indices]
        self.batch = PassBatch.collate(self.frames)
        totals = {name: torch.tensor(count) for name, count in step.counts(self.batch).items()}
        self.prepared: PreparedPasses = step.prepare(self.batch)
        with torch.no_grad():
            self.losses = step.losses(self.prepared, totals)

    def features(self, number: int, head: str = "pair") -> Tensor:
        """Of every pair of pass `number`, unit vectors behind a head."""
        prepared = self.prepared.passes[number]
        with torch.no_grad():
            features = self.step.stages(prepared)[1][0]
            points = self.step.terms.point_heads[head](features)
        return F.normalize(points.index_select(0, prepared.slot), dim=1)

    def pixels(self, head: str = "pair") -> Tensor:
        with torch.no_grad():
            return F.normalize(
                self.step.terms.pixel_heads[head](self.prepared.main.targets[0]), dim=1
            )

    def labels(self, number: int, maps: np.ndarray, rows: tuple[int, ...]) -> list[tuple[int, int]]:
        """(frame of the batch * 2 + camera, number of the map) of every pair."""
        batch = (self.batch.main, *self.batch.others)[number]
        labels = []
        for view, (u, v) in zip(
            batch.pair_view.tolist(), batch.pair_uv.double().tolist(), strict=True
        ):
            map_of = maps[rows[view // 2], view % 2]
            labels.append((view, int(map_of[int(v * SIZE[0]), int(u * SIZE[1])])))
        return labels


def contrast(anchors: Tensor, keys: Tensor, t: float = 0.07) -> float:
    rows = []
    for i in range(len(anchors)):
        logits = [float(anchors[i] @ keys[j]) / t for j in range(len(keys))]
        rows.append(math.log(sum(math.exp(x) for x in logits)) - logits[i])
    return float(np.mean(rows))


def means(features: Tensor, labels: list[Any]) -> dict[Any, Tensor]:
    groups: dict[Any, list[Tensor]] = {}
    for row, label in zip(features, labels, strict=True):
        groups.setdefault(label, []).append(row)
    return {label: torch.stack(rows).mean(0) for label, rows in groups.items()}


@pytest.fixture
def cache(make_cache: Callable[..., Path]) -> Path:
    return make_cache(scenes=SCENES)


def test_all_pairs_drawn_are_one_contrast(cache: Path) -> None:
    case = Case(settings(cache, terms="pairs", drawn_pairs=10_000))
    expected = contrast(case.features(0), case.pixels())
    assert float(case.losses["pairs"]) == pytest.approx(expected, rel=1e-4)
    assert float(case.losses["loss"]) == pytest.approx(expected, rel=1e-4)
    few = Case(settings(cache, terms="pairs=3"))
    assert float(few.losses["loss"]) == pytest.approx(3 * float(few.losses["pairs"]))
    assert float(few.losses["pairs"]) < expected


def test_what_a_frame_draws_does_not_depend_on_its_batch(cache: Path) -> None:
    job = settings(cache, terms="pairs")
    from clever.pipeline.steps.pass_features import PassFeatures

    def draws(*indices: int) -> Tensor:
        case = Case(job, indices)
        empty = torch.zeros(0, 1)
        return PassFeatures(case.batch.main, case.prepared.main, empty, empty).draw("pairs")

    both, alone = draws(1, 3), draws(3)
    assert torch.equal(both[-len(alone) :], alone)
    assert len(both.unique()) > 0.99 * len(both)


@pytest.mark.parametrize("kind", ["segment", "class"])
def test_regions_pool_points_and_all_pixels(cache: Path, kind: RegionKind) -> None:
    maps = add_regions(cache, kind)
    case = Case(settings(cache, terms="regions"))
    shared = kind == "class"
    labels = case.labels(0, maps, (1, 3))
    assert kind == "class" or max(number for _, number in labels if number < NO_REGION) > 255

    def name(view: int, number: int) -> tuple[int, int]:
        return (view // 2 if shared else view, number)

    members = [i for i, (_, number) in enumerate(labels) if number != NO_REGION]
    points = means(case.features(0)[members], [name(*labels[i]) for i in members])
    teacher = case.batch.main.teachers[0][0].tokens.tokens.float()
    with torch.no_grad():
        grid = case.step.terms.pixel_heads["pair"](teacher).permute(0, 3, 1, 2)
    pixels = F.interpolate(grid, size=SIZE, mode="bilinear", align_corners=True)
    rows, names = [], []
    for view in range(4):
        for i in range(SIZE[0]):
            for j in range(SIZE[1]):
                number = int(maps[(1, 3)[view // 2], view % 2, i, j])
                if number != NO_REGION:
                    rows.append(F.normalize(pixels[view, :, i, j], dim=0))
                    names.append(name(view, number))
    images = means(torch.stack(rows), names)
    order = list(points)
    expected = contrast(
        torch.stack([points[key] for key in order]), torch.stack([images[key] for key in order])
    )
    assert float(case.losses["regions"]) == pytest.approx(expected, rel=1e-3)


def test_of_two_layers_the_terms_take_the_kind_that_suits_them(cache: Path) -> None:
    add_regions(cache, "segment")
    add_regions(cache, "class")
    kinds = {}
    for terms in ("regions", "regions, flow"):
        layer = region_layer(settings(cache, terms=terms))
        assert layer is not None
        kinds[terms] = layer.info.settings.kind
    assert kinds == {"regions": "segment", "regions, flow": "class"}
    names = [layer.id for layer in Store(cache).regions() if layer.settings.kind == "class"]
    layer = region_layer(settings(cache, terms="regions", regions=names[0]))
    assert layer is not None
    assert layer.info.id == names[0]


def test_flow_compares_the_classes_of_a_scene_over_time(cache: Path) -> None:
    maps = add_regions(cache, "class")
    job = settings(cache, terms="regions, flow")
    assert student_passes(job) == 3
    case = Case(job)
    assert [part.ids for part in case.batch.others] == [
        ["frame-0", "frame-3"],  # the first of scene b is its own neighbour
        ["frame-2", "frame-4"],
    ]
    assert len(set(case.batch.keys + case.batch.others[0].keys + case.batch.others[1].keys)) == 6
    pooled = []
    for number, rows in enumerate(((1, 3), (0, 3), (2, 4))):
        labels = case.labels(number, maps, rows)
        members = [i for i, (_, value) in enumerate(labels) if value != NO_REGION]
        names = [(labels[i][0] // 2, labels[i][1]) for i in members]
        pooled.append(means(case.features(number)[members], names))
    values = []
    for other in pooled[1:]:
        order = [key for key in pooled[0] if key in other]
        values.append(
            contrast(
                torch.stack([pooled[0][key] for key in order]),
                torch.stack([other[key] for key in order]),
            )
        )
    assert float(case.losses["flow"]) == pytest.approx(np.mean(values), rel=1e-3)


@pytest.mark.parametrize("term", ["d2s", "d2s-cosine"])
def test_a_frame_agrees_with_itself_and_earlier_sweeps(cache: Path, term: str) -> None:
    maps = add_regions(cache, "class")
    with pytest.raises(CleverError, match="holds no 2 earlier sweeps with pairs"):
        dense_sweeps(settings(cache, terms=term))
    clouds = add_sweeps(cache)
    job = settings(cache, terms=term)
    assert student_passes(job) == 2
    case = Case(job)
    (dense,) = case.batch.others
    assert dense.points.counts == (260, 260)
    assert np.array_equal(dense.points.xyz[200:260], clouds["frame-1"][:, :3])
    assert [sum(dense.view_pairs), sum(case.batch.main.view_pairs)] == [2 * (166 + 60), 2 * 166]
    pooled = []
    for number in range(2):
        labels = case.labels(number, maps, (1, 3))
        members = [i for i, (_, value) in enumerate(labels) if value != NO_REGION]
        names = [(labels[i][0] // 2, labels[i][1]) for i in members]
        pooled.append(means(case.features(number)[members], names))
    order = [key for key in pooled[0] if key in pooled[1]]
    here, there = (torch.stack([part[key] for key in order]) for part in pooled)
    expected = (
        contrast(here, there)
        if term == "d2s"
        else 1 - float(F.cosine_similarity(here, there).mean())
    )
    assert float(case.losses[term]) == pytest.approx(expected, rel=1e-3)


def test_earlier_sweeps_as_denser_input(cache: Path) -> None:
    clouds = add_sweeps(cache)
    case = Case(settings(cache, terms="pairs", input_sweeps=1))
    main = case.batch.main
    assert main.points.counts == (230, 230)
    assert np.array_equal(main.points.xyz[430:], clouds["frame-3"][:30, :3])
    assert sum(main.view_pairs) == 2 * 166
    assert main.number.tolist() == [*range(230), *range(230)]


def test_classes_add_positives_and_prototypes_wait(cache: Path) -> None:
    maps = add_regions(cache, "class")
    case = Case(settings(cache, recipe="olivine", drawn_pairs=10_000))
    labels = [number for _, number in case.labels(0, maps, (1, 3))]
    members = [i for i, number in enumerate(labels) if number != NO_REGION]
    points, pixels = case.features(0, "class")[members], case.pixels("class")[members]
    rows = []
    for i in range(len(members)):
        terms = [math.exp(float(points[i] @ pixels[j]) / 0.07) for j in range(len(members))]
        same = [x for j, x in enumerate(terms) if labels[members[j]] == labels[members[i]]]
        rows.append(-math.log(sum(same) / sum(terms)))
    assert float(case.losses["class-pairs"]) == pytest.approx(np.mean(rows), rel=1e-3)
    assert float(case.losses["prototypes"]) == 0
    assert float(case.losses["loss"]) == pytest.approx(
        (float(case.losses["pairs"]) + float(case.losses["class-pairs"])) / 2, rel=1e-5
    )
    expected = means(points, [labels[i] for i in members])
    assert case.step.terms.prototypes is not None
    for number, mean in expected.items():
        torch.testing.assert_close(
            case.step.terms.prototypes.means[number], 1e-4 * mean, rtol=1e-3, atol=1e-9
        )


def test_temporal_agreement_of_matched_points(cache: Path) -> None:
    case = Case(settings(cache, terms="distance, temporal", overlap_radius=1.0, head="linear"))
    matches = case.batch.matches
    assert matches is not None
    assert len(matches) > 20
    sums = [
        (frame.matches + torch.tensor(start)).tolist()  # type: ignore[operator]
        for frame, start in zip(case.frames, ([0, 0], [200, 200]), strict=True)
    ]
    assert matches.tolist() == [*sums[0], *sums[1]]
    features = []
    for number in range(2):
        prepared = case.prepared.passes[number]
        with torch.no_grad():
            features.append(case.step.stages(prepared)[0].index_select(0, prepared.voxels.inverse))
    cosine = F.cosine_similarity(features[0][matches[:, 0]], features[1][matches[:, 1]])
    assert float(case.losses["temporal"]) == pytest.approx(1 - float(cosine.mean()), abs=1e-5)
    assert float(case.losses["loss"]) == pytest.approx(
        float(case.losses["temporal"] + case.losses["distillation"]), rel=1e-5
    )


def test_times_of_neighbours_in_a_wrong_unit(
    cache: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The store's frames are a microsecond apart; said once, of terms that compare neighbours."""
    own = FeatureCache(cache)
    assert own.timestamps.tolist() == [0, 1, 2, 3, 4]
    near, flow = (settings(cache, terms=terms) for terms in ("pairs", "temporal"))
    line = f"{cache}: frames follow every 1e-06 s, less than 0.005"
    assert neighbour_doubt(near, own, own.ids) == ""
    assert neighbour_doubt(flow, own, own.ids).startswith(line)
    assert neighbour_doubt(flow, own, [own.ids[place] for place in (0, 3)]) == ""
    pretrain(flow.model_copy(update={"out": tmp_path / "run"}))
    assert capfd.readouterr().err.count(line) == 1
    for steps, fault in ((100_000, False), (0, False), (10**9, True)):
        own._table.timestamp[:] = steps * np.arange(5)
        assert bool(neighbour_doubt(flow, own, own.ids)) == fault


def test_passes_share_the_cameras_drawn(cache: Path) -> None:
    add_regions(cache, "class")
    case = Case(settings(cache, terms="regions, flow", drawn_cameras=1))
    for frame in case.frames:
        cameras = {tuple(part.pair_view.unique().tolist()) for part in (frame.frame, *frame.others)}
        assert len(cameras) == 1
        (drawn,) = cameras
        assert len(drawn) == 1
        assert frame.frame.maps is not None
        assert (frame.frame.maps[1 - drawn[0]] == NO_REGION).all()
        assert len(frame.frame.points) == 200
    frame = case.frames[0].frame
    assert {tuple(draw_cameras(frame, 2, seed).pair_view.unique().tolist()) for seed in range(4)}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"terms": "regions"}, "holds no regions"),
        ({"terms": "temporal", "mix3d": 0.8}, "no other may be mixed in: give `mix3d=0`"),
        ({"terms": "nothing"}, "should be NAME"),
        ({"terms": "pairs=-1"}, "should be NAME"),
        ({"terms": "distance="}, "'distance=' should be NAME"),
        ({"terms": "pairs,pairs=2"}, "given 2 times"),
    ],
)
def test_what_does_not_go_together(cache: Path, changes: dict[str, Any], fault: str) -> None:
    def build() -> None:
        job = settings(cache, **changes)
        build_step(job, open_teachers(job))

    with pytest.raises(CleverError, match=fault):
        build()


def test_a_stride_beyond_the_maps_and_a_pair_alone(cache: Path) -> None:
    add_regions(cache, "segment")
    job = settings(cache, terms="regions", pixel_stride=min(SIZE))
    build_step(job, open_teachers(job))
    beyond = settings(cache, terms="regions", pixel_stride=min(SIZE) + 1)
    with pytest.raises(CleverError, match=r"`pixel_stride=.*` goes beyond the maps of regions/"):
        build_step(beyond, open_teachers(beyond))
    with pytest.raises(CleverError, match="greater than or equal to 2"):
        settings(cache, terms="pairs", drawn_pairs=1)


def test_segments_are_no_classes(cache: Path) -> None:
    add_regions(cache, "segment")
    with pytest.raises(CleverError, match="the term flow needs classes"):
        region_layer(settings(cache, recipe="superflow"))
    assert region_layer(settings(cache, recipe="ppkt")) is None


@pytest.mark.parametrize("recipe", ["ppkt", "slidr", "superflow", "olivine", "temporal"])
def test_recipes_train_and_stop_and_go_on(
    cache: Path, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_regions(cache, "class")
    add_sweeps(cache)
    job = settings(
        cache, recipe=recipe, batch_size=2, epochs=2, lr=0.01, save_every=1, voxel_size=1.0
    )
    whole = pretrain(job.model_copy(update={"out": tmp_path / "whole"}))
    assert math.isfinite(whole.losses.last["loss"])
    forward, calls = ContrastStep.forward, []

    def stop_at_third(step: ContrastStep, *values: Any) -> Any:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(step, *values)

    out = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(ContrastStep, "forward", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            pretrain(job.model_copy(update={"out": out}))
    pretrain(job.model_copy(update={"out": out}))
    files = sorted(path.name for path in out.glob("*.safetensors"))
    assert "terms.safetensors" in files
    assert len(files) == (3 if recipe == "temporal" else 2)
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
