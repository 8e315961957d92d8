"""Cameras chosen by name."""

import pytest

from clever.errors import CleverError
from clever.pipeline.datasets.readers.cameras import choose_cameras


def test_cameras_come_in_the_order_asked_for() -> None:
    assert choose_cameras("d", None, ("a", "b"), ("c",)) == ("a", "b")
    assert choose_cameras("d", (), ("a", "b")) == ("a", "b")
    assert choose_cameras("d", ["c", "a"], ("a", "b"), ("c",)) == ("c", "a")


@pytest.mark.parametrize(
    ("cameras", "line"),
    [
        (["x", "a", "y"], "d has no camera x, y; choose `cameras` among a, b, c"),
        (["b", "a", "b"], "`cameras` names b twice; name each once"),
    ],
)
def test_wrong_cameras(cameras: list[str], line: str) -> None:
    with pytest.raises(CleverError) as error:
        choose_cameras("d", cameras, ("a", "b"), ("c",))
    assert str(error.value) == line
