"""Counts and sizes in words."""

from clever.words import percent, quantity, storage


def test_one_is_no_plural() -> None:
    words = [quantity(count, "frame") for count in (0, 1, 2, 11)]
    assert words == ["0 frames", "1 frame", "2 frames", "11 frames"]
    assert [quantity(count, "pass", "passes") for count in (1, 3)] == ["1 pass", "3 passes"]


def test_bytes_have_the_unit_that_fits() -> None:
    sizes = (0.4, 999, 1_000, 1_250_000, 33_000_000_000, 1.5e12)
    assert [storage(size) for size in sizes] == [
        "0 B", "999 B", "1.0 kB", "1.2 MB", "33.0 GB", "1,500.0 GB",
    ]  # fmt: skip


def test_a_little_is_not_nothing() -> None:
    parts = (0, 1e-9, 0.00049, 0.0005, 0.0149, 0.5, 1)
    assert [percent(part) for part in parts] == [
        "0.0%", "<0.1%", "<0.1%", "0.1%", "1.5%", "50.0%", "100.0%",
    ]  # fmt: skip
