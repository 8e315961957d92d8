"""`docs/kitti_from_drives.py` writes what `--split test` reads."""

import runpy
from pathlib import Path

from clever.pipeline.datasets.kitti import KittiDataset

SCRIPT = Path(__file__).parents[2] / "docs/kitti_from_drives.py"


def test_testing_has_the_frames_without_labels(tmp_path: Path) -> None:
    files = {"velodyne": "bin", "image_2": "png", "calib": "txt"}
    for part, ending in files.items():
        folder = tmp_path / "training" / part
        folder.mkdir(parents=True)
        for name in ("000003", "000004", "000005"):
            (folder / f"{name}.{ending}").write_text(f"{part} {name}")
    (tmp_path / "ImageSets").mkdir()
    runpy.run_path(str(SCRIPT))["write_testing"](tmp_path, ["000004", "000005"])
    testing = tmp_path / "testing"
    assert sorted(path.name for path in testing.iterdir()) == sorted(files)
    for part, ending in files.items():
        names = sorted(path.name for path in (testing / part).iterdir())
        assert names == [f"000004.{ending}", f"000005.{ending}"]
        assert (testing / part / names[0]).read_text() == f"{part} 000004"
    dataset = KittiDataset(tmp_path, split="test")
    assert dataset.frame_ids == ["testing/000004", "testing/000005"]
    assert not any(dataset.has_labels(index) for index in range(2))
