"""Decoding names the file at fault; the resize is the one stated."""

import io
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
    with pytest.raises(CleverError, match=reason) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_files_never_raise_anything_else(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    random, path, refused = np.random.default_rng(1), tmp_path / "image", 0
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    for data in [jpeg(pixels), png.getvalue()] * 60:
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[random.integers(0, 200, 4)] = random.integers(0, 256, 4)
        path.write_bytes(damaged[: random.integers(1, len(damaged) + 1)])
        try:
            load_image(path)
        except CleverError as error:
            refused += str(path) in str(error) and "\n" not in str(error)
    assert refused > 100


def test_missing_no_image_and_deep_files(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match=r"gone\.jpg: no such file"):
        load_image(tmp_path / "gone.jpg")
    with pytest.raises(CleverError, match="cannot be decoded"):
        load_image(tmp_path)
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(CleverError, match=r"text\.jpg: cannot be decoded"):
        load_image(tmp_path / "text.jpg")
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(CleverError, match="8 bits a channel"):
        load_image(tmp_path / "deep.png")


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
