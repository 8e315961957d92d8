"""What a local store holds, from its seals and commit records alone; imports neither torch nor
zarr."""

import json
from functools import cached_property
from typing import Any

from ...errors import CleverError
from .files.remote import AnyPath
from .layers import (
    POINTS_ID,
    Layer,
    PointLayer,
    RegionLayer,
    SweepLayer,
    TeacherLayer,
    choose_layer,
    choose_regions,
    place,
)
from .layout import SHARD_ROWS
from .records import schema1
from .records.commits import committed_shards, read_commit
from .records.models import (
    Commit,
    Content,
    LayerContent,
    PointContent,
    PointSettings,
    RegionContent,
    RegionInfo,
    Seal,
    SweepContent,
    SweepInfo,
    TeacherContent,
    TeacherInfo,
)
from .records.seals import (
    check_schema,
    read_layer_seal,
    read_point_seal,
    sealed_regions,
    sealed_sweeps,
    sealed_teachers,
    warn_of_foreign,
)


def unreadable(place: AnyPath | str, error: Exception) -> CleverError:
    """The error of a place that does not answer, in one line."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return CleverError(
        f"{place} cannot be read ({reason or type(error).__name__}); check the place and its access"
    )


def read_attributes(folder: AnyPath) -> dict[str, Any]:
    """Attributes of a Zarr group.

    Raises:
        CleverError: no readable Zarr v3 group at `folder`.
    """
    path = folder / "zarr.json"
    try:
        return json.loads(path.read_bytes())["attributes"]
    except NotADirectoryError as error:
        raise CleverError(f"{folder} is a file; give the folder of a feature cache") from error
    except FileNotFoundError as error:
        raise CleverError(
            f"no feature cache at {folder}; make one with clever cache-teacher"
        ) from error
    except OSError as error:
        raise unreadable(folder, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CleverError(
            f"{path} is not the metadata of a feature cache ({error}); restore it from a copy"
        ) from error


class Contents:
    """What a store holds. Each seal is read once, when it is first asked for.

    Args:
        path: of the store.
        allow_schema1: whether a store of schema 1 is read too, as if it were of this schema.

    Attributes:
        ids, scenes: by row, "" for a hole.

    Raises:
        CleverError: no store there, one of another schema, or a damaged seal.
    """

    def __init__(self, path: AnyPath, allow_schema1: bool = False) -> None:
        self._path = path
        try:
            sealed = (path / place(POINTS_ID).seal).exists()
        except OSError as error:
            raise unreadable(path, error) from error
        if not sealed:
            attributes = read_attributes(path)
            if not allow_schema1 or attributes.get("schema") != schema1.SCHEMA:
                check_schema(attributes.get("format"), attributes.get("schema"), str(path))
        seal, self._schema = read_point_seal(path, allow_schema1)
        warn_of_foreign(path)
        self._point_seal: Seal[PointContent] = seal
        self._seals: dict[str, Seal[LayerContent]] = {}
        self.ids: list[str] = list(seal.content.ids)
        self.scenes: list[str] = list(seal.content.scenes)

    @property
    def path(self) -> AnyPath:
        """Folder of the store."""
        return self._path

    @property
    def base(self) -> PointSettings:
        """What decides points and pairs."""
        return self._point_seal.content.base

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return self.base.cameras

    @cached_property
    def points(self) -> PointLayer:
        """The layer of points and pairs."""
        return PointLayer(self.base)

    def layer(self, layer: str) -> Layer:
        """The layer with this id; raises CleverError where its seal cannot be read."""
        if layer == self.points.id:
            return self.points
        if place(layer).is_sweeps:
            return self.sweep_layer(layer)
        return self.region_layer(layer) if place(layer).is_regions else self.teacher_layer(layer)

    def layers(self) -> list[Layer]:
        """Points and pairs, then teachers, regions and sweeps, each by id."""
        teachers = (self.teacher_layer(info.id) for info in self.teachers())
        regions = (self.region_layer(info.id) for info in self.regions())
        return [self.points, *teachers, *regions, *map(self.sweep_layer, sealed_sweeps(self.path))]

    def sweep_layer(self, layer: str) -> SweepLayer:
        """The layer of earlier sweeps with this id."""
        content = self._layer_seal(layer).content
        assert isinstance(content, SweepContent)
        return SweepLayer(content.info, len(self.cameras))

    def sweeps(self) -> list[SweepInfo]:
        """Layers of earlier sweeps of the store, by id."""
        return [self.sweep_layer(layer).info for layer in sealed_sweeps(self.path)]

    def region_layer(self, layer: str) -> RegionLayer:
        """The layer of regions with this id."""
        return RegionLayer(self.region(layer), len(self.cameras))

    def regions(self) -> list[RegionInfo]:
        """Layers of regions of the store, by id."""
        return [self.region(layer) for layer in sealed_regions(self.path)]

    def region(self, layer: str) -> RegionInfo:
        """One layer of regions."""
        content = self._layer_seal(layer).content
        assert isinstance(content, RegionContent)
        return content.info

    def find_regions(self, name: str | None = None) -> RegionInfo:
        """The layer of regions whose id is `name` or begins so; see `choose_regions`."""
        return self.region(choose_regions(sealed_regions(self.path), name, str(self.path)))

    def teacher_layer(self, layer: str) -> TeacherLayer:
        """The teacher layer with this id."""
        return TeacherLayer(self.teacher(layer), len(self.cameras))

    def teachers(self) -> list[TeacherInfo]:
        """Teacher layers of the store, by id."""
        return [self.teacher(layer) for layer in sealed_teachers(self.path)]

    def teacher(self, layer: str) -> TeacherInfo:
        """One teacher layer."""
        return self.teacher_content(layer).info

    def teacher_content(self, layer: str) -> TeacherContent:
        """What the seal of a teacher layer says of it."""
        content = self._layer_seal(layer).content
        assert isinstance(content, TeacherContent)
        return content

    def find_teacher(self, name: str | None = None) -> TeacherInfo:
        """The teacher layer whose id is `name` or begins so; see `choose_layer`."""
        return self.teacher(choose_layer(sealed_teachers(self.path), name, str(self.path)))

    def calibration_gaps(self, info: TeacherInfo) -> list[str]:
        """Ids of the frames that the layer's calibration should have seen but could not read."""
        calibration = self.teacher_content(info.id).calibration
        return list(calibration.missing) if calibration else []

    def commits(self, layer: str) -> list[Commit]:
        """Commit records of a layer, by shard."""
        return [self.commit(layer, shard) for shard in committed_shards(self.path, layer)]

    def commit(self, layer: str, shard: int) -> Commit:
        """One commit record; raises CleverError when it is missing or damaged."""
        conversion = schema1.commit if self._schema == schema1.SCHEMA else None
        return read_commit(self.path, layer, shard, conversion)

    def shard_rows(self, shard: int) -> list[int]:
        """The used rows of a shard."""
        end = min((shard + 1) * SHARD_ROWS, len(self.ids))
        return [row for row in range(shard * SHARD_ROWS, end) if self.ids[row]]

    def _seal(self, layer: str) -> Seal[Content]:
        return self._point_seal if layer == self.points.id else self._layer_seal(layer)

    def _layer_seal(self, layer: str) -> Seal[LayerContent]:
        if layer not in self._seals:
            self._seals[layer] = read_layer_seal(self.path, layer, self._schema)
        return self._seals[layer]
