"""Generated drives: the schema, the truth behind the pixels, and the job."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clever.errors import CleverError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.earlier_sweeps import earlier_sweeps
from clever.pipeline.drives import make as make_module
from clever.pipeline.drives.cameras import CAMERAS, CameraModel
from clever.pipeline.drives.geometry import invert, transform
from clever.pipeline.drives.lidar import LidarModel
from clever.pipeline.drives.make import DrivesSummary, make_drives
from clever.pipeline.drives.raycast import Rays
from clever.pipeline.drives.record import (
    Recipe,
    Truth,
    ground_truth,
    load_recipe,
    recorded_sweep,
    seconds,
)
from clever.pipeline.drives.shading import sun_map
from clever.pipeline.drives.tables import instance_token
from clever.pipeline.drives.world import SKY, cast
from clever.pipeline.settings.make_drives import MakeDrivesSettings

WIDTH, AZIMUTHS = 128, 180
SMALL = {"image_width": WIDTH, "azimuths": AZIMUTHS, "workers": 1}
TINY = {"image_width": 64, "azimuths": 90, "workers": 1}


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> DrivesSummary:
    """Two scenes of two keyframes."""
    out = tmp_path_factory.mktemp("drives") / "out"
    return make_drives(MakeDrivesSettings(out=out, scenes=2, keyframes=2, seed=1, **SMALL))


@pytest.fixture(scope="module")
def devkit(summary: DrivesSummary) -> Any:
    """The unmodified nuscenes-devkit on the generated folder."""
    nuscenes = pytest.importorskip("nuscenes", reason="needs nuscenes-devkit")
    return nuscenes.NuScenes("v1.0-mini", str(summary.root), verbose=False)


RECIPE = Recipe(seed=7, keyframes=4, image_width=WIDTH, azimuths=AZIMUTHS, range_noise=0.0)


def carried(
    recipe: Recipe,
    scene: int,
    keyframe: int,
    camera: CameraModel,
    points: NDArray[np.floating],
    instances: NDArray[np.int32],
) -> NDArray[np.float64]:
    """LiDAR points (N, 3) carried along with the things that they lie on to the moment the camera
    fires: (N, 3) in the camera frame, where the pixels that show them are.

    `instances` are (N,) instance numbers, 0 for points on things that stay.
    """
    world = recipe.world(scene)
    before, after = seconds(keyframe), seconds(keyframe, camera.trigger)
    positions = transform(world.ego.at(before) @ recipe.lidar.ego_from_lidar, points)
    objects = world.things_by_instance()
    for instance in np.unique(instances[instances > 0]).tolist():
        motion, members = objects[instance].motion, instances == instance
        positions[members] = transform(
            motion.at(after) @ invert(motion.at(before)), positions[members]
        )
    return transform(invert(world.ego.at(after) @ camera.ego_from_camera), positions)


def test_devkit_opens_everything(devkit: Any, summary: DrivesSummary) -> None:
    assert [scene["name"] for scene in devkit.scene] == ["scene-0001", "scene-0002"]
    assert len(devkit.sample) == summary.keyframes == 4
    assert len(devkit.sample_data) == 7 * 4
    assert len(devkit.sample_annotation) == summary.boxes > 40
    for scene in devkit.scene:
        first = devkit.get("sample", scene["first_sample_token"])
        second = devkit.get("sample", first["next"])
        assert second["token"] == scene["last_sample_token"]
        assert (first["prev"], second["prev"], second["next"]) == ("", first["token"], "")
        assert second["timestamp"] - first["timestamp"] == 500_000
        for channel, data in first["data"].items():
            row = devkit.get("sample_data", data)
            following = devkit.get("sample_data", row["next"])
            assert (following["channel"], following["sample_token"]) == (channel, second["token"])
            if channel != "LIDAR_TOP":
                with Image.open(devkit.get_sample_data_path(data)) as image:
                    assert image.size == (WIDTH, WIDTH * 9 // 16) == (row["width"], row["height"])
    stamps = {row["timestamp"] for row in devkit.sample_data}
    assert len(stamps) == len(devkit.sample_data)


def test_lidarseg_agrees_with_points_and_categories(devkit: Any, summary: DrivesSummary) -> None:
    total = 0
    for row in devkit.lidarseg:
        points = np.fromfile(
            devkit.get_sample_data_path(row["sample_data_token"]), np.float32
        ).reshape(-1, 5)
        labels = np.fromfile(summary.root / row["filename"], np.uint8)
        assert len(labels) == len(points)
        assert ((points[:, 3] >= 0) & (points[:, 3] <= 255)).all()
        total += len(labels)
    assert total == summary.points == sum(summary.classes.values())
    assert devkit.lidarseg_idx2name_mapping[24] == "flat.driveable_surface"
    assert devkit.lidarseg_idx2name_mapping[17] == "vehicle.car"
    assert set(devkit.colormap) == set(devkit.lidarseg_name2idx_mapping)
    devkit.get_sample_lidarseg_stats(devkit.sample[0]["token"], sort_by="count")


def test_boxes_hold_as_many_points_as_the_devkit_counts(devkit: Any) -> None:
    from nuscenes.utils.geometry_utils import points_in_box

    off = 0
    for sample in devkit.sample:
        path, boxes, _ = devkit.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3].T.astype(np.float64)
        assert len(boxes) == len(sample["anns"]) > 5
        for box in boxes:
            point_count = devkit.get("sample_annotation", box.token)["num_lidar_pts"]
            assert point_count > 0
            off += abs(int(points_in_box(box, points).sum()) - point_count)
    assert off == 0


def test_boxes_contain_the_points_of_their_instance(devkit: Any) -> None:
    """Every labelled point of a boxed category lies in a box of that category, range noise and
    all."""
    from nuscenes.utils.geometry_utils import points_in_box

    boxed = ("human", "vehicle", "movable")
    for sample in devkit.sample:
        token = sample["data"]["LIDAR_TOP"]
        path, boxes, _ = devkit.get_sample_data(token)
        points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3].T.astype(np.float64)
        labels = np.fromfile(
            Path(devkit.dataroot) / devkit.get("lidarseg", token)["filename"], np.uint8
        )
        for label in np.unique(labels).tolist():
            name = devkit.lidarseg_idx2name_mapping[label]
            if name.startswith(boxed):
                inside = np.any(
                    [points_in_box(box, points) for box in boxes if box.name == name], axis=0
                )
                assert inside[labels == label].all(), name


def test_boxes_render_where_their_pixels_are(devkit: Any, summary: DrivesSummary) -> None:
    """The devkit's projection of a box covers the ray-cast pixels of that instance."""
    from nuscenes.utils.geometry_utils import view_points

    box_count = 0
    for sample in devkit.sample[:2]:
        keyframe = 0 if sample["prev"] == "" else 1
        by_token = {instance_token(summary_recipe(), 1, number): number for number in range(1, 400)}
        for camera in ("CAM_FRONT", "CAM_BACK"):
            _, boxes, intrinsics = devkit.get_sample_data(sample["data"][camera])
            truth = ground_truth(summary.root, "scene-0001", keyframe, camera)
            for box in boxes:
                row = devkit.get("sample_annotation", box.token)
                attributes = [
                    devkit.get("attribute", token)["name"] for token in row["attribute_tokens"]
                ]
                pixels = np.argwhere(truth.instance == by_token[row["instance_token"]])
                if (
                    len(pixels) < 10
                    or box.corners()[2].min() < 0.5
                    or any("moving" in name for name in attributes)
                ):
                    continue
                corners = view_points(box.corners(), intrinsics, normalize=True)[1::-1].T
                assert (pixels >= corners.min(axis=0) - 1).all()
                assert (pixels <= corners.max(axis=0) + 1).all()
                box_count += 1
    assert box_count >= 3


