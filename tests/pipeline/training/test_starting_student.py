"""Where a job's student comes from."""

from pathlib import Path

import pytest
import torch

from clever.errors import CleverError
from clever.pipeline.training.seeds import seeded
from clever.pipeline.training.starting_student import STUDENT, VOXEL_SIZE, starting_student
from clever.student.checkpoint import save_student
from clever.student.registry import build_student
from clever.student.student import Student


@pytest.fixture
def tiny() -> Student:
    with seeded(7, "student"):
        return build_student("minkunet-tiny", 0.25)


def same(one: Student, other: Student) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def test_fresh_weights_are_those_of_the_seed(tiny: Student) -> None:
    start = starting_student("none", "minkunet-tiny", 0.25, 7)
    assert same(start.student, tiny)
    assert (start.checkpoint, start.origin) == ("none", "random initialisation")
    assert not same(starting_student("none", "minkunet-tiny", 0.25, 8).student, tiny)
    large = starting_student("none", None, None, 0).student
    assert (large.name, large.voxel_size) == (STUDENT, VOXEL_SIZE) == ("minkunet34", 0.05)


def test_a_checkpoint_knows_its_student_and_origin(tiny: Student, tmp_path: Path) -> None:
    save_student(tmp_path / "run", tiny, {"origin": "distilled from toy"})
    save_student(tmp_path / "bare", tiny, {})
    for name, voxel_size in ((None, None), ("minkunet-tiny", None), (None, 0.25)):
        start = starting_student(tmp_path / "run", name, voxel_size, 0)
        assert same(start.student, tiny)
        assert (start.student.name, start.student.voxel_size) == ("minkunet-tiny", 0.25)
    assert start.checkpoint == tmp_path / "run"
    assert start.origin == "from run (distilled from toy)"
    assert starting_student(tmp_path / "bare", None, None, 0).origin == "from bare"


def test_the_form_of_a_ptv3(tmp_path: Path) -> None:
    for form in ("v3m1", "refreshed"):
        start = starting_student("none", "ptv3-tiny", 0.25, 0, form)
        assert start.student.ptv3_form == form
        save_student(tmp_path, start.student, {})
        assert starting_student(tmp_path, None, None, 0, form).student.ptv3_form == form
    with pytest.raises(CleverError) as error:
        starting_student(tmp_path, None, None, 0, "v3m1")
    assert str(error.value) == (f"{tmp_path} is the refreshed form of PTv3; leave `ptv3_form` out")


def test_a_checkpoint_without_a_form(tiny: Student, tmp_path: Path) -> None:
    save_student(tmp_path, tiny, {})
    with pytest.raises(CleverError) as error:
        starting_student(tmp_path, None, None, 0, "v3m1")
    assert str(error.value) == f"{tmp_path} is no PTv3; leave `ptv3_form` out"


@pytest.mark.parametrize(
    ("name", "voxel_size"), [("minkunet34", None), (None, 0.05), ("ptv3", 0.25)]
)
def test_a_checkpoint_of_another_student_is_refused(
    tiny: Student, tmp_path: Path, name: str | None, voxel_size: float | None
) -> None:
    save_student(tmp_path, tiny, {})
    with pytest.raises(CleverError) as error:
        starting_student(tmp_path, name, voxel_size, 0)
    assert str(error.value) == (
        f"{tmp_path} is a minkunet-tiny with voxels of 0.25 m; leave `student` and `voxel_size` out"
    )


def test_words_tell_a_place_only_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_student(tmp_path / "runs/a", build_student("minkunet-tiny", 0.5), {"origin": "x"})
    monkeypatch.chdir(tmp_path)
    relative = starting_student(Path("runs/a"), None, None, 0)
    assert relative.origin == "from runs/a (x)"
    absolute = starting_student(tmp_path / "runs/a", None, None, 0)
    assert absolute.origin == "from a (x)"
