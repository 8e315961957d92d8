"""Stores of schema 1 are refused in one line and can be copied; any Zarr reader opens ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

from clever.cache import FeatureCache
from clever.cache.care.copy import Copy, Selection
from clever.cache.care.summary import summarise
from clever.cache.care.verify import Verification
from clever.cache.store.contents import Contents
from clever.cache.store.records import checked_json
from clever.cache.store.records.seals import seal_path
from clever.cache.store.store import Store
from clever.errors import CleverError

from ....store_files import content
from ...older_store import to_schema1

Writes = Callable[..., Any]


@pytest.mark.parametrize("opened", [FeatureCache, Store, summarise, Verification])
def test_older_store_is_refused(write_store: Writes, opened: Callable[[Path], Any]) -> None:
    path = write_store([10, 10]).path
    to_schema1(path)
    with pytest.raises(CleverError, match=rf"schema 1, .*`clever cache copy {path} NEW`"):
        opened(path)
    seal_path(path, "points").unlink()
    with pytest.raises(CleverError, match=rf"schema 1, .*`clever cache copy {path} NEW`"):
        opened(path)


def test_copy_of_an_older_store_is_the_store_itself(write_store: Writes, tmp_path: Path) -> None:
    sample = write_store(
        [100, 5000, 30] * 6, failed=(2,), others=(("fp16", "grid"), ("int8-zstd", "hit"))
    )
    before = content(sample.path)
    to_schema1(sample.path)
    assert content(sample.path) != before
    Copy(sample.path, tmp_path / "copy.zarr", Selection()).run(lambda count: None)
    assert content(tmp_path / "copy.zarr") == before


def test_older_name_of_the_occlusion_test(write_store: Writes, tmp_path: Path) -> None:
    path = write_store([10, 10]).path
    to_schema1(path, "zbuffer")
    Copy(path, tmp_path / "copy.zarr", Selection()).run(lambda count: None)
    assert Contents(tmp_path / "copy.zarr").base.occlusion == "parallax"


@pytest.mark.parametrize(
    ("layer", "keys", "value", "message"),
    [
        (
            "points",
            ("content", "base", "margin_px"),
            "1",
            "content.base.margin_px: input",
        ),
        ("points", ("content", "base", "far"), 1, "content.base.far: unexpected"),
        ("points", ("content", "ids", 1), 7, "content.ids.1: input should be a valid string"),
        (
            "made",
            ("content", "info", "codec"),
            "int4",
            "content.info.codec: input should",
        ),
        ("made", ("content", "info", "fingerprint", "colour"), 1, "fingerprint.colour: extra"),
        ("made", ("content", "calibration", "step", 0), None, "calibration.step.0: input should"),
        ("made", ("files", "zarr.json"), {"bytes": 1}, "files.zarr.json.crc32c: field required"),
    ],
)
def test_foreign_fields_are_named(
    write_store: Writes, layer: str, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    """Seals with a sound checksum over fields that do not belong there."""
    sample = write_store([10, 10])
    name = layer if layer == "points" else sample.info.id
    path = seal_path(sample.path, name)
    seal = json.loads(checked_json.decode(path.read_bytes()))
    field = seal
    for key in keys[:-1]:
        field = field[key]
    field[keys[-1]] = value
    path.write_bytes(checked_json.encode(json.dumps(seal).encode()))
    with pytest.raises(CleverError) as failure:
        Store(sample.path).teachers()
    text = str(failure.value)
    assert text.startswith(f"{path}: seal is damaged (field ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("frames", 1, "points"), 5.5, "field frames.1.points: input should be a valid integer"),
        (("frames", 1, "speed"), 1, "field frames.1.speed: unexpected"),
        (("fidelity",), {}, "field fidelity.tokens: field required"),
        (("files",), [], "field files: input should be an object"),
    ],
)
def test_foreign_fields_of_a_record(
    write_store: Writes, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    store = Store(write_store([10, 10]).path)
    path = store.path / store.points.place.commit(0)
    record = json.loads(checked_json.decode(path.read_bytes()))
    field = record
    for key in keys[:-1]:
        field = field[key]
    field[keys[-1]] = value
    path.write_bytes(checked_json.encode(json.dumps(record).encode()))
    with pytest.raises(CleverError) as failure:
        store.commits("points")
    assert str(failure.value).startswith(f"{path}: commit record is damaged ({message}")


@pytest.mark.parametrize("tokens", ["grid", "hit"])
def test_xarray_opens_every_group(write_store: Writes, tokens: str) -> None:
    sample = write_store([100, 5000, 30], "int8", tokens)
    tree = xarray.open_datatree(sample.path, engine="zarr", consolidated=False)
    frames, points, pairs = (tree[name].dataset for name in ("frames", "points", "pairs"))
    layer = xarray.open_zarr(sample.path, group=f"teachers/{sample.info.id}", consolidated=False)
    names = ("frame", "camera", "height", "width")
    if tokens == "grid":
        assert dict(layer.sizes) == dict(zip((*names, "channel"), (3, 2, 3, 5, 7), strict=True))
        assert layer["grid"].dims == (*names, "channel")
    else:
        assert layer["hit"].dims == names
        assert layer["grid"].dims == ("frame", "token", "channel")
    assert layer["centre"].dims == layer["step"].dims == ("channel",)
    assert frames["pose"].dims == ("frame", "row", "column")
    for row, frame in enumerate(sample.frames.values()):
        cloud = points["xyzi"].isel(frame=row, point=slice(len(frame.points))).to_numpy()
        np.testing.assert_array_equal(cloud, frame.points)
        np.testing.assert_array_equal(frames["pose"][row], frame.global_from_lidar)
        np.testing.assert_array_equal(frames["image_size"][row], frame.image_size)
        pair_points = sample.pairs[frame.id].point
        np.testing.assert_array_equal(pairs["point"][row, : len(pair_points)], pair_points)


def test_finding_a_layer(write_store: Writes) -> None:
    sample = write_store([10], others=(("fp16", "grid"),))
    store = Store(sample.path)
    other = next(info for info in store.teachers() if info.codec == "fp16")
    assert store.find_teacher(sample.info.id) == sample.info
    assert store.find_teacher(other.id[:-1]) == other
    with pytest.raises(CleverError, match="'made' fits 2 of them"):
        store.find_teacher("made")
    with pytest.raises(CleverError, match="choose one"):
        store.find_teacher()
    points, *teachers = store.layers()
    assert [layer.id for layer in teachers] == sorted((sample.info.id, other.id))
    assert (points.id, points.cameras, points.place.status) == ("points", 2, "frames/status")