def summary_recipe() -> Recipe:
    return make_module.recipe_of(
        MakeDrivesSettings(out=Path("unused"), keyframes=2, seed=1, **SMALL)
    )


def test_our_dataset_reads_them(summary: DrivesSummary) -> None:
    """The written calibration and poses take resting points to the pixels that the generator
    means."""
    pytest.importorskip("nuscenes", reason="needs nuscenes-devkit")
    from clever.pipeline.datasets.nuscenes import NuScenesDataset

    assert (summary.train, summary.val) == (("scene-0001",), ("scene-0002",))
    dataset = NuScenesDataset(summary.root, "v1.0-mini", "val")
    assert set(dataset.scenes) == {"scene-0002"}
    frame = dataset.frame(1)
    assert len(dataset.labels(1)) == len(frame.points)
    still = np.zeros(len(frame.points), np.int32)
    recipe, scenes = load_recipe(summary.root)
    assert (recipe, scenes) == (summary_recipe(), 2)
    for camera in frame.cameras:
        points = transform(camera.camera_from_lidar, frame.points[:, :3])
        model = next(model for model in CAMERAS if model.channel == camera.name)
        expected = carried(recipe, 2, 1, model, frame.points[:, :3], still)
        np.testing.assert_allclose(points, expected, atol=1e-9)
        np.testing.assert_array_equal(camera.intrinsics, model.intrinsics(WIDTH))


