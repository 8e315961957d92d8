"""What `clever cache-regions` says of a run."""

from pathlib import Path

from clever.cache.store.records.models import RegionInfo, RegionSettings
from clever.pipeline.cache_regions import RegionResult


def words(*failed: str) -> list[str]:
    settings = RegionSettings("segment", "files", (6, 9), name="sam")
    info = RegionInfo("regions/sam-6x9-0000", settings)
    reasons = [(name, "no mask") for name in failed]
    return str(RegionResult(Path("x.zarr"), info, 2, 2, reasons, 2_000_000, 0.015)).splitlines()


def test_the_share_is_that_of_frames_that_were_written() -> None:
    size = "2.00 MB, 1.5 % of a ViT-S layer (16x32, fp16) of the same frames"
    assert words()[2] == size
    assert words("a")[2] == size
    assert not any("ViT-S" in line for line in words("a", "b"))
    assert any("no mask" in line for line in words("a", "b"))


def test_a_run_with_nothing_to_do_counts_the_frames_that_have_regions() -> None:
    def first_line(*failed: tuple[str, str]) -> str:
        settings = RegionSettings("segment", "files", (6, 9), name="sam")
        info = RegionInfo("regions/sam-6x9-0000", settings)
        result = RegionResult(Path("x.zarr"), info, 3, 0, list(failed), 2_000_000, 0.015)
        return str(result).splitlines()[0]

    has = "nothing to do: x.zarr has regions/sam-6x9-0000 of"
    assert first_line() == f"{has} all 3 frames"
    assert first_line(("a", "no mask")) == f"{has} 2 of 3 frames"
