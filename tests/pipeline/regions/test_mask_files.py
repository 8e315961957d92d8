"""Masks from files, superpixels and maps at another size, against values written out."""

import struct
import zlib
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from PIL import Image

from clever.cache.store.layers import NO_REGION
from clever.errors import CleverError, FrameError
from clever.pipeline.datasets.readers.kitti_layout import image_size
from clever.pipeline.regions.maps import pattern_places, resize_map
from clever.pipeline.regions.mask_files import paint, read_mask
from clever.pipeline.regions.superpixels import slic_segments
from clever.student.losses import regions as region_losses


def test_one_number_means_no_region_everywhere() -> None:
    assert region_losses.NO_REGION == NO_REGION == np.iinfo(np.uint16).max


def test_png_of_16_bits_keeps_more_than_255_regions(tmp_path: Path) -> None:
    numbers = np.arange(600, dtype=np.uint16).reshape(20, 30)
    Image.fromarray(numbers).save(tmp_path / "a.png")
    regions, source = read_mask(tmp_path / "a.png")
    assert regions.dtype == np.uint16
    assert np.array_equal(regions, numbers)
    assert source == google_crc32c.value((tmp_path / "a.png").read_bytes())


def test_palette_counts_by_index_and_empty_is_no_region(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [7, 255]], np.uint8), "P")
    image.putpalette([9, 9, 9] * 256)
    image.save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", empty=255)[0].tolist() == [[0, 1], [7, NO_REGION]]


def test_npz_of_numbers_and_of_masks(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.array([[3, -1]], np.int64))
    with pytest.raises(CleverError, match="numbers from -1 to 3"):
        read_mask(tmp_path / "a.npz")
    masks = np.zeros((3, 2, 4), bool)
    masks[0, 0] = masks[1] = True
    masks[1, 1, 3] = False
    masks[2, 0, :2] = True
    np.savez(tmp_path / "b.npz", masks=masks)
    expected = [[2, 2, 0, 0], [1, 1, 1, NO_REGION]]
    assert read_mask(tmp_path / "b.npz")[0].tolist() == expected
    assert paint(masks).tolist() == expected


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.png", None, "no such file"),
        ("a.png", b"no image", "cannot be read"),
        ("a.npz", b"no zip", "cannot be read"),
    ],
)
def test_bad_files_are_one_line(
    tmp_path: Path, name: str, content: bytes | None, fault: str
) -> None:
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CleverError, match=fault) as caught:
        read_mask(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG of 8-bit grey with a size and compressed rows as they are given."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "content", [png(60000, 60000, b""), png(4, 4, b"no zlib"), png(4, 4, zlib.compress(b"\0" * 3))]
)
def test_whatever_a_decoder_says_is_one_line(tmp_path: Path, content: bytes) -> None:
    """A size that no memory holds, rows that are damaged, rows that are missing."""
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(CleverError, match=f"^mask {path}: cannot be read "):
        read_mask(path)


def test_a_picture_that_claims_to_be_huge_costs_its_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # nuscenes-devkit, which other tests import, sets another limit for the whole process.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1024**3 // 4 // 3)
    path = tmp_path / "a.png"
    path.write_bytes(png(60000, 60000, b""))
    with pytest.raises(FrameError, match=r"^frame f: cannot read image .*: it claims to hav"):
        image_size("f", path)
    path.write_bytes(png(7, 5, b""))
    assert image_size("f", path) == (7, 5)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_mask_that_is_to_be_turned_is_refused(tmp_path: Path, orientation: int) -> None:
    """Its pixels are none of the image's, as of a picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.eye(4, 6, dtype=np.uint8)).save(tmp_path / "a.png", exif=exif)
    if orientation == 1:
        assert read_mask(tmp_path / "a.png")[0].sum() == 4
        return
    with pytest.raises(CleverError, match=f"its EXIF orientation is {orientation}, so it may be"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("numbers", [np.zeros((0, 0), int), np.zeros((3, 0, 5), bool)])
def test_a_mask_without_pixels_is_refused(tmp_path: Path, numbers: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", numbers)
    with pytest.raises(CleverError, match=r"a\.npz: has no pixels"):
        read_mask(tmp_path / "a.npz")


def test_other_formats_by_another_name_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4), int))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(CleverError, match="it is an NPY"):
        read_mask(tmp_path / "a.npz")
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(CleverError, match="JPEG changes the numbers"):
        read_mask(tmp_path / "a.png")


def test_what_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(CleverError, match="pixels are RGB"):
        read_mask(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", np.zeros((2, 2)))
    with pytest.raises(CleverError, match="float64 of shape"):
        read_mask(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", np.zeros((2, 2), int), np.zeros((2, 2), int))
    with pytest.raises(CleverError, match="holds 2 arrays"):
        read_mask(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", np.array([[65535]]))
    with pytest.raises(CleverError, match="65535"):
        read_mask(tmp_path / "c.npz")


@pytest.mark.parametrize("size", [(2, 3), (4, 4), (7, 5), (20, 9)])
def test_maps_take_the_pixel_under_their_centre(size: tuple[int, int]) -> None:
    regions = np.random.default_rng(0).integers(0, 900, (8, 6)).astype(np.uint16)
    resized = resize_map(regions, size)
    for row in range(size[0]):
        for column in range(size[1]):
            v, u = (row + 0.5) / size[0] * 8, (column + 0.5) / size[1] * 6
            assert resized[row, column] == regions[int(v), int(u)]


def test_superpixels_of_two_halves() -> None:
    pytest.importorskip("skimage")
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = 255
    segments = slic_segments(image, 12, 6.0, 0.0)
    assert segments.shape == (60, 80)
    assert segments.dtype == np.uint16
    assert segments.min() == 0
    assert len(np.unique(segments)) == segments.max() + 1 > 4
    assert not set(np.unique(segments[:, :40])) & set(np.unique(segments[:, 40:]))


def test_patterns_say_what_they_lack() -> None:
    assert pattern_places("{scene}/{id}_{camera}.png") == {"scene", "id", "camera"}
    for pattern, fault in (
        ("{stem}.png", "unknown {stem}"),
        ("a.png", "the same for all frames"),
        ("{id", "write"),
        ("{id!r}.png", "{id} takes no ! and no :"),
        ("{id}_{camera:>9}.png", "{camera} takes no ! and no :"),
    ):
        with pytest.raises(CleverError, match=fault):
            pattern_places(pattern)