@pytest.mark.parametrize("scene", [1, 2])
def test_labels_agree_with_the_pixels(scene: int, truth_at: Callable[..., Truth]) -> None:
    """Cast through its own pixel, the camera sees the point's object, or something nearer: never
    past it."""
    sweep, matched, visible = recorded_sweep(RECIPE, scene, 2), 0, 0
    for camera in CAMERAS:
        points = carried(RECIPE, scene, 2, camera, sweep.points[:, :3], sweep.instances)
        points_ahead = points[:, 2] > 0.3
        homogeneous = points[points_ahead] @ camera.intrinsics(WIDTH).T
        pixels, depth = homogeneous[:, :2] / homogeneous[:, 2:], homogeneous[:, 2]
        inside = ((pixels > 0) & (pixels < [WIDTH - 1, WIDTH * 9 // 16 - 1])).all(axis=1)
        truth = truth_at(RECIPE, scene, 2, camera, pixels[inside])
        depth, tolerance = depth[inside], 2e-3 + 1e-4 * depth[inside]
        assert (truth.depth <= depth + tolerance).all()
        agreement = truth.depth >= depth - tolerance
        np.testing.assert_array_equal(
            truth.label[agreement], sweep.labels[points_ahead][inside][agreement]
        )
        np.testing.assert_array_equal(
            truth.instance[agreement], sweep.instances[points_ahead][inside][agreement]
        )
        matched, visible = matched + agreement.sum(), visible + len(agreement)
    assert visible > 1000
    assert 0.8 < matched / visible < 1, (
        "the LiDAR sits above the cameras: a few per cent must be hidden"
    )


def test_moving_things_need_their_motion() -> None:
    """Points on movers land off their things when only the ego's motion is made up for."""
    camera = next(camera for camera in CAMERAS if camera.channel == "CAM_FRONT_LEFT")
    shifts = []
    for scene in (1, 2):
        sweep, world = recorded_sweep(RECIPE, scene, 2), RECIPE.world(scene)
        movers = {world.things[index].instance for index in world.movers()}
        subset = np.isin(sweep.instances, list(movers))
        points, instances = sweep.points[subset, :3], sweep.instances[subset]
        args = (RECIPE, scene, 2, camera, points)
        shifts.append(
            np.linalg.norm(carried(*args, instances) - carried(*args, 0 * instances), axis=1)
        )
    distance = np.concatenate(shifts)
    assert distance.min() > 0.01
    assert 0.25 < distance.max() < 0.75, "43 ms at up to 11 m/s and more towards each other"


def test_images_of_truth_agree_with_single_rays(truth_at: Callable[..., Truth]) -> None:
    """The float32 image and float64 rays through the same pixels: one scene, told twice."""
    image = ground_truth(RECIPE, "scene-0001", 1, "CAM_FRONT")
    rows, columns = image.label.shape
    v, u = np.divmod(np.arange(0, rows * columns, 7), columns)
    single = truth_at(RECIPE, 1, 1, CAMERAS[0], np.column_stack([u, v]))
    flat = Truth(
        depth=image.depth.reshape(-1)[::7],
        label=image.label.reshape(-1)[::7],
        instance=image.instance.reshape(-1)[::7],
    )
    agree = (flat.label == single.label) & (flat.instance == single.instance)
    assert agree.mean() > 0.998
    finite = agree & np.isfinite(single.depth) & (single.depth < 120)
    error = np.abs(flat.depth[finite] / single.depth[finite] - 1)
    assert np.quantile(error, 0.995) < 1e-3
    np.testing.assert_array_equal(np.isinf(flat.depth), flat.label == SKY)


def test_truth_pixels_lie_in_their_boxes() -> None:
    """Pixels of an instance, lifted by their depth, lie in its box at the camera's own time."""
    world, camera, count = RECIPE.world(1), CAMERAS[0], 0
    truth, time = ground_truth(RECIPE, "scene-0001", 3, camera.channel), seconds(3, camera.trigger)
    things, k = world.things_by_instance(), camera.intrinsics(WIDTH)
    for instance in np.unique(truth.instance[truth.instance > 0]).tolist():
        v, u = np.nonzero(truth.instance == instance)
        depth = truth.depth[v, u].astype(np.float64)
        rays = np.column_stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(len(u))])
        points = transform(world.ego.at(time) @ camera.ego_from_camera, rays * depth[:, None])
        local = transform(np.linalg.inv(things[instance].motion.at(time)), points)
        low, high = things[instance].box(1e-3)
        assert ((local >= low) & (local <= high)).all()
        count += len(u)
    assert count > 50


def test_beams_stand_at_their_elevations(summary: DrivesSummary) -> None:
    for path in (summary.root / "samples" / "LIDAR_TOP").iterdir():
        points = np.fromfile(path, np.float32).reshape(-1, 5).astype(np.float64)
        elevation = np.degrees(np.arcsin(points[:, 2] / np.linalg.norm(points[:, :3], axis=1)))
        np.testing.assert_allclose(elevation, -92 / 3 + points[:, 4] * 4 / 3, atol=1e-3)
        azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
        step = (-90 - azimuth) % 360 / (360 / AZIMUTHS) - 0.5
        np.testing.assert_allclose(step, np.rint(step), atol=1e-3)
        assert (np.diff(np.rint(step)) >= 0).all()
    assert LidarModel(90).elevations[[0, -1]] == pytest.approx([-30.667, 10.667], abs=1e-3)


def test_range_noise_is_along_the_ray_and_cut() -> None:
    noisy = Recipe(7, 4, WIDTH, AZIMUTHS, 0.02)
    clean, other = (
        recorded_sweep(RECIPE, 1, 0).points[:, :3],
        recorded_sweep(noisy, 1, 0).points[:, :3],
    )
    ranges, ranges_noisy = (
        np.linalg.norm(points.astype(np.float64), axis=1) for points in (clean, other)
    )
    np.testing.assert_allclose(clean / ranges[:, None], other / ranges_noisy[:, None], atol=1e-6)
    error = ranges_noisy - ranges
    assert error.std() == pytest.approx(0.02, rel=0.05)
    assert 0.05 < np.abs(error).max() < 0.0601


def test_scenes_show_the_classes_a_demonstration_needs() -> None:
    needed = {9, 12, 17, 24, 26, 27, 28, 30}
    dense = Recipe(seed=0, keyframes=10, image_width=64, azimuths=360, range_noise=0.02)
    for scene in (1, 2, 3, 4):
        labels = np.concatenate(
            [recorded_sweep(dense, scene, keyframe).labels for keyframe in (2, 7)]
        )
        counts = np.bincount(labels, minlength=32)
        missing = [label for label in needed if counts[label] == 0]
        assert not missing
        assert counts[[15, 16, 23]].sum() > 0, "truck or bus"
        assert counts[[2, 3, 4]].sum() > 0, "pedestrian"
        assert counts[31] == counts[0] == 0


def test_shadows_fall_where_the_sun_is_hidden() -> None:
    """The shadow map against one ray a point, from a sun ten times as far away."""
    world, rng = RECIPE.world(2), np.random.default_rng(3)
    street = zip(rng.uniform(-5, 25, 400), rng.uniform(-9, 9, 400), strict=True)
    points = np.array([(*world.street.to_world(s, d)[:2], 0.15) for s, d in street])
    light = sun_map(world, -20, 40).sunlight(points.T, np.tile([[0.0], [0.0], [1.0]], 400))
    sun = np.eye(4)
    sun[:3, 3] = 20_000 * world.light.sun
    x, y, z = (points + np.array([0, 0, 0.09]) - sun[:3, 3]).T[:, :, None]
    still = np.setdiff1d(np.arange(len(world.things)), world.movers())
    lit = cast(Rays(sun, x, y, z), world.at(0.0, still), None).inverse[:, 0] < 1
    clear = (light == 0) | (light == 1)
    assert 40 < np.count_nonzero(~lit) < 360
    assert clear.mean() > 0.6
    assert (light[clear] == lit[clear]).mean() > 0.95


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_same_seed_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    settings = MakeDrivesSettings(
        out=tmp_path / "a", scenes=1, keyframes=2, seed=5, image_width=64, azimuths=90, workers=1
    )
    make_drives(settings)
    make_drives(settings.model_copy(update={"out": tmp_path / "b", "workers": 2}))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    make_drives(settings.model_copy(update={"out": tmp_path / "c", "seed": 6, "keyframes": 1}))
    for kind in ("samples/CAM_FRONT", "samples/LIDAR_TOP"):
        first, other = (
            sorted((tmp_path / name / kind).iterdir())[0].read_bytes() for name in ("a", "c")
        )
        assert first != other


def test_every_file_is_listed_and_every_listed_file_is_there(summary: DrivesSummary) -> None:
    tables = summary.root / "v1.0-mini"
    table_files = {
        row["filename"]
        for name in ("sample_data", "lidarseg", "map")
        for row in json.loads((tables / f"{name}.json").read_text())
    }
    disk_files = {path for path in contents(summary.root) if not path.startswith("v1.0-mini/")}
    assert table_files == disk_files


@pytest.mark.parametrize(("scenes", "val_count"), [(1, 0), (2, 1), (4, 1), (6, 2), (10, 2)])
def test_about_a_quarter_is_held_out(scenes: int, val_count: int) -> None:
    train, val = make_module.split_scenes(scenes)
    assert (len(train), len(val)) == (scenes - val_count, val_count)
    assert sorted(train + val) == [f"scene-{number:04}" for number in range(1, scenes + 1)]


def test_an_occupied_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(CleverError, match="not an empty folder"):
        make_drives(MakeDrivesSettings(out=tmp_path, **SMALL))
    assert contents(tmp_path) == {"mine.txt": b"keep"}
    with pytest.raises(CleverError, match="not an empty folder"):
        make_drives(MakeDrivesSettings(out=tmp_path / "mine.txt", **SMALL))


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CleverError, match="choose another `out`"):
        make_drives(MakeDrivesSettings(out=tmp_path / "file" / "out", **SMALL))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    calls = []

    def fail_later(_: Recipe, scene: int, keyframe: int, root: Path, __: str) -> None:
        calls.append((scene, keyframe))
        if len(calls) > 1:
            raise error
        (root / "samples").mkdir(parents=True, exist_ok=True)
        (root / "samples/first.bin").write_bytes(b"recorded")

    monkeypatch.setattr(make_module, "record_keyframe", fail_later)
    with pytest.raises((KeyboardInterrupt, CleverError)):
        make_drives(
            MakeDrivesSettings(
                out=tmp_path / "out", scenes=1, keyframes=2, image_width=64, azimuths=90, workers=1
            )
        )
    assert calls == [(1, 0), (1, 1)]
    assert list(tmp_path.iterdir()) == []


