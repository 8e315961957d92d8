"""What every dataset of the table states of itself."""

import inspect

import pytest

from clever.pipeline.datasets.registry import DATASETS, dataset_class


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_says_what_it_reads(name: str) -> None:
    """Format, classes, splits and licence, and what was checked on real files."""
    words = inspect.getdoc(dataset_class(name)) or ""
    text = " ".join(words.split())
    for part in ("Format", "Splits|splits", "lasses", "Licence: ", "Checked on real files"):
        assert any(word in text for word in part.split("|")), f"{name} does not state {part}"
    # A fact from memory is marked, and the mark is explained.
    assert "[R]" not in text or "remembered, not verified" in text
