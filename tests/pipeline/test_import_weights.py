"""Published checkpoints become runs that other commands start from; files that cannot, one line."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clever.errors import CleverError
from clever.pipeline.features import features
from clever.pipeline.import_weights import ImportedWeights, import_weights, read_tensors
from clever.pipeline.settings.features import FeaturesSettings
from clever.pipeline.settings.import_weights import ImportWeightsSettings
from clever.pipeline.training.starting_student import starting_student
from clever.student.checkpoint import load_student
from clever.student.points import PointBatch
from clever.student.published.pointcept import from_pointcept
from clever.student.published.scalr import _scalr_name
from clever.student.registry import build_student

from ..student.published.pointcept_names import PTV3_TINY, SPUNET_TINY, Weights, ptv3, spunet


def checkpoint(weights: Weights, prefix: str) -> dict[str, Any]:
    """As Pointcept's trainer saves it."""
    return {
        "epoch": 50,
        "state_dict": OrderedDict((prefix + name, tensor) for name, tensor in weights.items()),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.002, "params": [0, 1]}]},
        "scheduler": {"last_epoch": 7},
        "scaler": None,
        "best_metric_value": np.float64(0.78),
    }


def imported(file: Path, out: Path, voxel_size: float = 0.1) -> ImportedWeights:
    return import_weights(ImportWeightsSettings(file=file, out=out, voxel_size=voxel_size))


def cloud(path: Path) -> torch.Tensor:
    points = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))
    points[:, :3] = 8 * points[:, :3] - 4
    path.write_bytes(points.numpy().tobytes())
    return points


@pytest.mark.parametrize(
    ("weights", "prefix", "name"),
    [
        (spunet(*SPUNET_TINY), "module.backbone.", "minkunet-tiny"),
        (ptv3(*PTV3_TINY), "backbone.", "ptv3-tiny"),
    ],
)
def test_a_checkpoint_becomes_a_run(
    tmp_path: Path, weights: Weights, prefix: str, name: str
) -> None:
    torch.save(checkpoint(weights, prefix), tmp_path / "model_best.pth")
    result = imported(tmp_path / "model_best.pth", tmp_path / "run")
    points = cloud(tmp_path / "scan.bin")
    expected = from_pointcept(weights, "", 0.1).student
    with torch.no_grad():
        rows = expected(PointBatch.from_clouds([points]))
        assert torch.equal(load_student(tmp_path / "run")(PointBatch.from_clouds([points])), rows)
    settings = FeaturesSettings(
        points=(tmp_path / "scan.bin",),
        checkpoint=tmp_path / "run",
        out=tmp_path / "rows.npy",
        device="cpu",
    )
    features(settings)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows.numpy())

    start = starting_student(tmp_path / "run", name, 0.1, 0)
    assert f"{result.network} of Pointcept, model_best.pth, sha256 {result.sha256[:12]}" in (
        start.origin
    )
    lines = str(result).splitlines()
    assert f"of Pointcept -> {name}" in lines[0]
    assert f"{result.tensors} tensors" in lines[0]
    assert ("left out: final.bias, final.weight" in lines[0]) == (name == "minkunet-tiny")
    assert "x, y, z in metres and intensity in [0, 1]" in lines[1]
    assert "voxels of 0.1 m, which the file does not say" in lines[1]


def test_again_and_with_other_settings(tmp_path: Path) -> None:
    file, out = tmp_path / "a.pth", tmp_path / "run"
    torch.save(dict(spunet(*SPUNET_TINY)), file)
    imported(file, out)
    before = (out / "student.safetensors").read_bytes()
    imported(file, out)
    assert (out / "student.safetensors").read_bytes() == before
    with pytest.raises(CleverError, match=r"other settings \(voxel_size"):
        imported(file, out, 0.2)
    assert (out / "student.safetensors").read_bytes() == before