def test_truth_of_nothing_is_refused(tmp_path: Path, summary: DrivesSummary) -> None:
    with pytest.raises(CleverError, match="does not describe generated drives"):
        ground_truth(tmp_path, "scene-0001", 0, "CAM_FRONT")
    for scene, keyframe, camera in (
        ("scene-0001", 2, "CAM_FRONT"),
        ("scene-0001", 0, "CAM_TOP"),
        ("scene-0003", 0, "CAM_BACK"),
        ("street", 0, "CAM_BACK"),
    ):
        with pytest.raises(CleverError, match="choose one that the drives hold"):
            ground_truth(summary.root, scene, keyframe, camera)
    stored = ground_truth(summary.root, "scene-0002", 1, "CAM_BACK")
    for part, other in zip(
        stored, ground_truth(summary_recipe(), "scene-0002", 1, "CAM_BACK"), strict=True
    ):
        np.testing.assert_array_equal(part, other)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> DrivesSummary:
    """The drives of `summary` with two sweeps before each keyframe."""
    out = tmp_path_factory.mktemp("swept") / "out"
    return make_drives(
        MakeDrivesSettings(out=out, scenes=2, keyframes=2, seed=1, sweeps=2, **SMALL)
    )


@pytest.mark.slow
def test_sweeps_leave_the_keyframes_as_they_are(
    summary: DrivesSummary, swept: DrivesSummary
) -> None:
    plain, more = contents(summary.root), contents(swept.root)
    other = {name for name, data in more.items() if plain.get(name) != data}
    added = {name for name in other if name.startswith("sweeps/LIDAR_TOP/")}
    assert len(added) == swept.sweeps == 2 * summary.keyframes
    tables = {f"v1.0-mini/{name}.json" for name in ("sample_data", "ego_pose", "drives")}
    assert other == added | tables
    assert load_recipe(swept.root)[0].sweeps == 2
    assert "sweeps" not in plain["v1.0-mini/drives.json"].decode()
    test_every_file_is_listed_and_every_listed_file_is_there(swept)


