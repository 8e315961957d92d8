"""Decoding names the file at fault; the resize is the one stated."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from clever.cache.images import load_image, resize_image
from clever.errors import CleverError


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def test_decodes_rgb_in_channel_order(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.testing.assert_array_equal(load_image(tmp_path / "image.png", width=80, height=45), pixels)
    assert load_image(str(tmp_path / "image.png")).flags.writeable


def test_grey_is_repeated_and_alpha_dropped(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(load_image(tmp_path / "grey.png"), pixels[..., :1].repeat(3, 2))
    alpha = np.zeros((45, 80, 1), np.uint8)
    Image.fromarray(np.concatenate([pixels, alpha], 2)).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(load_image(tmp_path / "alpha.png"), pixels)


@pytest.mark.parametrize(
    ("keep", "reason"), [(0.5, "truncated"), (0.02, "cannot be decoded"), (0.0, "cannot identify")]
)
def test_truncated_jpeg(
    tmp_path: Path, pixels: NDArray[np.uint8], keep: float, reason: str
) -> None:
    path, data = tmp_path / "cut.jpg", jpeg(pixels)
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(CleverError, match=reason) as failure:
        load_image(path)
    assert str(path) in str(failure.value)
    assert "\n" not in str(failure.value)


@dataclass(frozen=True, slots=True)
class Embedded:
    """An image in memory, as one inside another file is."""

    data: bytes

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.data)

    def __str__(self) -> str:
        return "images.table, row 3"


def test_images_inside_other_files(pixels: NDArray[np.uint8]) -> None:
    source = Embedded(jpeg(pixels))
    np.testing.assert_array_equal(
        load_image(source, 80, 45), np.asarray(Image.open(io.BytesIO(source.data)))
    )
    with pytest.raises(CleverError, match=r"^image images\.table, row 3: 80x45 pixels, but"):
        load_image(source, 80, 46)
    with pytest.raises(CleverError) as failure:
        load_image(Embedded(b"no picture"))
    assert str(failure.value) == (
        "image images.table, row 3: cannot be decoded (cannot identify an image format); restore "
        "it from the dataset"
    )


def test_damaged_files_never_raise_anything_else(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    random, path, refused = np.random.default_rng(1), tmp_path / "image", 0
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    for data in [jpeg(pixels), png.getvalue()] * 60:
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[random.integers(0, 200, 4)] = random.integers(0, 256, 4)
        path.write_bytes(damaged[: random.integers(1, len(damaged) + 1)].tobytes())
        try:
            load_image(path)
        except CleverError as error:
            refused += str(path) in str(error) and "\n" not in str(error)
    assert refused > 100


def test_missing_no_image_and_deep_files(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match=r"gone\.jpg: no such file"):
        load_image(tmp_path / "gone.jpg")
    with pytest.raises(CleverError, match="is a folder; restore the file"):
        load_image(tmp_path)
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(CleverError, match=r"text\.jpg: cannot be decoded"):
        load_image(tmp_path / "text.jpg")
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(CleverError, match="8 bits a channel"):
        load_image(tmp_path / "deep.png")


def png(pixels: NDArray[np.uint16 | np.uint8], colour: int) -> bytes:
    """A PNG of all the bits of (H, W, C) `pixels`; `colour` is the format's colour type."""
    height, width = pixels.shape[:2]
    depth = 8 * pixels.itemsize
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("channels", "colour"), [(3, 2), (4, 6), (2, 4), (1, 0)])
def test_sixteen_bit_pngs_are_refused_by_their_own_depth(
    tmp_path: Path, channels: int, colour: int
) -> None:
    """Pillow opens the first three as 8 bits a channel and loses the low byte."""
    values = np.random.default_rng(2).integers(0, 256, (6, 5, channels), dtype=np.uint8)
    (tmp_path / "shallow.png").write_bytes(png(values, colour))
    colours = values if channels >= 3 else values[..., :1].repeat(3, 2)
    np.testing.assert_array_equal(load_image(tmp_path / "shallow.png"), colours[..., :3])
    (tmp_path / "deep.png").write_bytes(png(np.left_shift(values, 4, dtype=np.uint16), colour))
    with pytest.raises(CleverError, match=r"deep\.png: has more than 8 bits a channel"):
        load_image(tmp_path / "deep.png")


