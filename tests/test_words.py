"""Counts in words."""

from clever.words import quantity


def test_one_is_no_plural() -> None:
    words = [quantity(count, "frame") for count in (0, 1, 2, 11)]
    assert words == ["0 frames", "1 frame", "2 frames", "11 frames"]
    assert [quantity(count, "pass", "passes") for count in (1, 3)] == ["1 pass", "3 passes"]
