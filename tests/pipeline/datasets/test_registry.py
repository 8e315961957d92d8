"""What every dataset of the table states of itself."""

import inspect
from pathlib import Path

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


@pytest.mark.parametrize("name", DATASETS)
def test_the_page_on_datasets_has_a_row_of_each(name: str) -> None:
    page = Path(__file__).parents[3].joinpath("docs/datasets.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith(f"| [`{name}`](#")]
    anchor = row.split("(#")[1].split(")")[0]
    headings = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