def test_sweeps_follow_each_other_in_time(swept: DrivesSummary) -> None:
    rows = json.loads((swept.root / "v1.0-mini/sample_data.json").read_text())
    by_token = {row["token"]: row for row in rows}
    chains = []
    for row in rows:
        if "LIDAR_TOP" in row["filename"] and not row["prev"]:
            chain = [row]
            while chain[-1]["next"]:
                chain.append(by_token[chain[-1]["next"]])
                assert chain[-1]["prev"] == chain[-2]["token"]
            chains.append(chain)
    assert len(chains) == 2
    for chain in chains:
        start = chain[2]["timestamp"]
        steps = [-100_000, -50_000, 0, 400_000, 450_000, 500_000]
        assert [row["timestamp"] - start for row in chain] == steps
        assert [row["is_key_frame"] for row in chain] == [False, False, True] * 2


def test_our_dataset_reads_the_sweeps_in_the_keyframe_s_frame(swept: DrivesSummary) -> None:
    """Points on resting things lie in the keyframe where they lay before, those on movers are left
    behind."""
    dataset = build_dataset("nuscenes", swept.root, version="v1.0-mini", split="val")
    recipe = load_recipe(swept.root)[0]
    world = recipe.world(2)
    movers = [world.things[index].instance for index in world.movers()]
    for keyframe in (0, 1):
        sweeps = earlier_sweeps(dataset, keyframe, 2)
        assert [sweep.seconds for sweep in sweeps] == pytest.approx([-0.05, -0.1])
        for back, sweep in enumerate(sweeps, 1):
            scan = recorded_sweep(recipe, 2, keyframe, back)
            then, now = seconds(keyframe, -back * 50_000), seconds(keyframe)
            world_from_lidar = world.ego.at(then) @ recipe.lidar.ego_from_lidar
            lidar_now = invert(world.ego.at(now) @ recipe.lidar.ego_from_lidar)
            points = transform(lidar_now @ world_from_lidar, scan.points[:, :3])
            np.testing.assert_allclose(sweep.points[:, :3], points, atol=1e-4)
            np.testing.assert_allclose(sweep.points[:, 3], scan.points[:, 3] / 255, atol=1e-6)
            moving = np.isin(scan.instances, movers)
            assert moving.any()
            for instance in np.unique(scan.instances[moving]).tolist():
                thing = world.things_by_instance()[instance]
                on_it = transform(world_from_lidar, scan.points[scan.instances == instance, :3])
                low, high = thing.box(recipe.box_margin)
                local = transform(invert(thing.motion.at(then)), on_it)
                assert ((local >= low) & (local <= high)).all()


def test_odd_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        MakeDrivesSettings(out=Path("x"), image_width=100)
