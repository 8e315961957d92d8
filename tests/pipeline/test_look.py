"""`clever look`: which pictures a run gets, of which frames, and which point is compared."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from clever.cache import FeatureCache
from clever.cache.images import load_image
from clever.cache.store.records.models import RegionSettings
from clever.cache.store.store import Store
from clever.cache.store.writer import RegionShard
from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline import look as look_module
from clever.pipeline.datasets import open_dataset
from clever.pipeline.datasets.nuscenes import CLASSES
from clever.pipeline.look import _chosen_point, _file_name, _images, look
from clever.pipeline.pictures.features import FrameFeatures
from clever.pipeline.pictures.figures import save_figure
from clever.pipeline.pictures.recording import RecordedFrame
from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.networks import build_step
from clever.pipeline.settings.look import PICTURE_KINDS, LookSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.student.registry import build_student
from clever.student.segmentation import LinearProbe
from clever.student.segmenter import Segmenter, Training


def settings(checkpoint: Path, **changes: Any) -> LookSettings:
    return LookSettings.resolve(
        None, {"checkpoint": checkpoint, "split": "all", "device": "cpu", **changes}
    )


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 25 dots an inch are drawn sooner."""
    monkeypatch.setattr(save_figure, "__defaults__", (25,))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only similarities and regions are drawn; other pictures are named."""
    for name in ("feature_panels", "cloud_panels", "label_panels", "camera_label_panels"):
        monkeypatch.setattr(look_module, name, lambda *_: None)
    monkeypatch.setattr(look_module, "_draw_occupancy", lambda *_: None)


@pytest.fixture
def pretrained(make_cache: Callable[..., Path], tmp_path: Path) -> Path:
    values = {"cache": make_cache(), "out": tmp_path / "run", "student": "minkunet-tiny"}
    values |= {"head_hidden": 16, "voxel_size": 0.5, "epochs": 1, "batch_size": 3, "device": "cpu"}
    return pretrain(PretrainSettings.resolve(None, {**values, "rankme_every": 0})).out


@pytest.fixture
def finetuned(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    student = build_student("minkunet-tiny", 0.5)
    training = Training(
        dataset="nuscenes",
        version=None,
        class_names=CLASSES,
        batch_norm=False,
        head="linear probe",
        initialisation="random initialisation",
        frames="train scene-0061 (3 scans)",
        scenes=("scene-0061",),
        details="no epochs",
    )
    Segmenter(student, LinearProbe(student.out_channels, 16)).save(tmp_path / "probe", training)
    return tmp_path / "probe"


def is_picture(path: Path) -> bool:
    with Image.open(path) as picture:
        return picture.format == "PNG" and np.ptp(np.array(picture)) > 0


@pytest.mark.slow
def test_a_pretrained_run_is_drawn_from_its_cache_alone(pretrained: Path) -> None:
    result = look(settings(pretrained, frames=2))
    kinds = [re.sub(r".*-(\w+)\.png", r"\1", path.name) for path in result.pictures]
    assert kinds == ["features", "above", "similarity", "occupancy"] * 2
    assert {path.parent for path in result.pictures} == {pretrained / "look"}
    assert all(map(is_picture, result.pictures))
    assert result.bad == []
    assert re.search(r"teacher toy-3x5-\w+; toy, split all, seed 0$", result.protocol)
    first = [path.read_bytes() for path in result.pictures]
    again = look(settings(pretrained, frames=2))
    assert [path.read_bytes() for path in again.pictures] == first


def test_chosen_kinds_of_pictures_are_drawn_and_no_others(
    pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    for name in ("feature_panels", "cloud_panels", "similarity_panels", "_draw_occupancy"):
        monkeypatch.setattr(look_module, name, lambda *_, name=name: drawn.append(name))
    monkeypatch.setattr(look_module, "CAMERAS", 1)
    result = look(settings(pretrained, frames=1, kinds="occupancy,above"))
    assert [path.stem.rpartition("-")[2] for path in result.pictures] == ["above", "occupancy"]
    assert drawn == ["cloud_panels", "_draw_occupancy"]
    assert result.notes == []  # on cameras: none is drawn
    result = look(settings(pretrained, frames=1, kinds="above,labels"))
    assert result.notes == [f"{pretrained} has no pictures of labels"]
    line = f"{pretrained} has no pictures of labels-cameras; choose other `kinds`"
    with pytest.raises(CleverError, match=f"^{re.escape(line)}$"):
        look(settings(pretrained, frames=1, kinds="labels-cameras"))
    line = f"`kinds=views`: there are {', '.join(PICTURE_KINDS)}"
    with pytest.raises(CleverError, match=f"^{re.escape(line)}$"):
        look(settings(pretrained, kinds="above,views"))


def test_cameras_that_are_left_out_are_told_and_others_can_be_chosen(
    pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the picture and in the result; the toy store has two cameras."""
    titles: list[str] = []
    drawn: list[list[int]] = []

    def feature_panels(_: FrameFeatures, cameras: list[int], title: str, __: Path) -> None:
        drawn.append(cameras)
        titles.append(title)

    monkeypatch.setattr(look_module, "feature_panels", feature_panels)
    for name in ("cloud_panels", "similarity_panels", "_draw_occupancy"):
        monkeypatch.setattr(look_module, name, lambda *_: None)
    assert look(settings(pretrained, frames=1)).notes == []
    monkeypatch.setattr(look_module, "CAMERAS", 1)
    note = "features: 1 of 2 cameras, those that see most points of the frame"
    result = look(settings(pretrained, frames=1))
    assert f"\n{note}; `cameras` chooses others\n" in str(result)
    assert titles[-1].endswith(f"\n{note}")
    result = look(settings(pretrained, frames=1, cameras="right"))
    assert result.notes == ["features: 1 of 2 cameras, those chosen; `cameras` chooses others"]
    assert look(settings(pretrained, frames=1, cameras="right,left")).notes == []
    assert drawn[-2:] == [[1], [1, 0]]
    with pytest.raises(CleverError, match=r"no camera 'up'; choose `cameras` of left, right$"):
        look(settings(pretrained, cameras="left,up"))


