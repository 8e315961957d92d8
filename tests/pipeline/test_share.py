"""Students and caches go to a hub on this machine, through huggingface_hub, and come back."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import clever
from clever.cache.care.summary import summarise
from clever.cache.store.records import models
from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline.outputs import cards
from clever.pipeline.outputs.cards import store_card
from clever.pipeline.settings.share import ShareSettings
from clever.pipeline.share import push_to_hub, share
from clever.student.checkpoint import save_student
from clever.student.points import PointBatch
from clever.student.published.hub import from_pretrained
from clever.student.registry import build_student
from clever.student.segmentation import LinearProbe
from clever.student.segmenter import Segmenter, TrainedSegmenter, Training
from clever.student.student import Student

from .local_hub import LocalHub, local_hub

TRAINING = Training(
    dataset="semantickitti",
    version=None,
    class_names=("floor", "wall"),
    batch_norm=False,
    head="linear probe",
    initialisation="from runs/first (distilled from DINOv2)",
    frames="train 00 (3 scans)",
    scenes=("00",),
    details="50 epochs",
    pretraining="nuscenes",
    pretraining_scenes=("scene-0001", "scene-0002"),
)
PROTOCOL = "linear probe, semantickitti train 00 (3 scans) -> val 08 (2 scans), no TTA"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with local_hub() as server:
        yield server


@pytest.fixture
def points() -> torch.Tensor:
    rng = np.random.default_rng(0)
    rows = rng.uniform([-8, -8, -1, 0], [8, 8, 2, 1], (200, 4))
    return torch.from_numpy(rows.astype(np.float32))


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A pre-training run with everything that must not be shared."""
    folder = tmp_path / "pretrained"
    torch.manual_seed(0)
    meta = {"teacher": ["vitb14"], "origin": "distilled from DINOv2", "dataset": "nuscenes"}
    save_student(folder, build_student("minkunet-tiny", 0.5), {**meta, "scenes": ["a", "b", "c"]})
    rank = {"rankme": 12.345, "matrix_rank": 60, "tolerance": 0.01}
    ranks = {"rows": 25600, "frames": 40, "seed": 0, "uncentred": rank, "centred": rank}
    (folder / "result.json").write_text(json.dumps({"dataset": "nuscenes", "ranks": ranks}))
    (folder / "settings.yaml").write_text("cache: somebody/run.zarr\n")
    return folder


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    folder = tmp_path / "probe"
    torch.manual_seed(0)
    student = build_student("minkunet-tiny", 0.5)
    Segmenter(student, LinearProbe(student.out_channels, 2)).save(folder, TRAINING)
    evaluation = {"miou": 0.4321, "iou": {"floor": 0.8642, "wall": None}, "protocol": PROTOCOL}
    (folder / "result.json").write_text(json.dumps({"evaluation": evaluation}))
    (folder / "evaluate-x").mkdir()
    other = {**evaluation, "miou": 0.5, "protocol": "another, TTA"}
    (folder / "evaluate-x/result.json").write_text(json.dumps(other))
    return folder


def front(card: str) -> dict[str, object]:
    _, head, _ = card.split("---\n", 2)
    return yaml.safe_load(head)


def test_a_student_comes_back_from_the_hub_as_it_went(
    pretrained: Path, hub: LocalHub, points: torch.Tensor, tmp_path: Path
) -> None:
    where: dict[str, Any] = {"endpoint": hub.address, "token": "hf_test"}
    url = push_to_hub(pretrained, "user/student", private=True, **where)
    assert url == f"{hub.address}/user/student"
    assert hub.private == {"user/student"}
    files = hub.repositories["models/user/student"]
    assert sorted(files) == ["README.md", "config.json", "student.safetensors"]
    assert not any(b"somebody" in data for data in files.values())
    loaded = from_pretrained("user/student", cache_dir=tmp_path / "cache", **where)
    local = from_pretrained(pretrained)
    assert isinstance(loaded, Student)
    assert isinstance(local, Student)
    with torch.no_grad():
        batch = PointBatch.from_clouds([points])
        assert torch.equal(loaded(batch), local(batch))
    config = json.loads(files["config.json"])
    assert (config["student"], config["voxel_size"]) == ("minkunet-tiny", 0.5)
    card = files["README.md"].decode()
    assert front(card)["tags"] == ["lidar", "point-cloud", "semantic-segmentation", "distillation"]
    for words in (
        "# minkunet-tiny, 0.5 m voxels",
        "A LiDAR student of `clever-distiller`: distilled from DINOv2.",
        "Teacher: vitb14.",
        "Pre-trained on 3 scenes of nuscenes, without labels.",
        "RankMe 12.35 over 25600 points of 40 frames of nuscenes, seed 0, un-centred",
        "bound by the licences",
    ):
        assert words in card, words
    again = push_to_hub(pretrained, "user/student", license="mit", **where)
    assert again == url
    assert front(files["README.md"].decode())["license"] == "mit"
    assert "bound by the licences" not in files["README.md"].decode()


