"""The tables of the nuScenes schema, version v1.0-mini with lidarseg, as the official devkit reads
them."""

import hashlib
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...files import atomic_write

VERSION = "v1.0-mini"
CATEGORIES = (
    "noise", "animal", "human.pedestrian.adult", "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris",
    "movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack",
    "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck", "flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain",
    "static.manmade",
    "static.other", "static.vegetation", "vehicle.ego",
)  # fmt: skip
"""Names of the 32 raw categories; their position is the label in the lidarseg files."""

_ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving",
)  # fmt: skip
_VISIBILITY = ((0, 40), (40, 60), (60, 80), (80, 100))
_TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose",
    "log", "scene",
    "sample", "sample_data", "sample_annotation", "map", "lidarseg",
)  # fmt: skip

Row = dict[str, Any]


def token(*parts: object) -> str:
    """A 32-digit token, the same for the same parts."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


class Tables:
    """Rows of every table; the fixed ones are there from the start."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {name: [] for name in _TABLES}
        for index, name in enumerate(CATEGORIES):
            self.add("category", token("category", name), name=name, description=name, index=index)
        for name in _ATTRIBUTES:
            self.add("attribute", token("attribute", name), name=name, description=name)
        for level, (low, high) in enumerate(_VISIBILITY, 1):
            text = f"visibility of whole object is between {low} and {high}%"
            self.add("visibility", str(level), level=f"v{low}-{high}", description=text)

    def add(self, table: str, key: str, **fields: object) -> str:
        """Append a row with its token; returns the token."""
        self.rows[table].append({"token": key, **fields})
        return key

    def link(self, table: str, *group: str) -> None:
        """Fill `prev` and `next` of each run of rows that agree in the fields `group`, in order of
        addition."""
        runs: dict[tuple[object, ...], list[Row]] = defaultdict(list)
        for row in self.rows[table]:
            runs[tuple(row[field] for field in group)].append(row)
        for run in runs.values():
            for row in run:
                row.update(prev="", next="")
            for before, after in pairwise(run):
                before["next"], after["prev"] = after["token"], before["token"]

    def write(self, root: Path) -> None:
        """Write one JSON file a table."""
        for name, rows in self.rows.items():
            atomic_write(root / VERSION / f"{name}.json", json.dumps(rows, indent=0))


def attribute(category: str, state: str) -> list[str]:
    """Attribute tokens of a box of a category whose thing is in a state such as ``moving`` or
    ``parked``."""
    kind = (
        "cycle" if category in ("vehicle.bicycle", "vehicle.motorcycle") else category.split(".")[0]
    )
    name = f"{'pedestrian' if kind == 'human' else kind}.{state}"
    return [token("attribute", name)] if name in _ATTRIBUTES else []


def visibility(share: float) -> str:
    """Token of the visibility level of a share in 0..1."""
    return str(1 + sum(share >= low / 100 for low, _ in _VISIBILITY[1:]))
