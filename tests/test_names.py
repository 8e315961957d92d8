"""Names that tables, logs, lists of frames and terminals can hold, and text on one line."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clever.cache.store.layout import text_rows
from clever.errors import CleverError, FrameError
from clever.names import name_fault, visible
from clever.pipeline.datasets import build_dataset
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset

BAD = {
    "a\nb": "a line break character ('\\n')",
    "a\r": "a line break character ('\\r')",
    "a\x0bb": "a line break character ('\\x0b')",
    "\x85": "a line break character ('\\x85')",
    "a\u2028b": "a line break character ('\\u2028')",
    "\x1b[31mred": "a control character ('\\x1b')",
    "a\tb": "a control character ('\\t')",
    "a\x00": "a control character ('\\x00')",
    "a\x7f": "a control character ('\\x7f')",
    "\x9b2J": "a control character ('\\x9b')",
    "a\u202eb": "a control character ('\\u202e')",
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_name_holds(name: str) -> None:
    assert name_fault(name) == f"holds {BAD[name]}"
    with pytest.raises(CleverError, match=r"^frame id .* holds a .*; rename its file or folder$"):
        text_rows(["good", name], "frame id")


@pytest.mark.parametrize(
    "name", ["40/000012", "straße ünï", "夜 雨", "e\u0301", "a\u200db", "a'b\"c\\d|,;%s{}", "🚗"]
)
def test_what_names_hold(name: str) -> None:
    assert name_fault(name) == ""
    assert visible(name) == name
    text_rows([name], "frame id")


def test_a_name_that_is_no_utf8() -> None:
    assert name_fault("a\udcffb") == "is no UTF-8"
    assert visible("a\udcffb").encode() == rb"a\udcffb"


@given(st.text(st.characters()))
def test_any_text_is_shown_on_one_line(text: str) -> None:
    """It is one line by every count of lines, prints anywhere, and stays as it is shown again."""
    shown = visible(text)
    assert len(f"{shown}x".splitlines()) == 1
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    shown.encode()
    assert visible(shown) == shown


def test_errors_are_one_line_whatever_they_quote() -> None:
    error = FrameError("a\nb", "image \x1b[2J/x.png: no\tsuch file")
    assert str(error) == r"frame a\nb: image \x1b[2J/x.png: no\tsuch file"
    assert error.reason == r"image \x1b[2J/x.png: no\tsuch file"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.frame, again.reason) == (str(error), "a\nb", error.reason)


@pytest.mark.parametrize(
    ("attribute", "kind"),
    [("frame_ids", "frame"), ("scenes", "scene"), ("cameras", "camera"), ("class_names", "class")],
)
def test_no_dataset_opens_with_such_a_name(
    write_kitti: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, attribute: str, kind: str
) -> None:
    own = SemanticKittiDataset.__init__

    def renamed(self: Any, *values: Any, **options: Any) -> None:
        own(self, *values, **options)
        names = list(getattr(self, attribute))
        setattr(self, attribute, (*names[:-1], "x\x1b[31m\ny"))

    monkeypatch.setattr(SemanticKittiDataset, "__init__", renamed)
    # As the constructor of a dataset is looked at by its parameters.
    renamed.__wrapped__ = own  # type: ignore[attr-defined]
    root = write_kitti({"00": 2})
    with pytest.raises(CleverError) as error:
        build_dataset("semantickitti", root, sequences=["00"])
    assert str(error.value) == (
        rf"semantickitti: the name of the {kind} 'x\x1b[31m\ny' holds a control character "
        r"('\x1b'), which tables and lists cannot hold; rename it"
    )


@pytest.mark.parametrize(("attribute", "kind"), [("frame_ids", "frame"), ("scenes", "scene")])
def test_an_empty_name_is_none(
    write_kitti: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, attribute: str, kind: str
) -> None:
    """A store takes it for a hole between its frames."""
    own = SemanticKittiDataset.__init__

    def emptied(self: Any, *values: Any, **options: Any) -> None:
        own(self, *values, **options)
        setattr(self, attribute, [""] * len(self.frame_ids))

    emptied.__wrapped__ = own  # type: ignore[attr-defined]
    monkeypatch.setattr(SemanticKittiDataset, "__init__", emptied)
    with pytest.raises(CleverError, match=f"has a {kind} without a name; its names must not be"):
        build_dataset("semantickitti", write_kitti({"00": 1}), sequences=["00"])
