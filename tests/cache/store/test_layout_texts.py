"""Ids and names as bytes of a store: what does not fit or is no text is one line."""

import os

import pytest

from clever.cache.store.layout import TEXT_BYTES, row_texts, text_rows
from clever.errors import CleverError


def test_texts_come_back() -> None:
    texts = ["", "40/000001", "straße/ünï", "x" * TEXT_BYTES, "ß" * (TEXT_BYTES // 2)]
    assert row_texts(text_rows(texts, "frame id")) == texts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * (TEXT_BYTES + 1), f"is longer than {TEXT_BYTES} bytes; shorten it"),
        ("ß" * (TEXT_BYTES // 2) + "x", f"is longer than {TEXT_BYTES} bytes; shorten it"),
        (os.fsdecode(b"a/\xff"), "is no UTF-8; rename its file or folder"),
    ],
)
def test_what_no_store_keeps(text: str, reason: str) -> None:
    with pytest.raises(CleverError) as caught:
        text_rows(["a", text], "frame id")
    assert str(caught.value) == f"frame id {text!r} {reason}"
