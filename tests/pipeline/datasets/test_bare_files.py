"""Readers of bare LiDAR files: the same cloud in every format, intensity never guessed, damage told
in one line."""

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import laspy
import numpy as np
import pypcd4
import pytest
from numpy.typing import NDArray

from clever.errors import CleverError
from clever.pipeline.datasets.readers.bare_files import read_cloud

Cloud = NDArray[np.float32]
FIELDS = np.dtype([("ring", "<u2"), ("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "u1")])


@pytest.fixture
def cloud() -> Cloud:
    """(300, 4): coordinates in whole millimetres, intensities k / 255 with both ends."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, (300, 4)).round(3).astype(np.float32)
    levels = rng.integers(0, 256, 300)
    levels[:2] = 0, 255
    points[:, 3] = levels.astype(np.float32) / np.float32(255)
    return points


def rows(cloud: Cloud, intensity: str = "u1") -> np.ndarray:
    """The cloud as records, intensity 0 to 255 of the given type."""
    dtype = np.dtype(
        [*((name, FIELDS[name]) for name in ("ring", "x", "y", "z")), ("intensity", intensity)]
    )
    records = np.zeros(len(cloud), dtype)
    records["ring"] = np.arange(len(cloud)) % 32
    for axis, column in zip("xyz", cloud.T, strict=False):
        records[axis] = column
    records["intensity"] = (cloud[:, 3] * 255).round()
    return records


def pcd_header(records: np.ndarray, data: str, viewpoint: str = "0 0 0 1 0 0 0") -> str:
    types = [records.dtype[name] for name in records.dtype.names or ()]
    kinds = ["U" if kind.kind == "u" else "F" for kind in types]
    return (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {' '.join(records.dtype.names or ())}\n"
        f"SIZE {' '.join(str(kind.itemsize) for kind in types)}\nTYPE {' '.join(kinds)}\n"
        f"COUNT {' '.join('1' for _ in types)}\nWIDTH {len(records)}\nHEIGHT 1\nVIEWPOINT "
        f"{viewpoint}\n"
        f"POINTS {len(records)}\nDATA {data}\n"
    )


def ply_header(records: np.ndarray, data: str) -> str:
    names = {"u1": "uchar", "u2": "ushort", "f4": "float", "f8": "double"}
    properties = [
        f"property {names[records.dtype[n].str[1:]]} {n}\n" for n in records.dtype.names or ()
    ]
    return (
        f"ply\nformat {data} 1.0\nelement vertex {len(records)}\n{''.join(properties)}end_header\n"
    )


def text(records: np.ndarray) -> str:
    return "".join(" ".join(str(value) for value in record) + "\n" for record in records.tolist())


def write_pcd(path: Path, records: np.ndarray, viewpoint: str = "0 0 0 1 0 0 0") -> Path:
    path.write_bytes(pcd_header(records, "binary", viewpoint).encode() + records.tobytes())
    return path


def write_pcd_ascii(path: Path, records: np.ndarray) -> None:
    path.write_text(pcd_header(records, "ascii") + text(records))


def write_pcd_compressed(path: Path, records: np.ndarray) -> None:
    names = records.dtype.names or ()
    pcd = pypcd4.pypcd4.PointCloud.from_points(
        [records[n] for n in names], names, [records.dtype[n] for n in names]
    )
    pcd.save(path, pypcd4.pypcd4.Encoding.BINARY_COMPRESSED)


def write_ply(path: Path, records: np.ndarray) -> None:
    path.write_bytes(ply_header(records, "binary_little_endian").encode() + records.tobytes())


def write_ply_big_endian(path: Path, records: np.ndarray) -> None:
    header = ply_header(records, "binary_big_endian").encode()
    path.write_bytes(header + records.astype(records.dtype.newbyteorder(">")).tobytes())


def write_ply_ascii(path: Path, records: np.ndarray) -> None:
    path.write_text(ply_header(records, "ascii") + text(records))


def write_las(path: Path, xyz: np.ndarray, intensity: np.ndarray) -> Path:
    """LAS or, by its ending, LAZ, in whole millimetres around the cloud's middle."""
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.floor(xyz.mean(0))
    content = laspy.LasData(header)
    content.x, content.y, content.z = xyz.T
    content.intensity = intensity
    content.write(str(path))
    return path


@pytest.mark.parametrize(
    ("name", "columns", "full"), [("a.bin", 4, 1), ("a.pcd.bin", 5, 255), ("A.PCD.BIN", 5, 255)]
)
def test_flat_files(cloud: Cloud, tmp_path: Path, name: str, columns: int, full: float) -> None:
    stored = np.zeros((len(cloud), columns), "<f4")
    stored[:, :3] = cloud[:, :3]
    stored[:, 3] = cloud[:, 3] if full == 1 else (cloud[:, 3] * 255).round()
    stored.tofile(tmp_path / name)
    result = read_cloud(tmp_path / name)
    assert result.full == full
    assert ("nuScenes" in result.layout) == (columns == 5)
    np.testing.assert_array_equal(result.points(), cloud)
    (tmp_path / name).rename(tmp_path / "other.dat")
    with pytest.raises(
        CleverError, match=r"other\.dat: unknown ending; known: \.pcd\.bin, \.bin, "
    ):
        read_cloud(tmp_path / "other.dat")
    same = read_cloud(tmp_path / "other.dat", "nuscenes" if columns == 5 else "kitti")
    np.testing.assert_array_equal(same.points(), cloud)


@pytest.mark.parametrize(
    ("write", "name", "layout"),
    [
        (write_pcd, "a.pcd", "PCD (binary), field intensity"),
        (write_pcd_ascii, "a.pcd", "PCD (ascii), field intensity"),
        (write_pcd_compressed, "a.pcd", "PCD (binary_compressed), field intensity"),
        (write_ply, "a.ply", "PLY (binary), field intensity"),
        (write_ply_big_endian, "a.ply", "PLY (binary), field intensity"),
        (write_ply_ascii, "a.ply", "PLY (ascii), field intensity"),
    ],
)
def test_pcd_and_ply(
    cloud: Cloud, tmp_path: Path, write: Callable[[Path, np.ndarray], None], name: str, layout: str
) -> None:
    path = tmp_path / name
    write(path, rows(cloud))
    result = read_cloud(path)
    assert (result.layout, result.full) == (layout, 255)
    np.testing.assert_array_equal(result.points(), cloud)
    write(path, rows(cloud, "<u2"))
    assert read_cloud(path).full == 65535
    np.testing.assert_array_equal(read_cloud(path).points(255), cloud)
    write(path, rows(cloud, "<f4"))
    with pytest.raises(
        CleverError,
        match="holds float32 intensities from 0 to 255, which have no agreed full scale",
    ):
        read_cloud(path).points()
    np.testing.assert_array_equal(read_cloud(path).points(255), cloud)
    write(path, rows(cloud)[:1])
    np.testing.assert_array_equal(read_cloud(path).points(), cloud[:1])


@pytest.mark.parametrize("name", ["a.las", "a.laz"])
def test_las_in_a_national_grid(cloud: Cloud, tmp_path: Path, name: str) -> None:
    """Coordinates of millions of metres: float32 would be half a metre off, so the sensor is taken
    away before."""
    place = (691_000.123, 5_334_000.456, 519.789)
    path = write_las(
        tmp_path / name, cloud[:, :3].astype(float) + place, (cloud[:, 3] * 65535).round()
    )
    result = read_cloud(path)
    assert result.layout == f"LAS 1.4 ({'compressed' if name == 'a.laz' else 'plain'})"
    points = result.points(origin=place)
    np.testing.assert_allclose(points[:, :3], cloud[:, :3], atol=1e-5)
    np.testing.assert_allclose(points[:, 3], cloud[:, 3], atol=1e-6)
    with pytest.raises(CleverError, match=r"coordinates up to 53340\d\d m, .* with `origin=X,Y,Z`"):
        result.points()


def test_a_field_is_chosen_by_name_or_left_out(cloud: Cloud, tmp_path: Path) -> None:
    records = rows(cloud)
    records.dtype.names = ("ring", "x", "y", "z", "signal")
    path = write_pcd(tmp_path / "a.pcd", records)
    with pytest.raises(
        CleverError, match=r"has no intensity among its fields ring, x, y, z, signal; name one"
    ):
        read_cloud(path)
    with pytest.raises(CleverError, match=r"has no field tone among its fields ring"):
        read_cloud(path, intensity_field="tone")
    np.testing.assert_array_equal(read_cloud(path, intensity_field="signal").points(), cloud)
    dark = read_cloud(path, intensity_field="none").points()
    np.testing.assert_array_equal(dark[:, :3], cloud[:, :3])
    assert not dark[:, 3].any()
    records.dtype.names = ("ring", "x", "y", "height", "signal")
    with pytest.raises(
        CleverError, match=r"has the fields ring, x, y, height, signal; x, y and z are needed"
    ):
        read_cloud(write_pcd(tmp_path / "b.pcd", records))
    cloud.tofile(tmp_path / "c.bin")
    with pytest.raises(CleverError, match="kitti files have no named fields"):
        read_cloud(tmp_path / "c.bin", intensity_field="signal")


def test_a_viewpoint_is_said_not_to_be_applied(cloud: Cloud, tmp_path: Path) -> None:
    result = read_cloud(write_pcd(tmp_path / "a.pcd", rows(cloud), "1 2 3 1 0 0 0"))
    assert "VIEWPOINT not applied" in result.layout
    np.testing.assert_array_equal(result.points(), cloud)


@pytest.mark.parametrize(
    ("value", "scale", "message"),
    [
        (1.5, None, r"from 0 to 1\.5, expected 0 to 1; give the value of full intensity"),
        (
            -0.1,
            None,
            r"1 of 300 intensities below 0, down to -0\.1, which no scale mends; give the",
        ),
        (
            -0.1,
            9.0,
            r"down to -0\.1, which no scale mends; .*adding to all of them what the lowest",
        ),
        (np.nan, None, r"has 1 of 300 points with a position but a NaN intensity"),
        (200.0, 100.0, r"from 0 to 200, expected 0 to 100"),
    ],
)
def test_intensity_is_never_clipped(
    cloud: Cloud, tmp_path: Path, value: float, scale: float | None, message: str
) -> None:
    cloud[7, 3] = value
    cloud.tofile(tmp_path / "a.bin")
    with pytest.raises(CleverError, match=message):
        read_cloud(tmp_path / "a.bin").points(scale)
    cloud[7, 3] = 0.25
    cloud.tofile(tmp_path / "a.bin")
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.bin").points(4)[:, 3], cloud[:, 3] / 4)


def test_the_remedy_of_negative_intensities_works(cloud: Cloud, tmp_path: Path) -> None:
    """Of a file with named fields: another field, or none."""
    records = rows(cloud, "<f4")
    records["intensity"] -= 1
    path = write_pcd(tmp_path / "a.pcd", records)
    line = r"below 0, down to -1, which no scale mends; name another field in `intensity_field`, or"
    for scale in (None, 255.0):
        with pytest.raises(CleverError, match=line):
            read_cloud(path).points(scale)
    assert (read_cloud(path, intensity_field="none").points()[:, 3] == 0).all()
    assert read_cloud(path, intensity_field="ring").points(65535.0)[:, 3].min() >= 0


@pytest.mark.parametrize(("dtype", "encoding"), [(">f4", "big-endian float32"), ("<f8", "float64")])
@pytest.mark.parametrize(("name", "columns"), [("a.bin", 4), ("a.pcd.bin", 5)])
def test_other_numbers_than_little_endian_floats(
    cloud: Cloud, tmp_path: Path, name: str, columns: int, dtype: str, encoding: str
) -> None:
    rows = np.hstack([cloud, np.zeros((len(cloud), columns - 4), np.float32)])
    rows.astype(dtype).tofile(tmp_path / name)
    with pytest.raises(CleverError, match=rf"{name} is {encoding}, not little-endian float32"):
        read_cloud(tmp_path / name).points()


@pytest.mark.parametrize(("dtype", "kind"), [("<i4", "int32"), (">i4", "big-endian int32")])
def test_whole_millimetres(cloud: Cloud, tmp_path: Path, dtype: str, kind: str) -> None:
    """As floats they are no numbers or as good as zero: beams without return, so it looked."""
    (cloud * np.array([1000, 1000, 1000, 100], np.float32)).astype(dtype).tofile(tmp_path / "a.bin")
    with pytest.raises(CleverError, match=rf"a\.bin is {kind}, not little-endian float32"):
        read_cloud(tmp_path / "a.bin").points()


@pytest.mark.parametrize("field", ["x", "intensity"])
def test_a_list_is_no_number_of_a_point(tmp_path: Path, field: str) -> None:
    kinds = dict.fromkeys(("x", "y", "z", "intensity"), "float") | {field: "list uchar float"}
    header = "\n".join(f"property {kind} {name}" for name, kind in kinds.items())
    row = " ".join("1 0.5" if name == field else "0.5" for name in kinds)
    path = tmp_path / "a.ply"
    path.write_text(
        f"ply\nformat ascii 1.0\nelement vertex 2\n{header}\nend_header\n{row}\n{row}\n"
    )
    with pytest.raises(CleverError, match=rf"a\.ply has lists in its field {field}, not one num"):
        read_cloud(path).points(1.0)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hello\n", "FIELDS, SIZE, TYPE, COUNT, POINTS, WIDTH"),
        ("VERSION 0.7\nFIELDS x\nSIZE 4\nTYPE F\nWIDTH 1\nPOINTS 1\nDATA ascii\n1\n", "COUNT"),
    ],
)
def test_a_pcd_header_that_lacks_lines(tmp_path: Path, text: str, names: str) -> None:
    (tmp_path / "a.pcd").write_text(text)
    with pytest.raises(CleverError) as caught:
        read_cloud(tmp_path / "a.pcd")
    assert str(caught.value) == (
        f"cannot read {tmp_path}/a.pcd: its header has no {names} that can be read; restore the "
        "file or name its `input_format`"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cloud: cloud[:, :3].__imul__(1000), r"up to 59\d\d\d m, and half of its points"),
        (lambda cloud: cloud[7].__setitem__(0, 9000), "1 of 300 points more than 1638.4 m"),
        (lambda cloud: cloud[7].__setitem__(2, -1e30), "point 7, at 1e\\+30 m"),
    ],
)
def test_points_that_are_not_around_the_sensor(
    cloud: Cloud, tmp_path: Path, change: Callable[[Cloud], object], reason: str
) -> None:
    change(cloud)
    cloud.tofile(tmp_path / "a.bin")
    with pytest.raises(CleverError, match=rf"a\.bin has .*{reason}"):
        read_cloud(tmp_path / "a.bin").points()