def test_images_are_those_of_the_cameras_that_are_asked_for(nuscenes_root: Path) -> None:
    dataset = open_dataset(settings(nuscenes_root, data_root=nuscenes_root), "nuscenes")
    frame, names = dataset.frame(0), ("CAM_BACK", "CAM_FRONT_LEFT")
    images = _images(settings(nuscenes_root), dataset, frame.id, names)
    views = {view.name: view for view in frame.cameras}
    assert images is not None
    for image, name in zip(images, names, strict=True):
        view = views[name]
        np.testing.assert_array_equal(image, load_image(view.image, view.width, view.height))


@pytest.mark.usefixtures("undrawn")
def test_each_layer_of_regions_has_a_picture(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = make_cache()
    store, rng = Store(cache), np.random.default_rng(3)
    for name in ("a", "b"):
        info = store.add_regions(RegionSettings("segment", "files", (6, 9), name=name))
        shard = RegionShard(store, info, 0)
        for row in range(len(store.ids) - (name == "b")):
            maps = rng.integers(0, 5, (len(store.cameras), 6, 9)).astype(np.uint16)
            shard.add(row, maps)
        if name == "b":
            shard.fail(len(store.ids) - 1, "no mask")
        shard.commit()
    store.finalise()
    values = {"cache": cache, "out": tmp_path / "run", "student": "minkunet-tiny"}
    values |= {"head_hidden": 16, "voxel_size": 0.5, "epochs": 1, "batch_size": 3, "device": "cpu"}
    run = pretrain(PretrainSettings.resolve(None, {**values, "rankme_every": 0})).out
    ids = [store.ids[0], store.ids[-1]]
    names = [path.name for path in look(settings(run, frame_ids=ids)).pictures]
    regions = [re.search(r"regions-(\w)-6x9-\w+\.png$", name) for name in names]
    assert [match[1] for match in regions if match] == ["a", "b", "a"]
    assert all(map(is_picture, (run / "look").glob("*regions*")))


def test_predictions_are_drawn_on_images_and_from_above(
    finetuned: Path, nuscenes_root: Path, tmp_path: Path
) -> None:
    """A frame without an image is drawn from above; one without points is named."""
    (nuscenes_root / "samples/CAM_BACK/scene-0061-1.jpg").unlink()
    (nuscenes_root / "samples/LIDAR_TOP/scene-0061-2.pcd.bin").write_bytes(b"")
    ids = ["scene-0061-0", "scene-0061-1", "scene-0061-2"]
    changes = {"data_root": nuscenes_root, "frame_ids": ids, "out": tmp_path / "pictures"}
    result = look(settings(finetuned, **changes))
    assert [path.name for path in result.pictures] == [
        "scene-0061-0-labels.png",
        "scene-0061-0-labels-cameras.png",
        "scene-0061-1-labels.png",
    ]
    assert all(map(is_picture, result.pictures))
    assert [frame.id for frame in result.bad] == ["scene-0061-2"]
    assert "linear probe, nuscenes train scene-0061 (3 scans)" in result.protocol
    assert "no TTA" in result.protocol
    above = look(settings(finetuned, **{**changes, "frame_ids": ids[:1], "kinds": "labels"}))
    assert above.pictures == result.pictures[:1]
    with pytest.raises(
        CleverError, match="no frame 'other'; give its own ids in `frame_ids`, such as"
    ):
        look(settings(finetuned, **{**changes, "frame_ids": ["other"]}))
    with pytest.raises(CleverError, match=r"no frame can be drawn; the first, scene-0061-2: "):
        look(settings(finetuned, **{**changes, "frame_ids": ids[2:]}))


def test_the_chosen_point_is_the_nearest(pretrained: Path) -> None:
    run = PretrainSettings.recorded(pretrained / "settings.yaml")
    cache = FeatureCache(run.caches[0])
    step = build_step(run, [cache])
    cached = cache[0]
    networks = {"student": (step.student, step.heads[0])}
    frame = FrameFeatures.of(cached, cache.cameras, None, networks, step.align_corners)
    place = cached.points[7, :3].tolist()
    asked = settings(pretrained, point=tuple(value + 1e-4 for value in place))
    assert _chosen_point(asked, frame) == 7
    mine, pixels = frame.pixels(1)
    u, v = pixels[3]
    asked = settings(pretrained, pixel=("right", u + 0.01, v))
    assert _chosen_point(asked, frame) == int(cached.pair_point[mine][3])
    drawn = _chosen_point(settings(pretrained, seed=3), frame)
    assert drawn == _chosen_point(settings(pretrained, seed=3), frame)
    assert drawn in cached.pair_point.tolist()
    with pytest.raises(CleverError, match="no camera 'top'; choose left, right"):
        _chosen_point(settings(pretrained, pixel=("top", 1, 2)), frame)
    cosine = torch.nn.functional.cosine_similarity(
        frame.teacher, frame.students["student"][cached.pair_point]
    )
    assert frame.cosines()["student"] == pytest.approx(float(cosine.mean()), abs=1e-6)
    recorded = RecordedFrame.of_features(frame, 7)
    names = {"teacher, where a camera sees", "features of student", "similarity, student"}
    assert set(recorded.colours) == names
    yellow = recorded.colours["similarity, student"]
    assert yellow[7].tolist() == pytest.approx([0.993248, 0.906157, 0.143936])


def test_what_cannot_be_looked_at_is_one_line(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CleverError, match=r"holds no settings\.yaml; give the folder of a"):
        look(settings(tmp_path))
    with pytest.raises(CleverError, match="none is no folder; give the folder of a pre-training"):
        look(settings(tmp_path / "none"))
    with pytest.raises(CleverError, match="no frame 'other'; give its own ids in `frame_ids`"):
        look(settings(pretrained, frame_ids="other"))
    with pytest.raises(CleverError, match="`point` and `pixel` both choose the point"):
        look(settings(pretrained, point="1,2,3", pixel="left,1,2"))
    with pytest.raises(CleverError, match=r"`rerun=.*a\.png` should end in \.rrd"):
        look(settings(pretrained, rerun=tmp_path / "a.png"))
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(CleverError, match=r"`rerun` needs the package rerun-sdk.*\[rerun\]"):
        look(settings(pretrained, rerun=tmp_path / "a.rrd"))
    with pytest.raises(CleverError, match="should be three numbers X,Y,Z"):
        settings(pretrained, point="1,2")
    with pytest.raises(CleverError, match="should be CAMERA,U,V"):
        settings(pretrained, pixel="left,2")


@pytest.mark.usefixtures("undrawn")
def test_the_command_takes_a_pixel_and_a_point(pretrained: Path, tmp_path: Path) -> None:
    """The picture is that of the same settings; another point gives another."""
    base = ["look", "--checkpoint", str(pretrained), "--split", "all", "--frames", "1"]
    pictures = []
    for number, (flag, value) in enumerate([("pixel", "right,3,2"), ("point", "-1,2.5,-1")]):
        out, other = tmp_path / f"flags{number}", tmp_path / f"settings{number}"
        words = [*base, f"--{flag}", value, "--out", str(out)]
        result = CliRunner().invoke(build_app("look"), words)
        assert result.exit_code == 0, result.stderr
        look(settings(pretrained, frames=1, out=other, **{flag: value}))
        (path,) = out.glob("*-similarity.png")
        assert path.read_bytes() == (other / path.name).read_bytes()
        pictures.append(path.read_bytes())
    assert pictures[0] != pictures[1]
    wrong = CliRunner().invoke(build_app("look"), [*base, "--pixel", "right,3"])
    assert wrong.stderr.startswith("error: --pixel is 'right,3': should be CAMERA,U,V")


def test_every_frame_has_its_own_file_name() -> None:
    assert [_file_name(name) for name in ("08/000000", "scene-1")] == ["08_000000", "scene-1"]
    names = ["a/b", "a_b", "a b", "\u00e4/1", "\u00f6/1", "_/1", "a//b", "a__b"]
    assert len({_file_name(name) for name in names}) == len(names)
    assert all(_file_name(name).isascii() for name in names)


@pytest.mark.usefixtures("undrawn")
def test_the_protocol_names_what_the_frames_were_chosen_from(
    finetuned: Path,
    nuscenes_root: Path,
    kitti_root: Path,
    pretrained: Path,
    tmp_path: Path,
) -> None:
    values = {"data_root": nuscenes_root, "out": tmp_path / "pictures", "frames": 1}
    kitti = {**values, "data_root": kitti_root, "dataset": "semantickitti"}
    result = look(settings(finetuned, **kitti, split="val", sequences=("00", "08")))
    assert result.protocol.startswith("semantickitti sequences 00, 08, seed 0: ")
    assert look(settings(finetuned, **values)).protocol.startswith("nuscenes all, seed 0: ")
    frame = FeatureCache(PretrainSettings.recorded(pretrained / "settings.yaml").caches[0]).ids[1]
    result = look(settings(pretrained, frame_ids=f"{frame},{frame}"))
    assert result.protocol.endswith("; toy, frames by id, seed 0")
    assert len(result.pictures) == len(set(result.pictures)) == 4


@pytest.mark.usefixtures("undrawn")
def test_without_held_out_frames_all_are_drawn_from(
    pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cache of the run knows no splits; a split that was asked for is not replaced."""
    values = {"checkpoint": pretrained, "device": "cpu", "frames": 1}
    result = look(LookSettings.resolve(None, values))
    assert result.protocol.endswith("; toy, split all, seed 0")
    notice = "toy.zarr has no frame of split 'val'; frames are taken from all of it, which the "
    assert f"{notice}student may have been pre-trained on\n" in capsys.readouterr().err
    with pytest.raises(CleverError, match="has no frame of split 'val'"):
        look(LookSettings.resolve(None, {**values, "split": "val"}))


def test_a_point_means_nothing_to_a_fine_tuned_run(finetuned: Path) -> None:
    for name, value in (("point", "1,2,3"), ("pixel", "CAM_FRONT,1,2")):
        with pytest.raises(CleverError, match="is a fine-tuning run, which is drawn by its labels"):
            look(settings(finetuned, **{name: value}))


def test_another_split_is_advised_only_where_it_helps(finetuned: Path, nuscenes_root: Path) -> None:
    values = {"data_root": nuscenes_root, "split": "val"}
    with pytest.raises(CleverError, match=r"'scene-0061-0' in this split; choose `split=all`$"):
        look(settings(finetuned, **values, frame_ids="scene-0061-0"))
    with pytest.raises(CleverError, match="nuscenes has no frame 'no'; give its own ids"):
        look(settings(finetuned, **values, frame_ids="no"))