@pytest.mark.parametrize("kind", [b"P6", b"P5"])
def test_deep_netpbm_images_are_refused(tmp_path: Path, kind: bytes) -> None:
    channels = 3 if kind == b"P6" else 1
    (tmp_path / "shallow.ppm").write_bytes(kind + b"\n2 1\n255\n" + bytes(range(2 * channels)))
    assert load_image(tmp_path / "shallow.ppm").ravel()[-1] == 2 * channels - 1
    for brightest in (256, 4095, 65535):
        data = kind + b"\n2 1\n%d\n" % brightest + bytes(4 * channels)
        (tmp_path / "deep.ppm").write_bytes(data)
        with pytest.raises(CleverError, match="more than 8 bits a channel"):
            load_image(tmp_path / "deep.ppm")


def test_formats_that_do_not_tell_their_depth_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "image.jp2")
    with pytest.raises(CleverError, match=r"image\.jp2: JPEG2000 does not tell its bits"):
        load_image(tmp_path / "image.jp2")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_turned_pictures_are_refused(
    tmp_path: Path, pixels: NDArray[np.uint8], ending: str
) -> None:
    path = tmp_path / f"image.{ending}"
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(path, exif=exif)
        if orientation == 1:
            assert load_image(path, width=80, height=45).shape == (45, 80, 3)
            continue
        with pytest.raises(
            CleverError, match=rf"{path.name}: its EXIF orientation is {orientation}"
        ):
            load_image(path, width=80, height=45)


def test_size_must_be_the_calibrations(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    with pytest.raises(
        CleverError, match=r"image\.png: 80x45 pixels, but its calibration is for 45x80"
    ):
        load_image(path, width=45, height=80)
    with pytest.raises(CleverError, match="is for 80x46"):
        load_image(path, height=46)


def test_antialiased_resize_is_pillows(pixels: NDArray[np.uint8]) -> None:
    for height, width in ((14, 28), (28, 14), (90, 200), (45, 80)):
        ours = (
            resize_image(pixels, (height, width), "bilinear-antialias")
            .permute(1, 2, 0)
            .numpy()
            .astype(int)
        )
        pillow = np.array(
            Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        ).astype(int)
        assert np.abs(ours - pillow).max() <= 1


def test_plain_bilinear_resize_reads_four_pixels(pixels: NDArray[np.uint8]) -> None:
    height, width = 9, 31
    ours = resize_image(pixels, (height, width), "bilinear")
    y, x = (
        (torch.arange(height) + 0.5) * 45 / height - 0.5,
        (torch.arange(width) + 0.5) * 80 / width - 0.5,
    )
    top, left = y.floor().long(), x.floor().long()
    b, a = (y - top)[:, None], (x - left)[None, :]
    image = torch.from_numpy(pixels).permute(2, 0, 1).double()

    def corner(down: int, right: int) -> torch.Tensor:
        return image[:, (top + down).clamp(0, 44)][:, :, (left + right).clamp(0, 79)]

    upper = corner(0, 0) * (1 - a) + corner(0, 1) * a
    lower = corner(1, 0) * (1 - a) + corner(1, 1) * a
    assert ours.dtype == torch.uint8
    assert ours.is_contiguous()
    assert (ours - (upper * (1 - b) + lower * b)).abs().max() <= 1
    assert (
        ours.int() - resize_image(pixels, (height, width), "bilinear-antialias").int()
    ).abs().max() > 20


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match=f"^image {tmp_path}: is a folder; restore the file$"):
        load_image(tmp_path)
