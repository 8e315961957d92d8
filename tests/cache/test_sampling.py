"""The 4-tap gather equals full bilinear upsampling followed by a look-up."""

import pytest
import torch
from torch.nn.functional import grid_sample, interpolate

from clever.cache.codec import Calibration, decode
from clever.cache.sampling import grid_coordinates, sample_tokens, tap_mask

HEIGHT, WIDTH = 45, 80


@pytest.mark.parametrize("align_corners", [True, False])
def test_equals_upsampling_at_integer_pixels(align_corners: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 4, 7, 5, generator=generator, dtype=torch.float32).half()
    upsampled = interpolate(
        tokens.float().permute(0, 3, 1, 2),
        (HEIGHT, WIDTH),
        mode="bilinear",
        align_corners=align_corners,
    )
    view = torch.randint(0, 3, (500,), generator=generator)
    u = torch.randint(0, WIDTH, (500,), generator=generator)
    v = torch.randint(0, HEIGHT, (500,), generator=generator)
    uv = torch.stack([(u + 0.5) / WIDTH, (v + 0.5) / HEIGHT], 1)
    size = torch.tensor([[WIDTH, HEIGHT]] * 3)
    samples = sample_tokens(tokens, view, uv, size, None, align_corners)
    torch.testing.assert_close(samples, upsampled[view, :, v, u], atol=2e-5, rtol=0)


@pytest.mark.parametrize("align_corners", [True, False])
def test_equals_grid_sample_between_pixels(align_corners: bool) -> None:
    """At continuous pixels, against grid_sample with border padding on the same grid, in int8."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(-127, 128, (2, 6, 9, 4), generator=generator, dtype=torch.int8)
    calibration = Calibration(
        torch.randn(4, generator=generator), torch.rand(4, generator=generator)
    )
    grid = decode(tokens, calibration).permute(0, 3, 1, 2)
    uv = torch.rand(300, 2, generator=generator)
    view = torch.randint(0, 2, (300,), generator=generator)
    size = torch.tensor([[WIDTH, HEIGHT], [2 * WIDTH, HEIGHT]])
    scale = size[view].float()
    where = 2 * uv - 1 if not align_corners else 2 * (uv * scale - 0.5) / (scale - 1) - 1
    expected = torch.stack(
        [
            grid_sample(
                grid[k : k + 1],
                w.view(1, 1, 1, 2),
                align_corners=align_corners,
                padding_mode="border",
            ).flatten()
            for k, w in zip(view.tolist(), where, strict=True)
        ]
    )
    samples = sample_tokens(tokens, view, uv, size, calibration, align_corners)
    torch.testing.assert_close(samples, expected, atol=1e-4, rtol=1e-5)


def test_conventions_differ_by_half_a_patch_at_the_border() -> None:
    """The corner pixel reads the corner token under align_corners and lies outside its centre
    otherwise."""
    tokens = torch.arange(8.0).view(1, 1, 8, 1).half()
    size = torch.tensor([[800, 100]])
    uv = torch.tensor([[0.5 / 800, 0.5], [0.25, 0.5]])
    view = torch.zeros(2, dtype=torch.long)
    corner = sample_tokens(tokens, view, uv, size, None, True)[:, 0]
    patch = sample_tokens(tokens, view, uv, size, None, False)[:, 0]
    assert corner[0] == 0
    assert corner[1].item() == pytest.approx(199.5 * 7 / 799)
    assert patch[1].item() == pytest.approx(1.5)


@pytest.mark.parametrize("align_corners", [True, False])
def test_the_tap_mask_is_all_that_is_read(align_corners: bool) -> None:
    """Overwriting every other token changes nothing; clearing the reached ones leaves nothing to
    read."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(2, 8, 12, 3, generator=generator).half()
    uv = torch.rand(25, 2, generator=generator)
    view = torch.randint(0, 2, (25,), generator=generator)
    size = torch.tensor([[WIDTH, HEIGHT]] * 2)
    reached = tap_mask(view, uv, size, (8, 12))
    assert 0 < int(reached.sum()) < reached.numel()
    spoilt = tokens.clone()
    spoilt[~reached] = 1000.0
    expected = sample_tokens(tokens, view, uv, size, None, align_corners)
    assert torch.equal(sample_tokens(spoilt, view, uv, size, None, align_corners), expected)
    emptied = tokens.clone()
    emptied[reached] = 0
    assert not bool(sample_tokens(emptied, view, uv, size, None, align_corners).any())


@pytest.mark.parametrize("grid", [(3, 5), (1, 1), (1, 4), (4, 1)])
def test_the_corner_pixels_read_the_corner_tokens(grid: tuple[int, int]) -> None:
    """First and last row and column, under either convention; nothing beyond them is read."""
    height, width = grid
    tokens = torch.arange(1.0, 1 + height * width).view(1, height, width, 1).half()
    u, v = torch.tensor([0, WIDTH - 1]), torch.tensor([0, HEIGHT - 1])
    uv = torch.cartesian_prod((u + 0.5) / WIDTH, (v + 0.5) / HEIGHT)
    size, view = torch.tensor([[WIDTH, HEIGHT]]), torch.zeros(4, dtype=torch.long)
    rows, columns = (0, height - 1), (0, width - 1)
    corners = [tokens[0, row, column, 0].item() for column in columns for row in rows]
    for align_corners in (True, False):
        samples = sample_tokens(tokens, view, uv, size, None, align_corners).flatten()
        torch.testing.assert_close(samples, torch.tensor(corners), atol=1e-5, rtol=0)
    middle = torch.tensor([[0.4, 0.3]])
    aligned = sample_tokens(tokens, view[:1], middle, size, None, True)
    assert torch.equal(sample_tokens(tokens, view[:1], middle, size, None), aligned)


def test_the_tap_mask_of_single_pixels() -> None:
    """Both conventions' four tokens, counted by hand, on a grid of patches of ten pixels."""
    grid, size = (3, 4), torch.tensor([[40, 30], [40, 30]])

    def mask(u: float, v: float, view: int = 0) -> set[tuple[int, ...]]:
        uv = torch.tensor([[(u + 0.5) / 40, (v + 0.5) / 30]])
        return set(map(tuple, tap_mask(torch.tensor([view]), uv, size, grid).nonzero().tolist()))

    # The first pixel lies on the centre of its token, or before it: the next ones weigh nothing
    # but are read. The last pixel's are the last ones alone.
    first = {(0, row, column) for row in (0, 1) for column in (0, 1)}
    assert mask(0, 0) == first
    assert mask(39, 29, view=1) == {(1, 2, 3)}
    # In the middle of the image: between tokens 1 and 2 across; down, on the centre of token 1.
    assert mask(19.5, 14.5) == {(0, row, column) for row in (1, 2) for column in (1, 2)}
    # A quarter across: 0.75 of the aligned grid, 0.5 of the patches' centres.
    assert mask(9.25, 14.5) == {(0, row, column) for row in (1, 2) for column in (0, 1)}


def test_aligned_corners_divide_the_image_by_its_pixels_less_one() -> None:
    uv, size = torch.tensor([[0.5, 0.5]]), torch.tensor([[5, 9]])
    x, y = grid_coordinates(uv, size, (3, 4), True)[0].tolist()
    assert (x, y) == (2 * 3 / 4, 4 * 2 / 8)
    assert grid_coordinates(uv, size, (3, 4), False)[0].tolist() == [1.5, 1.0]
