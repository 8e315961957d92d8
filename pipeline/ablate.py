"""A table of ablations from one cache: every combination of some settings, several seeds, mean and
spread."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import CleverError
from ..files import atomic_write
from .finetune import FinetuneResult, finetune
from .pretrain import PretrainResult, pretrain
from .results.ablation_table import UNTRAINED, AblateResult, RunFigures
from .results.run_folder import UNRECORDED, notice
from .settings.ablate import AblateSettings
from .settings.base import SETTINGS_FILE, JobSettings, save_settings
from .settings.finetune import FinetuneSettings
from .settings.pretrain import PretrainSettings

TABLE = "table.md"
RESULTS = "table.json"
SHARED = "shared"
"""Folder of the settings that all runs of a table share."""


def ablate(settings: AblateSettings) -> AblateResult:
    """Pre-train every combination with every seed, probe each, and write the table after every run.

    The table of a folder grows: rows of an earlier call with the same shared settings stay in it.

    Raises:
        CleverError: an unknown setting or value; a folder whose table has other shared settings;
            what `pretrain` and `finetune` raise.
    """
    rows = combinations(settings.vary)
    _check_rows(settings, rows)
    _share(settings)
    result = AblateResult(protocol=[], runs=[])
    for seed in settings.seeds:
        if settings.probe:
            probe = _probe(settings, UNTRAINED, seed, None, _pretraining(settings, rows[0], seed))
            result.runs.append(
                RunFigures(row=UNTRAINED, seed=seed, miou=100 * probe.evaluation.miou)
            )
        for row in rows:
            notice(f"{name_of(row)}, seed {seed}")
            training = _pretraining(settings, row, seed)
            run = pretrain(training)
            probe = (
                _probe(settings, name_of(row), seed, run.out, training) if settings.probe else None
            )
            result.runs.append(_run_figures(name_of(row), seed, run, probe))
            result.protocol = _protocol(run, probe)
            table = result.grown(_read_table(settings.out / RESULTS))
            atomic_write(settings.out / RESULTS, table.model_dump_json(indent=1))
            atomic_write(settings.out / TABLE, f"{table}\n")
    return _read_table(settings.out / RESULTS) or result


def _check_rows(settings: AblateSettings, rows: Sequence[dict[str, str]]) -> None:
    """Resolve every row, so that a wrong value shows before hours of training.

    Raises:
        CleverError: an unknown setting or value, or two rows that are the same run.
    """
    earlier: list[tuple[dict[str, str], PretrainSettings]] = []
    for row in rows:
        resolved = _pretraining(settings, row, settings.seeds[0])
        for other, twin in earlier:
            if not resolved.differences(twin, frozenset({"out"})):
                raise CleverError(
                    f"`vary` gives the same run twice: {name_of(other)} and {name_of(row)}; leave "
                    "one of them out"
                )
        earlier.append((row, resolved))


def _share(settings: AblateSettings) -> None:
    """Write down the settings that all runs of the folder share, or compare them.

    Raises:
        CleverError: the runs there share others.
    """
    shared: list[tuple[str, JobSettings]] = [
        ("pretrain", PretrainSettings.resolve(settings.pretrain, {}))
    ]
    if settings.probe:
        shared.append(("probe", FinetuneSettings.resolve(settings.probe, {})))
    for name, own in shared:
        folder = settings.out / SHARED / name
        if not (folder / SETTINGS_FILE).exists():
            save_settings(own, folder)
            continue
        earlier = type(own).recorded(folder / SETTINGS_FILE)
        differing = own.differences(earlier, UNRECORDED | {"seed"})
        if differing:
            raise CleverError(
                f"{settings.out} holds a table whose runs share other settings of {name} "
                f"({', '.join(differing)}); choose another `out`"
            )


def _read_table(path: Path) -> AblateResult | None:
    """The table of a folder, or None.

    Raises:
        CleverError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        return AblateResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise CleverError(
            f"{path} is damaged ({type(error).__name__}); remove it, and the same command makes it "
            "again from its runs"
        ) from error


def combinations(vary: Sequence[str]) -> list[dict[str, str]]:
    """``["a=1,2", "b=x"]`` to every combination of values.

    Raises:
        CleverError: something else than ``name=value,...``, or a name that is given twice.
    """
    names, values = [], []
    for text in vary:
        name, equals, value_list = text.partition("=")
        parts = [part.strip() for part in value_list.split(",") if part.strip()]
        name = name.strip().replace("-", "_")
        if not equals or not name or not parts:
            raise CleverError(
                f"`vary={text}`: should be a setting and its values, as in head=linear,mlp"
            )
        if name in names or name in ("seed", "out"):
            raise CleverError(f"`vary={text}`: {name} is given elsewhere already")
        names.append(name)
        values.append(parts)
    return [
        dict(zip(names, combination, strict=True)) for combination in itertools.product(*values)
    ]


def name_of(row: dict[str, str]) -> str:
    """``head=mlp occupancy_weight=0``."""
    return " ".join(f"{name}={value}" for name, value in row.items()) or "as given"


def _pretraining(settings: AblateSettings, row: dict[str, str], seed: int) -> PretrainSettings:
    out = settings.out / "runs" / f"{_folder(name_of(row))}-seed{seed}"
    return PretrainSettings.resolve(settings.pretrain, {**row, "seed": seed, "out": out})


def _probe(
    settings: AblateSettings,
    row: str,
    seed: int,
    checkpoint: Path | None,
    training: PretrainSettings,
) -> FinetuneResult:
    values: dict[str, Any] = {
        "seed": seed,
        "out": settings.out / "probes" / f"{_folder(row)}-seed{seed}",
    }
    if checkpoint:
        values["checkpoint"] = checkpoint
    else:
        values |= {
            "checkpoint": "none",
            "student": training.student,
            "voxel_size": training.voxel_size,
        }
    return finetune(FinetuneSettings.resolve(settings.probe, values))


def _folder(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "=._-" else "-" for letter in name)


def _run_figures(
    row: str, seed: int, run: PretrainResult, probe: FinetuneResult | None
) -> RunFigures:
    ranks = run.ranks
    return RunFigures(
        row=row,
        seed=seed,
        distillation=run.losses.last.get("distillation"),
        rankme=ranks and ranks.uncentred.rankme,
        rankme_centred=ranks and ranks.centred.rankme,
        matrix_rank=ranks and ranks.uncentred.matrix_rank,
        miou=100 * probe.evaluation.miou if probe else None,
    )


def _protocol(run: PretrainResult, probe: FinetuneResult | None) -> list[str]:
    """What the runs have in common, in words; they are of the last run, whose seed and folder are
    left out."""
    lines = [
        f"pre-training: {run.student}, {run.dataset}, {run.frames} frames, {run.epochs} epochs, "
        f"{run.steps} steps, "
        f"recipe {run.recipe}, {run.precision}, teacher {' and '.join(run.teachers)}; loss is the "
        "mean over the last "
        f"{run.losses.window} steps"
    ]
    if run.ranks:
        lines.append(
            f"ranks: backbone features of {run.ranks.rows} points of {run.ranks.frames} training "
            "frames"
        )
    if probe:
        training, scans = probe.training, probe.evaluation.frames
        details = training.details.removesuffix(f", seed {probe.seed}")
        lines.append(
            f"probe: {training.head}, {training.dataset} {training.frames} -> {scans} scans, "
            f"{details}, no TTA, "
            "all points"
        )
    return lines
