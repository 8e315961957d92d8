"""Layers: what each one is, which arrays it has and where its records lie.

A further kind of layer is a subclass of `Layer` and a line in `place`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import CleverError
from ..choices import INTERPOLATED
from . import layout
from .layout import BLOCK_ARRAYS, PAIR_POINT, PAIR_UV, POINTS, BlockArray
from .records.models import (
    Content,
    FrameRecord,
    PointContent,
    PointSettings,
    RegionContent,
    RegionInfo,
    SweepInfo,
    TeacherContent,
    TeacherInfo,
)

POINTS_ID = "points"
TEACHERS = "teachers"
"""Folder of the teacher layers."""
REGIONS = "regions"
"""Folder of the layers of regions, with which their ids begin."""
SWEEPS = "sweeps"
"""Folder of the layers of earlier sweeps, with which their ids begin."""
_OF_LAYER = re.compile(r"/(zarr\.json$|commits/|c/)")
"""What lies in the folder of a layer: metadata, records, seal and shards."""
NO_REGION = 65535
"""What a map of regions has where there is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer lies in a store; its id alone says so.

    Attributes:
        id: of the layer.
        group: the Zarr group of its tables.
        array: the array whose folder holds its commit records and its seal.
    """

    id: str
    group: str
    array: str

    @property
    def is_points(self) -> bool:
        """Whether this is the layer of points and pairs."""
        return self.id == POINTS_ID

    @property
    def is_regions(self) -> bool:
        """Whether this is a layer of regions."""
        return self.id.startswith(f"{REGIONS}/")

    @property
    def is_sweeps(self) -> bool:
        """Whether this is a layer of earlier sweeps."""
        return self.id.startswith(f"{SWEEPS}/")

    @property
    def status(self) -> str:
        """The array that says which rows are stored."""
        return f"{self.group}/status"

    @property
    def commits(self) -> str:
        """Folder of the commit records and of the seal."""
        return f"{self.array}/commits"

    @property
    def seal(self) -> str:
        """File of the seal."""
        return f"{self.commits}/seal.json"

    def commit(self, shard: int) -> str:
        """File of a commit record."""
        return f"{self.commits}/{shard:06}.json"


def place(layer: str) -> Place:
    """Where the layer with this id lies."""
    if layer == POINTS_ID:
        return Place(POINTS_ID, "frames", POINTS.path)
    if layer.startswith(f"{REGIONS}/"):
        return Place(layer, layer, f"{layer}/map")
    if layer.startswith(f"{SWEEPS}/"):
        return Place(layer, layer, f"{layer}/xyzi")
    return Place(layer, f"{TEACHERS}/{layer}", f"{TEACHERS}/{layer}/grid")


def layers_of_files(names: Iterable[str]) -> list[str]:
    """Ids of the layers beside points and pairs to which files inside a store belong: teachers,
    then regions, then sweeps. Folders that hold nothing of a layer are none."""
    parts = [name.split("/") for name in names if _OF_LAYER.search(name)]
    teachers = {part[1] for part in parts if part[0] == TEACHERS and part[2:]}
    regions = {f"{REGIONS}/{part[1]}" for part in parts if part[0] == REGIONS and part[2:]}
    sweeps = {f"{SWEEPS}/{part[1]}" for part in parts if part[0] == SWEEPS and part[2:]}
    return [*sorted(teachers), *sorted(regions), *sorted(sweeps)]


class Layer(ABC):
    """One layer of a store: points and pairs, a teacher's features, or regions.

    Args:
        id: of the layer.
        cameras: number of cameras.

    Attributes:
        place: where it lies.
        arrays: its sharded arrays; the folder of the first holds the commit records.
    """

    def __init__(self, layer: str, cameras: int) -> None:
        self.id, self.cameras, self.place = layer, cameras, place(layer)

    @property
    @abstractmethod
    def arrays(self) -> Sequence[BlockArray]:
        """The sharded arrays."""

    @abstractmethod
    def checksum_name(self, array: BlockArray) -> str:
        """Key of an array in `FrameRecord.checksums`."""

    @abstractmethod
    def most_entries(self, array: BlockArray, record: FrameRecord) -> int:
        """Entries of a frame in `array`; of a ``hit`` layer's tokens the most there can be."""

    @property
    def folders(self) -> list[str]:
        """The folders inside the store that hold all of the layer's bytes."""
        return [array.path for array in self.arrays]


class PointLayer(Layer):
    """Points and pairs."""

    def __init__(self, base: PointSettings) -> None:
        super().__init__(POINTS_ID, len(base.cameras))
        self.base = base

    @property
    def arrays(self) -> Sequence[BlockArray]:
        """Points, and point and pixel of the pairs."""
        return BLOCK_ARRAYS

    def checksum_name(self, array: BlockArray) -> str:
        """Key of an array in `FrameRecord.checksums`."""
        names = {POINTS: "points", PAIR_POINT: "pair_point", PAIR_UV: "pair_uv"}
        return next(
            name for checked_array, name in names.items() if checked_array.path == array.path
        )

    def most_entries(self, array: BlockArray, record: FrameRecord) -> int:
        """Points or pairs of a frame."""
        return record.points if array.path == POINTS.path else record.pairs


