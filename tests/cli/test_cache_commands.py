"""`clever cache`: what the commands print and how they exit."""

import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner, Result

from clever.cache import FeatureCache
from clever.cli.main import build_app
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings

app = build_app("cache")


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["cache", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


@pytest.fixture
def data(write_kitti: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CLEVER_DATA_ROOT", raising=False)
    return write_kitti({"40": 3, "41": 18}, points=30)


@pytest.fixture
def store(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.zarr"
    for model in ("test_resnet", "test_vit"):
        settings = {
            "dataset": "semantickitti",
            "data_root": data,
            "sequences": "40,41",
            "cache": path,
            "model": model,
        }
        cache_teacher(
            CacheTeacherSettings(**settings, weights="random:0", image_size=(32, 64), device="cpu")
        )
    return path


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[70000] ^= 1
    path.write_bytes(content)


def teacher(store: Path, model: str) -> str:
    return next(
        folder.name for folder in (store / "teachers").iterdir() if folder.name.startswith(model)
    )


def test_verify_and_repair(store: Path, data: Path) -> None:
    good = run("verify", store)
    assert good.exit_code == 0
    assert f"{store}: no problems; " in good.stdout
    assert "16 frames compared with the dataset" in run("verify", store, "--data-root", data).stdout
    damage(store / "points/xyzi/c/0/0/0")
    bad = run("verify", store)
    assert bad.exit_code == 1
    assert bad.stdout.splitlines()[0] == (
        "points/xyzi/c/0/0/0 [layer points, shard 0]: differs from its checksum; frames 40/000001"
    )
    assert f"{store}: 1 problem; " in bad.stdout
    assert f"clever cache repair {store}" in bad.stdout
    assert (
        "not compared: the dataset was not compared"
        in run("verify", store, "--data-root", data).stdout
    )
    parsed = json.loads(run("verify", store, "--json").stdout)
    assert parsed["path"] == str(store)
    assert parsed["problems"] == [
        {
            "file": "points/xyzi/c/0/0/0",
            "what": "differs from its checksum",
            "remedy": "recompute",
            "layer": "points",
            "shard": 0,
            "frames": ["40/000001"],
        }
    ]
    refused = run("repair", store)
    assert refused.exit_code == 2
    assert "need the dataset: give --data-root" in refused.stderr
    repaired = run("repair", store, "--data-root", data)
    assert repaired.exit_code == 0
    nothing = json.loads(run("repair", store, "--json").stdout)
    assert (nothing["path"], nothing["problems"], nothing["remainder"]) == (str(store), [], [])
    assert "recomputed shard 0 of points" in repaired.stdout
    assert f"{store}: 1 problem found, 0 left" in repaired.stdout
    assert run("verify", store).exit_code == 0
    (store / "notes").write_text("?")
    assert run("repair", store).exit_code == 1


def test_environment_names_the_dataset(
    store: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEVER_DATA_ROOT", str(data))
    assert "frames compared" in run("verify", store).stdout
    assert "frames compared" not in run("verify", store, "--dataset-free").stdout
    (data / "other").mkdir()
    for root in (data / "nowhere", data / "other"):  # as that of another dataset
        monkeypatch.setenv("CLEVER_DATA_ROOT", str(root))
        refused = run("verify", store)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert refused.stderr.endswith(
            f"(the dataset folder {root} is that of CLEVER_DATA_ROOT: give another --data-root, or "
            "--dataset-free to check the store alone)\n"
        )
        assert "dataset-free" not in run("repair", store).stderr
        assert "CLEVER_DATA_ROOT:" not in run("verify", store, "--data-root", root).stderr
        assert run("verify", store, "--dataset-free").exit_code == 0
    assert "None" not in run("info", store).stdout


def test_copy_and_info(store: Path, data: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.zarr"
    result = run(
        "copy",
        store,
        target,
        "--teacher",
        "test_vit",
        "--scene",
        "41",
        "--limit",
        "5",
        "--codec",
        "fp16",
    )
    assert result.exit_code == 0
    assert f"{target}: 5 frames of {store}" in result.stdout
    assert "cosine to what was stored: mean 1.0" in result.stdout
    cache = FeatureCache(target)
    assert cache.ids == [f"41/{number:06}" for number in range(5)]
    assert cache.teacher.reencoded_from == ("int8",)
    info = json.loads(run("info", target, "--json").stdout)
    assert (info["path"], info["frames"]) == (str(target), 5)
    assert info["teachers"][0]["fidelity"]["cosine_mean"] == pytest.approx(1, abs=1e-6)
    shown = run("info", target).stdout
    assert "re-encoded from int8" in shown
    assert "cosine to the int8 it was copied from" in shown
    assert "cosine to float32" in run("info", store).stdout
    assert run("verify", target, "--data-root", data).exit_code == 0
    assert run("copy", store, target, "--scene", "42").exit_code == 2
    assert run("copy", store, target, "--limit", "0").exit_code == 2


def test_unfinished_frames_are_counted(store: Path, tmp_path: Path) -> None:
    (store / "points/xyzi/commits/000001.json").unlink()
    result = run("copy", store, tmp_path / "copy.zarr")
    assert f"5 frames that {store} has not finished are left out" in result.stdout
    copied = json.loads(run("copy", store, tmp_path / "other.zarr", "--json").stdout)
    assert (copied["target"], copied["frames"]) == (str(tmp_path / "other.zarr"), 16)
    assert copied["pending"] == 5
    assert copied["teachers"] == {
        teacher(store, "test_resnet"): None,
        teacher(store, "test_vit"): None,
    }


def test_drop_teacher(store: Path) -> None:
    unknown = run("drop-teacher", store, "test_resnet", "--json")
    assert unknown.stdout == ""
    assert unknown.exit_code == 2
    assert "has no teacher 'test_resnet'" in unknown.stderr
    layer = teacher(store, "test_resnet")
    size = sum(file.stat().st_size for file in (store / "teachers" / layer).rglob("*"))
    size -= sum(
        folder.stat().st_size
        for folder in (store / "teachers" / layer).rglob("*")
        if folder.is_dir()
    )
    dropped = json.loads(run("drop-teacher", store, layer, "--json").stdout)
    assert dropped == {"path": str(store), "teacher": layer, "bytes": size}
    assert FeatureCache(store).teacher.id == teacher(store, "test_vit")


def test_export_manifest(store: Path, tmp_path: Path) -> None:
    printed = run("export-manifest", store)
    assert printed.exit_code == 0
    header, *rows = [json.loads(line) for line in printed.stdout.splitlines()]
    assert header["frames"] == len(rows) == 21
    assert rows[3]["id"] == "41/000000"
    assert run("export-manifest", store, "--out", tmp_path / "manifest.jsonl").stdout == ""
    assert (tmp_path / "manifest.jsonl").read_text() == printed.stdout
    whole = json.loads(run("export-manifest", store, "--json").stdout)
    assert whole == {"header": header, "frames": rows}


@pytest.mark.parametrize(
    "command", ["info", "verify", "repair", "drop-teacher", "copy", "export-manifest"]
)
def test_no_store(tmp_path: Path, command: str) -> None:
    extra = {"drop-teacher": ["x"], "copy": [tmp_path / "copy"]}.get(command, [])
    result = run(command, tmp_path / "nowhere", *extra)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no feature cache at")
    assert list(tmp_path.iterdir()) == []


def test_a_store_by_its_url(store: Path, tmp_path: Path) -> None:
    """Everything but what writes to it."""
    memory, url = fsspec.filesystem("memory"), "memory://commands/run.zarr"
    memory.put(str(store), url, recursive=True)
    told = run("info", url).stdout
    assert told == run("info", store).stdout.replace(str(store), url)
    assert told.startswith(f"{url}\n  dataset   semantickitti, 2 scenes")
    assert f"{url}: no problems; " in run("verify", url).stdout
    assert run("export-manifest", url).stdout == run("export-manifest", store).stdout
    assert f"21 frames of {url}" in run("copy", url, tmp_path / "copy.zarr").stdout
    assert run("verify", f"file://{tmp_path}/copy.zarr").exit_code == 0
    memory.pipe(f"{url}/points/xyzi/c/0/0/0", b"damaged")
    bad = run("verify", url)
    assert bad.exit_code == 1
    assert bad.stdout.endswith("with `clever cache repair FOLDER` where the store is a folder\n")
    for verb in (("drop-teacher", url, "a"), ("repair", url), ("copy", store, url)):
        refused = run(*verb)
        assert refused.exit_code == 2
        assert refused.stderr.count("\n") == 1
        assert "should be a folder: by its URL a store is read only" in refused.stderr
    memory.rm("/commands", recursive=True)
