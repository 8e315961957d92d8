"""What every benchmark shares: medians with spread, ratios inside a run, the machine, tables and
JSON."""

import json
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...files import atomic_write
from ..process.device import cores

Json = dict[str, Any]


def spread(values: Sequence[float]) -> Json:
    """Median and quartiles of the rounds."""
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return {"median": median, "low": low, "high": high, "rounds": list(values)}


def ratios(values: Sequence[float], base: Sequence[float]) -> Json:
    """`spread` of each round's value over the base's value of the same round."""
    return spread([value / other for value, other in zip(values, base, strict=True)])


def verdict(success: bool) -> str:
    """Whether a goal is reached, in a word."""
    return "met" if success else "missed"


def machine(packages: Iterable[str] = ()) -> Json:
    """Processor, cores, device and versions that a measurement belongs to."""
    names = ("clever-distiller", "torch", "numpy", *packages)
    return {
        "processor": _processor(),
        "cores": cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in names},
    }


def write_report(path: Path, name: str, settings: Json, where: Json, results: Json) -> None:
    """Write a benchmark's JSON, with date, command, machine and settings."""
    report = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["clever", *sys.argv[1:]]),
        "machine": where,
        "settings": settings,
        **results,
    }
    atomic_write(path, json.dumps(report, indent=1))


def machine_line(where: Mapping[str, Any]) -> str:
    """The machine in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items() if number)
    device = f", {where['gpu']}" if where["gpu"] else ""
    return f"{where['cores']} cores of {where['processor']}{device}; {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
