"""Settings of `clever make-drives`."""

from pathlib import Path

from pydantic import Field, field_validator

from .shared.base import JobSettings


class MakeDrivesSettings(JobSettings):
    """Settings of `make-drives`."""

    out: Path
    """Folder to write; must not exist or be empty."""
    scenes: int = Field(default=4, ge=1, le=9999)
    """Number of scenes, each another street; about a quarter of them, at least one of two, is held
    out as `val`."""
    keyframes: int = Field(default=10, ge=1, le=80)
    """Keyframes a scene, two a second."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything; the same settings give the same bytes."""
    image_width: int = Field(default=800, ge=64, le=3200)
    """Image width in pixels, a multiple of 16; the aspect is 16:9."""
    azimuths: int = Field(default=1080, ge=90, le=4320)
    """LiDAR firings a turn."""
    range_noise: float = Field(default=0.02, ge=0, le=0.1)
    """Standard deviation of LiDAR ranges in metres."""
    sweeps: int = Field(default=0, ge=0, le=9)
    """LiDAR sweeps before each keyframe, one every 50 ms, as files without labels or images."""
    workers: int | None = Field(default=None, ge=1)
    """Processes; one a core unless given."""

    @field_validator("image_width")
    @classmethod
    def _sixteenths(cls, value: int) -> int:
        if value % 16:
            raise ValueError("should be a multiple of 16")
        return value