class TeacherLayer(Layer):
    """A teacher's features."""

    def __init__(self, info: TeacherInfo, cameras: int) -> None:
        super().__init__(info.id, cameras)
        self.info = info

    @property
    def arrays(self) -> Sequence[BlockArray]:
        """The tokens; for ``hit`` layers, which ones are stored; the class tokens, if any."""
        further = (array for array in (self.mask, self.class_token) if array)
        return [self.tokens, *further]

    @property
    def tokens(self) -> BlockArray:
        """The array of tokens."""
        return layout.grid_array(self.id, self._grid, self.info.codec, self.info.tokens)

    @property
    def of_pairs(self) -> bool:
        """Whether it stores a feature of every pair and no tokens."""
        return self.info.tokens in INTERPOLATED

    @property
    def mask(self) -> BlockArray | None:
        """Which tokens a ``hit`` layer stores."""
        return layout.hit_array(self.id, self._grid) if self.info.tokens == "hit" else None

    @property
    def class_token(self) -> BlockArray | None:
        """The class token of every camera; None where the layer has none."""
        if not self.info.fingerprint.class_token:
            return None
        return layout.class_token_array(self.id, self.cameras, self.info.channels)

    @property
    def _grid(self) -> tuple[int, int, int, int]:
        return (self.cameras, *self.info.grid, self.info.channels)

    def checksum_name(self, array: BlockArray) -> str:
        """Key of an array in `FrameRecord.checksums`."""
        return array.path.rpartition("/")[2]

    def most_entries(self, array: BlockArray, record: FrameRecord) -> int:
        """The whole grid, or the frame's pairs."""
        if self.of_pairs and array.path == self.tokens.path:
            return record.pairs if record.offsets else 0
        return array.capacity

    @property
    def folders(self) -> list[str]:
        """The layer's own group."""
        return [self.place.group]


class RegionLayer(Layer):
    """Regions of the images."""

    def __init__(self, info: RegionInfo, cameras: int) -> None:
        super().__init__(info.id, cameras)
        self.info = info

    @property
    def map(self) -> BlockArray:
        """The region of every pixel of every camera."""
        return layout.region_array(self.id, self.cameras, self.info.settings.size)

    @property
    def arrays(self) -> Sequence[BlockArray]:
        """The maps alone."""
        return (self.map,)

    def checksum_name(self, array: BlockArray) -> str:
        """Key of an array in `FrameRecord.checksums`."""
        return "map"

    def most_entries(self, array: BlockArray, record: FrameRecord) -> int:
        """All cameras."""
        return array.capacity

    @property
    def folders(self) -> list[str]:
        """The layer's own group."""
        return [self.place.group]


class SweepLayer(Layer):
    """Earlier sweeps in the LiDAR frame of each frame."""

    def __init__(self, info: SweepInfo, cameras: int) -> None:
        super().__init__(info.id, cameras)
        self.info = info
        self.points, self.pair_point, self.pair_uv = layout.sweep_arrays(info.id)

    @property
    def arrays(self) -> Sequence[BlockArray]:
        """Points, and point and pixel of their pairs where these are stored."""
        pairs = (self.pair_point, self.pair_uv) if self.info.pairs else ()
        return (self.points, *pairs)

    def checksum_name(self, array: BlockArray) -> str:
        """Key of an array in `FrameRecord.checksums`."""
        return array.path.rpartition("/")[2]

    def most_entries(self, array: BlockArray, record: FrameRecord) -> int:
        """Points or pairs of a frame."""
        return record.points if array.path == self.points.path else record.pairs

    @property
    def folders(self) -> list[str]:
        """The layer's own group."""
        return [self.place.group]


def layer_of(content: Content, cameras: int) -> Layer:
    """The layer that the content of a seal describes."""
    if isinstance(content, PointContent):
        return PointLayer(content.base)
    if isinstance(content, TeacherContent):
        return TeacherLayer(content.info, cameras)
    if isinstance(content, RegionContent):
        return RegionLayer(content.info, cameras)
    return SweepLayer(content.info, cameras)


def choose_layer(layers: Sequence[str], name: str | None, store: str, exact: bool = False) -> str:
    """The teacher layer that a name means: the one of this id, else the only one that begins so.

    Args:
        layers: ids of the store's teacher layers.
        name: an id or the beginning of one; None where there is a single layer.
        store: the store's path, for the message.
        exact: whether the beginning of an id is not enough.

    Raises:
        CleverError: none or several fit.
    """
    if name is not None and name in layers:
        return name
    layer_list = ", ".join(sorted(layers)) or "none"
    if exact:
        raise CleverError(f"{store} has no teacher {name!r}; it has {layer_list}")
    matches = [layer for layer in layers if name is None or layer.startswith(name)]
    if len(matches) != 1:
        hint = (
            f"teacher {name!r} fits {len(matches)} of them" if name else "choose one with `teacher`"
        )
        hint += " (`clever cache info` tells them apart)"
        raise CleverError(f"{store} has the teachers {layer_list}; {hint}")
    return matches[0]


def choose_regions(layers: Sequence[str], name: str | None, store: str) -> str:
    """The layer of regions that a name means, as `choose_layer`; ``regions/`` may be left out.

    Raises:
        CleverError: none or several fit.
    """
    prefix = f"{REGIONS}/"
    full = name if name is None or name.startswith(prefix) else f"{prefix}{name}"
    if full is not None and full in layers:
        return full
    matches = [layer for layer in layers if full is None or layer.startswith(full)]
    if len(matches) == 1:
        return matches[0]
    if not layers:
        raise CleverError(f"{store} holds no regions; add some with `clever cache-regions`")
    hint = f"{name!r} fits {len(matches)} of them" if name else "choose one with `regions`"
    raise CleverError(f"{store} has the regions {', '.join(sorted(layers))}; {hint}")