def test_bare_tensors_and_safetensors(tmp_path: Path) -> None:
    weights = dict(spunet(*SPUNET_TINY))
    torch.save(weights, tmp_path / "bare.pth")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / "bare.safetensors")
    for name in ("bare.pth", "old.pth", "bare.safetensors"):
        tensors = read_tensors(tmp_path / name)
        assert tensors.keys() == weights.keys()
        assert all(torch.equal(tensors[key], weights[key]) for key in weights)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": dict(spunet(*SPUNET_TINY)), "x": Trap(tmp_path / "ran")}, tmp_path / "a"
    )
    (tmp_path / "b").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    for name in "ab":
        with pytest.raises(CleverError, match="it is not unpickled") as error:
            imported(tmp_path / name, tmp_path / "run")
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(dict(spunet(*SPUNET_TINY)), whole)
    content = whole.read_bytes()
    cases = [b"", b"hello\n", b"\x80", b"PK\x03\x04", content[:100], content[: len(content) // 2]]
    cases += [pickle.dumps([1, 2]), pickle.dumps({"a": 1}), bytes(range(256))]
    for ending in (".pth", ".safetensors"):
        for number, case in enumerate(cases):
            path = tmp_path / f"{number}{ending}"
            path.write_bytes(case)
            with pytest.raises(CleverError) as error:
                imported(path, tmp_path / "run")
            assert str(error.value).startswith(str(path))
            assert "\n" not in str(error.value)
    for other in ([torch.zeros(1)], {}, {"state_dict": {"a": 1}}, {1: torch.zeros(1)}):
        torch.save(other, tmp_path / "other.pth")
        with pytest.raises(CleverError, match=r"other\.pth holds no table of tensors"):
            imported(tmp_path / "other.pth", tmp_path / "run")
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(CleverError, match="is no file; give a checkpoint"):
            imported(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_scalr_becomes_a_run(tmp_path: Path) -> None:
    student = build_student("waffleiron-tiny", 0.1).eval()
    names = {name: _scalr_name(name) for name in student.backbone.state_dict()}
    model = {
        f"module.{names[name]}": value for name, value in student.backbone.state_dict().items()
    }
    torch.save({"epoch": 1, "model_point": model, "optim": {}}, tmp_path / "ckpt.pth")
    settings = {"file": tmp_path / "ckpt.pth", "out": tmp_path / "run"}
    with pytest.raises(CleverError, match="give `intensity`, one of nuscenes, semantickitti, pand"):
        import_weights(ImportWeightsSettings.model_validate(settings))
    with_scale = ImportWeightsSettings.model_validate({**settings, "intensity": "semantickitti"})
    result = import_weights(with_scale)
    assert "WaffleIron of ScaLR -> waffleiron-tiny: " in str(result)
    assert "intensity in [0, 1] of semantickitti, voxels of 0.1 m" in str(result)
    points = cloud(tmp_path / "scan.bin")
    scaled = points.clone()
    scaled[:, 3] = (points[:, 3] - 0.28613698) / 0.14090556
    with torch.no_grad():
        expected = student(PointBatch.from_clouds([scaled]))
        features = load_student(tmp_path / "run")(PointBatch.from_clouds([points]))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_intensity_belongs_to_scalr_alone(tmp_path: Path) -> None:
    torch.save(checkpoint(spunet(*SPUNET_TINY), "module.backbone."), tmp_path / "ckpt.pth")
    settings = {"file": tmp_path / "ckpt.pth", "out": tmp_path / "run", "intensity": "nuscenes"}
    with pytest.raises(CleverError, match="is no checkpoint of ScaLR; leave `intensity` out"):
        import_weights(ImportWeightsSettings.model_validate(settings))


def test_tables_in_tables_and_wrappers_in_wrappers(tmp_path: Path) -> None:
    weights = dict(spunet(*SPUNET_TINY))
    twice = {f"module.module.backbone.{name}": tensor for name, tensor in weights.items()}
    for number, content in enumerate(
        ({"model_state_dict": weights}, {"model": {"state_dict": twice}, "epoch": 3})
    ):
        torch.save(content, tmp_path / f"{number}.pth")
        result = imported(tmp_path / f"{number}.pth", tmp_path / f"run-{number}")
        assert (result.student, result.tensors) == ("minkunet-tiny", 174)
    endless: dict[str, Any] = {"epoch": 3}
    endless["model"] = endless
    torch.save(endless, tmp_path / "endless.pth")
    with pytest.raises(CleverError, match="holds no table of tensors"):
        imported(tmp_path / "endless.pth", tmp_path / "endless")
    torch.save({"weights": weights, "epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(CleverError, match="its names begin with weights, epoch"):
        imported(tmp_path / "other.pth", tmp_path / "other")


def test_a_damaged_part_is_noticed_where_checksums_are_true(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(dict(spunet(*SPUNET_TINY)), path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    middle = largest.header_offset + largest.file_size // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(CleverError, match=r"a\.pth cannot be read as a checkpoint; get it again"):
        imported(path, tmp_path / "run")
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(spunet(*SPUNET_TINY)), path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert imported(path, tmp_path / "run").tensors == 174
