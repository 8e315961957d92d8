"""Settings of `clever ablate`."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from .base import JobSettings


def _numbers(value: object) -> object:
    return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse a seed that comes twice: it would be one run."""
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise ValueError(f"{seed} is given {seeds.count(seed)} times; give each seed once")
    return seeds


class AblateSettings(JobSettings):
    """Settings of `clever ablate`."""

    pretrain: Path
    """YAML file with the settings of `clever pretrain` that all runs share."""
    probe: Path | None = None
    """YAML file with those of `clever finetune` for the probe of each run; default: no probe."""
    vary: tuple[str, ...] = ()
    """NAME=VALUE,...: a setting of `clever pretrain` and its values, as in head=linear,mlp; given
    several times, every combination."""
    seeds: Annotated[
        tuple[int, ...], BeforeValidator(_numbers), AfterValidator(_once), Field(min_length=1)
    ] = (0, 1, 2)
    """Seeds of each combination, with commas."""
    out: Path
    """Folder of the runs and the table. What is finished there is not done again."""
