"""Checkpoints: what goes in comes out, and nothing damaged does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from clever.errors import CleverError
from clever.student.checkpoint import (
    load_module,
    load_student,
    read_meta,
    save_module,
    save_student,
)
from clever.student.choices import PTv3Form
from clever.student.heads import ProjectionHead
from clever.student.points import PointBatch
from clever.student.registry import build_student
from clever.student.student import Student

Make = Callable[..., PointBatch]
META = {"teacher": "vits14", "epochs": 3}


@pytest.fixture
def trained(make_batch: Make) -> Student:
    """A student whose batch statistics have moved."""
    torch.manual_seed(0)
    student = build_student("minkunet-tiny", 0.25)
    student(make_batch(400))
    return student


def test_round_trip(trained: Student, make_batch: Make, tmp_path: Path):
    save_student(tmp_path / "run", trained, META)
    torch.manual_seed(9)
    loaded = load_student(tmp_path / "run")
    assert (loaded.name, loaded.voxel_size, loaded.training) == ("minkunet-tiny", 0.25, False)
    points = make_batch(300, 200, seed=4)
    assert torch.equal(loaded(points), trained.eval()(points))
    assert json.loads((tmp_path / "run/student.json").read_text())["meta"] == META
    assert read_meta(tmp_path / "run/student.safetensors")["meta"] == META
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "student.json",
        "student.safetensors",
    ]


def test_patch_comes_back(make_batch: Make, tmp_path: Path):
    torch.manual_seed(0)
    student = build_student("ptv3-tiny", 0.25, 32)
    save_student(tmp_path, student, META)
    loaded = load_student(tmp_path)
    assert loaded.patch == 32
    points = make_batch(300)
    assert torch.equal(loaded(points), student.eval()(points))
    assert not torch.allclose(
        build_student("ptv3-tiny", 0.25).eval()(points), loaded(points), atol=1e-4
    )


@pytest.mark.parametrize("form", get_args(PTv3Form))
def test_form_comes_back(make_batch: Make, tmp_path: Path, form: PTv3Form):
    student = build_student("ptv3-tiny", 0.25, ptv3_form=form)
    save_student(tmp_path, student, META)
    assert read_meta(tmp_path / "student.safetensors")["ptv3_form"] == form
    loaded = load_student(tmp_path)
    assert loaded.ptv3_form == form
    points = make_batch(300)
    assert torch.equal(loaded(points), student.eval()(points))
    student.backbone.ptv3_form = "v3m1" if form == "refreshed" else "refreshed"
    assert not torch.allclose(loaded(points), student(points), atol=1e-4)


def test_files_from_before_the_form_was_an_option(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name, form in (("ptv3-tiny", "refreshed"), ("minkunet-tiny", None)):
        description = {"student": name, "voxel_size": 0.25, "patch": None, "meta": META}
        save_module(tmp_path / "student.safetensors", build_student(name, 0.25), description)
        assert load_student(tmp_path).ptv3_form == form
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}/student.safetensors does not say which form of PTv3 it is")
    assert "\n" not in line


def test_an_unknown_form_is_refused(tmp_path: Path):
    student = build_student("ptv3-tiny", 0.25)
    description = {"student": "ptv3-tiny", "voxel_size": 0.25, "ptv3_form": "v9", "meta": META}
    save_module(tmp_path / "student.safetensors", student, description)
    with pytest.raises(CleverError, match="unknown PTv3 form v9; known: v3m1, refreshed"):
        load_student(tmp_path)


@pytest.mark.parametrize(("name", "patch"), [("ptv3-tiny", 128), ("minkunet-tiny", None)])
def test_files_from_before_the_patch_was_an_option(tmp_path: Path, name: str, patch: int | None):
    described = {"student": name, "voxel_size": 0.25, "meta": META}
    save_module(tmp_path / "student.safetensors", build_student(name, 0.25), described)
    assert load_student(tmp_path).patch == patch


def test_weights_open_with_safetensors_alone(trained: Student, tmp_path: Path):
    save_student(tmp_path, trained, META)
    weights = load_file(tmp_path / "student.safetensors")
    assert weights.keys() == trained.state_dict().keys()


def test_any_module_round_trip(tmp_path: Path):
    torch.manual_seed(0)
    head, other = (
        ProjectionHead(8, 4, hidden=16).bfloat16(),
        ProjectionHead(8, 4, hidden=16).bfloat16(),
    )
    save_module(tmp_path / "head.safetensors", head, {"teacher": "a"})
    assert load_module(tmp_path / "head.safetensors", other) == {"teacher": "a"}
    assert all(
        torch.equal(a, b) for a, b in zip(head.parameters(), other.parameters(), strict=True)
    )


def test_saving_twice_gives_the_same_bytes(trained: Student, tmp_path: Path):
    for folder in ("a", "b"):
        save_student(tmp_path / folder, trained, META)
    for name in ("student.safetensors", "student.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("place", [0.0, 0.001, 0.01, 0.3, 0.7, 1.0])
def test_any_flipped_byte_is_found(trained: Student, tmp_path: Path, place: float):
    save_student(tmp_path, trained, META)
    path = tmp_path / "student.safetensors"
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        CleverError, match=r"student\.safetensors is damaged|unknown student|another architecture"
    ):
        load_student(tmp_path)


def test_truncated_foreign_and_missing_files(trained: Student, tmp_path: Path):
    with pytest.raises(CleverError, match=r"student\.safetensors does not exist"):
        load_student(tmp_path)
    save_student(tmp_path, trained, META)
    path = tmp_path / "student.safetensors"
    with pytest.raises(CleverError, match=r"student\.safetensors is a file; give the folder of a"):
        load_student(path)
    content = path.read_bytes()
    for damaged in (b"", content[:5], content[:2000], content[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(CleverError, match="is damaged or no checkpoint"):
            load_student(tmp_path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CleverError, match="is damaged or no checkpoint"):
        load_student(tmp_path)
    save_module(path, ProjectionHead(2, 2, layers=1), {})
    with pytest.raises(CleverError, match="holds no student"):
        load_student(tmp_path)


def test_weights_of_another_architecture(trained: Student, tmp_path: Path):
    save_module(tmp_path / "head.safetensors", ProjectionHead(4, 3, hidden=5), {})
    for module in (ProjectionHead(4, 3, hidden=6), ProjectionHead(4, 3, layers=2, hidden=5)):
        with pytest.raises(
            CleverError, match=r"another architecture: \d+ of \d+ tensors differ, e\.g\. \d\."
        ) as error:
            load_module(tmp_path / "head.safetensors", module)
        assert "\n" not in str(error.value)
    described = {"student": "minkunet-tiny", "voxel_size": 0.25, "meta": {}}
    save_module(tmp_path / "student.safetensors", build_student("minkunet18", 0.25), described)
    with pytest.raises(CleverError, match="another architecture"):
        load_student(tmp_path)
    save_module(tmp_path / "student.safetensors", trained, {**described, "student": "minkunet99"})
    with pytest.raises(CleverError, match="unknown student minkunet99"):
        load_student(tmp_path)