def test_a_segmenter_comes_back_with_its_classes_and_figures(
    probe: Path, hub: LocalHub, points: torch.Tensor, tmp_path: Path
) -> None:
    where: dict[str, Any] = {"endpoint": hub.address, "token": "hf_test"}
    push_to_hub(probe, "user/probe", **where)
    loaded = clever.from_pretrained("user/probe", cache_dir=tmp_path / "cache", **where)
    assert isinstance(loaded, TrainedSegmenter)
    assert loaded.training == TRAINING
    for result, expected in zip(loaded(points), clever.load_segmenter(probe)(points), strict=True):
        np.testing.assert_array_equal(result, expected)
    card = hub.repositories["models/user/probe"]["README.md"].decode()
    for words in (
        "from runs/first (distilled from DINOv2).",
        "Pre-trained on 2 scenes of nuscenes, without labels.",
        f"**mIoU 43.21 %**: {PROTOCOL}\n",
        "**mIoU 50.00 %**: another, TTA\n",
        "| floor | 86.4 |\n| wall | - |",
        "Classes: floor, wall.",
        "labels, confidence = network(points)",
    ):
        assert words in card, words


def test_a_cache_goes_as_a_dataset_with_its_card(
    make_cache: Callable[..., Path], hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "licence_of", {"other": "Terms of Other"}.get)
    store = make_cache(lacking=(3,), second=True)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    url = push_to_hub(store, "user/cache", endpoint=hub.address, token="hf_test")
    assert url == f"{hub.address}/datasets/user/cache"
    files = dict(hub.repositories["datasets/user/cache"])
    card = files.pop("README.md").decode()
    assert files == {path.relative_to(store).as_posix(): data for path, data in before.items()}
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    for words in (
        "# Teacher features of toy",
        "5 frames of 3 scenes, 1000 points, 830 pairs of point and pixel over 2 cameras (left, ",
        "`: drawn at random; 3 x 5 tokens of 6 channels an image, fp16; 5 frames, 0.00",
        "`: drawn too; 2 x 2 tokens of 8 channels an image, int8; 4 frames, 0.00",
        "## Skipped frames\n\nother-2x2-122e: 1\n",
    ):
        assert words in card, words
    assert card.count("; licence of the weights: Terms of Other\n") == 1
    assert card.count("licence of the weights") == 1


def test_the_card_of_an_unfinished_cache_says_so(
    make_cache: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = make_cache()
    assert "Unfinished" not in store_card(store, None)
    assert capsys.readouterr().err == ""
    whole = summarise(store)
    (teacher,) = whole.teachers
    layer = replace(teacher.layer, stored=3, pending=2)
    part = replace(whole, teachers=[replace(teacher, layer=layer)])
    monkeypatch.setattr(cards, "summarise", lambda _: part)
    line = (
        f"{teacher.info.id}: 2 frames of 5 not stored yet; `clever cache-teacher` goes on with them"
    )
    assert f"\n\n## Unfinished\n\n{line}\n\n## Use\n" in store_card(store, None)
    assert capsys.readouterr().err == f"{line}\n"


def test_a_folder_instead_of_a_hub(probe: Path, points: torch.Tensor, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    result = CliRunner().invoke(build_app("share"), ["share", str(probe), "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "classifier.safetensors", "config.json", "student.safetensors"
    ]  # fmt: skip
    assert (out / "README.md").read_text() in result.stdout
    loaded = from_pretrained(out)
    assert isinstance(loaded, TrainedSegmenter)
    np.testing.assert_array_equal(loaded(points)[0], clever.load_segmenter(probe)(points)[0])
    with pytest.raises(CleverError, match="shared exists; choose another `out`"):
        share(ShareSettings(path=probe, out=out))
    with pytest.raises(CleverError, match="give `repo=USER/NAME` to upload"):
        share(ShareSettings(path=probe))
    (out / "student.safetensors").unlink()
    with pytest.raises(CleverError, match=r"holds no student\.safetensors; it is no student of"):
        from_pretrained(out)


def test_what_cannot_be_shared_or_had_is_one_line(
    probe: Path, hub: LocalHub, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CleverError, match="empty is neither a run with a student nor a feature"):
        push_to_hub(tmp_path / "empty", "user/empty", endpoint=hub.address)
    assert hub.repositories == {}
    with pytest.raises(CleverError, match=r"cannot upload .*: Repo id must") as refused:
        push_to_hub(probe, "no such/na/me", endpoint=hub.address, token="hf_test")
    assert "\n" not in str(refused.value)
    with pytest.raises(
        CleverError, match="cannot get user/none; it is no folder either"
    ) as lacking:
        from_pretrained("user/none", endpoint=hub.address, cache_dir=tmp_path / "cache")
    assert "\n" not in str(lacking.value)
    (probe / "result.json").write_text("{")
    card = share(ShareSettings(path=probe, out=tmp_path / "out")).card
    assert "**mIoU 50.00 %**: another, TTA" in card
    assert "43.21" not in card


def test_a_hub_that_cannot_be_reached_is_one_line(
    probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_hub() as server:
        address = server.address
    # Nothing listens there any more.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    with pytest.raises(CleverError, match=r"cannot upload .* to user/name: ") as refused:
        push_to_hub(probe, "user/name", endpoint=address, token="hf_test")
    assert "\n" not in str(refused.value)
    out = tmp_path / "out"
    settings = ShareSettings(path=probe, out=out, repo="user/name")
    with pytest.raises(CleverError, match=r"to user/name: .*; .*out is written and complete$"):
        share(settings)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "classifier.safetensors",
        "config.json",
        "student.safetensors",
    ]
