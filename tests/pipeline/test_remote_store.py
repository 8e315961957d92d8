"""Training and measuring from a store behind a URL: what comes out is what the folder gives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from clever.errors import CleverError
from clever.pipeline.pretrain import pretrain
from clever.pipeline.rankme import rankme
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.care import DropSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.rankme import RankmeSettings

MakeCache = Callable[..., Path]


@pytest.fixture
def urls(make_cache: MakeCache) -> Any:
    """The folder of a store and URLs of the same."""
    path = make_cache()
    memory = fsspec.filesystem("memory")
    memory.put(str(path), "memory://toy/run.zarr", recursive=True)
    yield path, f"file://{path}", "memory://toy/run.zarr"
    memory.rm("/toy", recursive=True)


def train(cache: str | Path, out: Path) -> tuple[bytes, list[float]]:
    """Weights and losses of a short run."""
    settings = PretrainSettings.resolve(
        None,
        {
            "cache": cache,
            "out": out,
            "student": "minkunet-tiny",
            "head_hidden": 16,
            "voxel_size": 0.5,
            "epochs": 1,
            "batch_size": 3,
            "device": "cpu",
            "workers": 0,
            "rankme_every": 0,
        },
    )
    pretrain(settings)
    lines = (out / "log.jsonl").read_text().splitlines()
    weights = (out / "student.safetensors").read_bytes()
    return weights, [json.loads(line)["loss"] for line in lines]


def test_pre_training_from_a_url(urls: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, *others = urls
    expected = train(folder, tmp_path / "folder")
    for number, url in enumerate(others):
        out = tmp_path / str(number)
        assert train(url, out) == expected, url
        assert PretrainSettings.resolve(out / "settings.yaml", {}).cache == url


def test_rankme_from_a_url(urls: tuple[Path, str, str]) -> None:
    results = [
        rankme(
            RankmeSettings.resolve(
                None,
                {"cache": url, "checkpoint": "none", "student": "minkunet-tiny", "device": "cpu"},
            )
        )
        for url in urls
    ]
    assert [result.cache for result in results] == [str(url) for url in urls]
    assert results[0].ranks == results[1].ranks == results[2].ranks


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a/run.zarr", Path("a/run.zarr")),
        ("~/run.zarr", Path.home() / "run.zarr"),
        ("s3://bucket/run.zarr", "s3://bucket/run.zarr"),
        ("file:///a/run.zarr", "file:///a/run.zarr"),
    ],
)
def test_places_of_stores(text: str, place: str | Path) -> None:
    settings = PretrainSettings.resolve(None, {"cache": text})
    assert settings.cache == place
    assert type(settings.cache) is type(place)
    assert PretrainSettings.resolve(None, settings.model_dump(mode="json")).cache == place


def test_what_is_written_has_a_folder() -> None:
    home = CacheTeacherSettings.resolve(None, {"cache": "~/run.zarr"})
    assert home.store == Path.home() / "run.zarr"
    for settings, name in ((CacheTeacherSettings, "cache"), (DropSettings, "path")):
        with pytest.raises(
            CleverError, match="should be a folder: by its URL a store is read only"
        ):
            settings.resolve(None, {name: "s3://bucket/run.zarr"})