def test_beams_without_return_keep_their_place(cloud: Cloud, tmp_path: Path) -> None:
    records = rows(cloud, "<f4")
    for name in ("x", "y", "z", "intensity"):
        records[name][[3, 299]] = np.nan
    result = read_cloud(write_pcd(tmp_path / "a.pcd", records)).points(255)
    expected = cloud.copy()
    expected[[3, 299]] = np.nan
    np.testing.assert_array_equal(result, expected)
    records["x"] = np.inf
    with pytest.raises(CleverError, match="no point with finite coordinates among 300"):
        read_cloud(write_pcd(tmp_path / "a.pcd", records)).points(255)


@pytest.mark.parametrize("share", [0.03, 0.4, 0.7, 0.95])
@pytest.mark.parametrize(
    "name", ["a.bin", "a.pcd", "c.pcd", "t.pcd", "a.ply", "t.ply", "a.las", "a.laz"]
)
def test_a_truncated_file_is_one_line(
    cloud: Cloud, tmp_path: Path, name: str, share: float
) -> None:
    path = tmp_path / name
    writers = {"a.pcd": write_pcd, "c.pcd": write_pcd_compressed, "t.pcd": write_pcd_ascii}
    writers |= {"a.ply": write_ply, "t.ply": write_ply_ascii}
    if name in writers:
        writers[name](path, rows(cloud))
    elif name == "a.bin":
        cloud.tofile(path)
    else:
        write_las(path, cloud[:, :3].astype(float), (cloud[:, 3] * 65535).round())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content)) // 4 * 4 + 1])
    with pytest.raises(CleverError, match=name.replace(".", r"\.")) as error:
        read_cloud(path)
    assert "\n" not in str(error.value)


