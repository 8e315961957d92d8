"""Label and result files of KITTI's object benchmark."""

from pathlib import Path

import numpy as np
import pytest

from clever.errors import FrameError
from clever.pipeline.datasets.readers.kitti_objects import KittiObjects, read_objects, write_objects

LABELS = """Car 0.25 1 -1.57 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59
DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10

"""


def test_columns_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "000001.txt"
    path.write_text(LABELS)
    ours = read_objects("f", path)
    assert ours.names == ("Car", "DontCare")
    assert (ours.truncated[0], ours.occluded[0], ours.alpha[0]) == (0.25, 1, -1.57)
    assert ours.image_boxes[0].tolist() == [587.01, 173.33, 614.12, 200.12]
    assert ours.sizes[0].tolist() == [3.64, 1.67, 1.65]
    assert ours.bottoms[0].tolist() == [-0.65, 1.71, 46.70]
    assert ours.rotations.tolist() == [-1.59, -10]
    assert ours.scores is None
    cars = ours[np.array([True, False])]
    assert (cars.names, cars.bottoms.tolist()) == (("Car",), [[-0.65, 1.71, 46.70]])
    path.write_text("")
    assert len(read_objects("f", path)) == 0


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    results = KittiObjects(
        ("Car", "Cyclist"),
        np.array([-1.0, 0.25]),
        np.array([-1.0, 2]),
        *(rng.uniform(-50, 50, shape) for shape in (2, (2, 4), (2, 3), (2, 3), 2, 2)),
    )
    path = tmp_path / "data" / "000002.txt"
    write_objects(path, results)
    words = path.read_text().splitlines()[0].split()
    assert len(words) == 16
    assert words[:3] == ["Car", "-1", "-1"]
    ours = read_objects("f", path, scored=True)
    assert ours.names == results.names
    for name in ("truncated", "occluded", "alpha", "image_boxes", "sizes", "bottoms", "rotations"):
        np.testing.assert_allclose(getattr(ours, name), getattr(results, name), atol=5.1e-7)
    assert ours.scores is not None
    assert results.scores is not None
    np.testing.assert_allclose(ours.scores, results.scores, atol=5.1e-7)
    one = ours[np.array([False, True])]
    assert one.scores is not None
    assert one.scores.tolist() == [ours.scores[1]]
    with pytest.raises(FrameError, match=r"line 1 has 15 numbers, not 14 after the name"):
        read_objects("f", path)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Car", "has 0 numbers, not 14"),
        ("Car " + "0 " * 13 + "x", "holds what is no number"),
        ("Car " + "0 " * 13 + "nan", "holds NaN or infinity"),
        ("Car " + "0 " * 7 + "-1 -1 -1 " + "0 " * 4, "has a Car of -1 x -1 x -1 m; DontCare alone"),
        ("Van " + "0 " * 7 + "1.5 0 4 " + "0 " * 4, "has a Van of 4 x 0 x 1.5 m; DontCare alone"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "000001.txt"
    path.write_text(LABELS + line)
    with pytest.raises(FrameError, match=rf"frame f: .*000001.txt line 4 {fault}.*restore"):
        read_objects("f", path)
    with pytest.raises(FrameError, match=r"cannot read the objects .*none.txt: No such file"):
        read_objects("f", tmp_path / "none.txt")