def test_files_cut_between_two_points(cloud: Cloud, tmp_path: Path) -> None:
    path = write_pcd(tmp_path / "a.pcd", rows(cloud))
    path.write_bytes(path.read_bytes()[: -10 * FIELDS.itemsize])
    with pytest.raises(CleverError, match="holds 290 points, its header says 300"):
        read_cloud(path)
    path.write_bytes(path.read_bytes().split(b"DATA")[0])
    with pytest.raises(CleverError, match=r"cannot read .*a\.pcd: .*; restore the file"):
        read_cloud(path)
    path = write_las(tmp_path / "a.las", cloud[:, :3].astype(float), np.zeros(300))
    path.write_bytes(path.read_bytes()[: -10 * struct.calcsize("<30x")])
    with pytest.raises(CleverError, match="holds 290 points, its header says 300"):
        read_cloud(path)


def test_missing_empty_and_foreign_files(cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(CleverError, match=r"none\.bin does not exist"):
        read_cloud(tmp_path / "none.bin")
    (tmp_path / "folder.pcd").mkdir()
    with pytest.raises(CleverError, match="is a folder; give files"):
        read_cloud(tmp_path / "folder.pcd")
    (tmp_path / "empty.bin").touch()
    with pytest.raises(CleverError, match=r"empty\.bin is empty"):
        read_cloud(tmp_path / "empty.bin")
    with pytest.raises(CleverError, match="holds no points"):
        read_cloud(write_pcd(tmp_path / "empty.pcd", rows(cloud)[:0]))
    for name in ("noise.pcd", "noise.ply", "noise.las", "noise.laz"):
        (tmp_path / name).write_bytes(np.random.default_rng(1).bytes(3000))
        with pytest.raises(
            CleverError, match=rf"cannot read .*{name}: .*; restore the file"
        ) as error:
            read_cloud(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "package"),
    [("a.pcd", "pypcd4"), ("a.ply", "plyfile"), ("a.las", "laspy"), ("a.laz", "lazrs")],
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    (tmp_path / name).write_text("anything")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        CleverError,
        match=rf"reading .*{name} needs the package {package}: pip install '.*\[formats\]'",
    ):
        read_cloud(tmp_path / name)


def test_real_frames(shared_data: Path) -> None:
    sweep = next((shared_data / "nuscenes/samples/LIDAR_TOP").glob("*.pcd.bin"))
    stored = np.fromfile(sweep, "<f4").reshape(-1, 5)
    result = read_cloud(sweep)
    assert (len(result.xyz), result.full) == (34_688, 255)
    np.testing.assert_array_equal(result.points(), stored[:, :4] / np.array([1, 1, 1, 255], "<f4"))
    scan = shared_data / "semantickitti/sequences/40/velodyne/000000.bin"
    np.testing.assert_array_equal(
        read_cloud(scan).points(), np.fromfile(scan, "<f4").reshape(-1, 4)
    )
    with pytest.raises(
        CleverError,
        match=r"no multiple of 16 a point|expected 0 to 1|give the right `input_format`",
    ):
        read_cloud(sweep, "kitti").points()
