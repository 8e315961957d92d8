"""The reader's side of a store: frames as tensors, read straight from the shard files or,
elsewhere, through zarr."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import CleverError
from ..codec import Calibration
from ..moments import Moments
from . import layout
from .contents import unreadable
from .files.local import read_row
from .files.remote import any_path, names_in
from .layers import POINTS_ID, TEACHERS, TeacherLayer, choose_layer, place
from .layout import PAIR_POINT, PAIR_UV, POINTS, SHARD_ROWS, BlockArray
from .point_statistics import bounds_of
from .records.commits import committed_shards, read_commit, records_by_row
from .records.models import PointSettings, TeacherInfo, from_json
from .records.seals import METADATA, check_schema, warn_of_foreign
from .tables import FrameTable, status_column

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CachedFrame:
    """One frame of a store with N points, K pairs, M cameras and an (h, w) grid of C channels.

    Attributes:
        id, scene: frame id and scene name.
        timestamp: LiDAR timestamp in microseconds.
        global_from_lidar: (4, 4) float64.
        points: (N, 4) float32: x, y, z in metres in the LiDAR frame, intensity in [0, 1].
        pair_point: (K,) int64, index into `points`.
        pair_camera: (K,) int64, ascending.
        pair_uv: (K, 2) float32, normalised pixel ((u + 0.5) / W, (v + 0.5) / H), pixel centres at
            integers.
        image_size: (M, 2) int64, width and height in pixels.
        tokens: (M, h, w, C) int8 or float16, as stored; (K, C) of a layer of features of pairs.
        calibration: of the int8 codecs: feature = centre + step * token; None for fp16.
    """

    id: str
    scene: str
    timestamp: int
    global_from_lidar: Tensor
    points: Tensor
    pair_point: Tensor
    pair_camera: Tensor
    pair_uv: Tensor
    image_size: Tensor
    tokens: Tensor
    calibration: Calibration | None


class FeatureCache(Dataset[CachedFrame]):
    """A store opened for reading with one teacher: frames that are stored in both, in row order.

    Opens no file until it is needed and keeps none open (`local.read_row` maps what is read again
    and again), so it works under fork, spawn and forkserver and on a read-only store. Only the
    store is needed: no images, no dataset, no teacher.

    Args:
        path: local folder, or a URL that fsspec understands (``s3://...``).
        teacher: id of a layer or the beginning of one; may be left out when the store has a single
            teacher.

    Attributes:
        ids, scenes, splits: frame ids, their scenes, and the dataset's split of each, empty where
            it is unknown.
        teacher: the layer.
        calibration: of the int8 codecs; None for fp16.
        stored_moments: mean and deviation of every channel over all tokens; None where the store
            does not say, see `channel_moments`.

    Raises:
        CleverError: no store there, another schema, an unknown or ambiguous teacher, or no frame in
            it.
    """

    def __init__(self, path: str | Path, teacher: str | None = None) -> None:
        self.path = str(path)
        self._local = None if "://" in self.path else Path(path)
        self._remote: tuple[int, dict[str, Any]] = (0, {})
        root = self._open()
        attributes = dict(root.attrs)
        check_schema(attributes.get("format"), attributes.get("schema"), self.path)
        base = _validate(PointSettings, attributes["base"], f"{self.path}/zarr.json")
        self.name: str = base.dataset
        self.cameras: tuple[str, ...] = base.cameras
        self.teacher = _choose_teacher(root, teacher, self.path)
        warn_of_foreign(any_path(self.path))
        self._layer = TeacherLayer(self.teacher, len(self.cameras))
        group = root[self._layer.place.group]
        self.calibration = _calibration(group)
        self.stored_moments = _moments(group)
        ids, scenes = (
            layout.row_texts(np.asarray(root[f"frames/{name}"][...]))  # type: ignore[index]
            for name in ("id", "scene")
        )
        self._table, status = self._tables(root, group, len(ids))
        self._rows = np.flatnonzero((self._table.status == layout.OK) & (status == layout.OK))
        if not len(self._rows):
            raise CleverError(
                f"{self.path} holds no finished frame of {self.teacher.id}; run cache-teacher again"
            )
        self.ids = [ids[row] for row in self._rows]
        self.scenes = [scenes[row] for row in self._rows]
        self.splits = layout.row_texts(self._table.split[self._rows])
        self._positions = {frame: number for number, frame in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[CachedFrame]:
        return (self[number] for number in range(len(self)))

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """(N,) LiDAR timestamp of every frame in microseconds."""
        return self._table.timestamp[self._rows]

    def position(self, frame: str) -> int:
        """Position of a frame id; raises CleverError when it is not in the cache."""
        if frame not in self._positions:
            raise CleverError(
                f"{self.path} has no frame {frame!r}; `clever cache info` lists the scenes"
            )
        return self._positions[frame]

    def scene(self, name: str) -> list[int]:
        """Positions of the frames of a scene, in order."""
        return [number for number, scene in enumerate(self.scenes) if scene == name]

    def pair_count(self, index: int) -> int:
        """Number of pairs of a frame, without reading them."""
        return int(self._table.pairs[self._rows[index], -1])

    def bounds(self, index: int) -> NDArray[np.float32]:
        """(2, 3) lowest and highest x, y, z of a frame's points in metres; read from the points
        where the store does not say."""
        row = int(self._rows[index])
        bounds = self._table.bounds[row]
        if np.isfinite(bounds).all():
            return bounds
        return bounds_of(self._read_row(POINTS, row, int(self._table.points[row])))

    def tokens(self, index: int) -> Tensor:
        """(M, h, w, C) int8 or float16 tokens of a frame as stored, without the rest of it; (K, C)
        of a layer of features of pairs.

        Raises:
            CleverError: the shard is missing or damaged.
        """
        return self._read_tokens(int(self._rows[index]))

    def class_tokens(self, index: int) -> Tensor:
        """(M, C) float32 class tokens of a frame's images.

        Raises:
            CleverError: the layer holds none, or the shard is missing or damaged.
        """
        array = self._layer.class_token
        if array is None:
            raise CleverError(
                f"{self.teacher.id} of {self.path} holds no class tokens; make a layer that does "
                "with `class_token=yes` of cache-teacher"
            )
        row = int(self._rows[index])
        return torch.from_numpy(self._read_row(array, row, array.block))

    @overload
    def __getitem__(self, index: int) -> CachedFrame: ...
    @overload
    def __getitem__(self, index: slice) -> list[CachedFrame]: ...
    def __getitem__(self, index: int | slice) -> CachedFrame | list[CachedFrame]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        row = int(self._rows[index])
        number = index if index >= 0 else len(self) + index
        table = self._table
        pairs = int(table.pairs[row, -1])
        return CachedFrame(
            id=self.ids[number],
            scene=self.scenes[number],
            timestamp=int(table.timestamp[row]),
            global_from_lidar=torch.from_numpy(table.pose[row]),
            points=torch.from_numpy(self._read_row(POINTS, row, int(table.points[row]))),
            pair_point=torch.from_numpy(self._read_row(PAIR_POINT, row, pairs).astype(np.int64)),
            pair_camera=torch.from_numpy(layout.pair_cameras(table.pairs[row].tolist())),
            pair_uv=torch.from_numpy(layout.normalised_uv(self._read_row(PAIR_UV, row, pairs))),
            image_size=torch.from_numpy(table.image_size[row].astype(np.int64)),
            tokens=self._read_tokens(row),
            calibration=self.calibration,
        )

    def _open(self) -> zarr.Group:
        if self._local is not None and self._local.is_file():
            raise CleverError(f"{self.path} is a file; give the folder of a feature cache")
        try:
            return zarr.open_group(self.path, mode="r")
        except ImportError as error:
            raise CleverError(
                f"{self.path}: {' '.join(str(error).split())} (pip install "
                "'clever-distiller[remote]' for s3://)"
            ) from error
        except FileNotFoundError as error:
            raise CleverError(
                f"no feature cache at {self.path}; make one with `clever cache-teacher`"
            ) from error
        except Exception as error:  # a remote file system raises whatever its library does
            raise unreadable(self.path, error) from error

    def _remote_array(self, path: str) -> Any:
        """An array of a store elsewhere, opened once a process."""
        process, arrays = self._remote
        if process != os.getpid():
            arrays = {}
            self._remote = os.getpid(), arrays
        if path not in arrays:
            arrays[path] = self._open()[path]
        return arrays[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_remote": (0, {})}

    def _tables(
        self, root: zarr.Group, group: Any, rows: int
    ) -> tuple[FrameTable, NDArray[np.uint8]]:
        """The frame table and the teacher's status; from the commit records where a run was cut
        off."""
        if self._local is not None:
            base, layer = (
                committed_shards(self._local, name) for name in (POINTS_ID, self.teacher.id)
            )
            table_commits = (root["frames"].attrs.get("commits"), group.attrs.get("commits"))
            columns: list[Any] = [root.get(place(POINTS_ID).status), group.get("status")]
            if table_commits != (len(base), len(layer)) or any(
                getattr(column, "shape", ()) != (rows,) for column in columns
            ):
                records = records_by_row(
                    read_commit(self._local, POINTS_ID, shard) for shard in base
                )
                tokens = records_by_row(
                    read_commit(self._local, self.teacher.id, shard) for shard in layer
                )
                table = FrameTable.from_records(records, rows, len(self.cameras))
                return table, status_column(tokens, rows)
        return FrameTable.read(root["frames"]), np.asarray(group["status"][...])  # type: ignore

    def _read_row(self, array: BlockArray, row: int, count: int) -> NDArray[Any]:
        """The first `count` entries of a row."""
        if self._local is None:
            try:
                values = self._remote_array(array.path)[row, :count]
            except CleverError:
                raise
            except Exception as error:  # a remote file system raises whatever its library does
                raise unreadable(self.path, error) from error
            return np.ascontiguousarray(values, array.dtype)
        data = np.empty((-(-count // array.block) * array.block, *array.entry), array.dtype)
        for column in range(-(-count // array.capacity)):
            part = data[column * array.capacity : (column + 1) * array.capacity]
            path = f"{self._local}/{array.key(row // SHARD_ROWS, column)}"
            read_row(path, array, row % SHARD_ROWS, part)
        return data[:count]

    def _read_tokens(self, row: int) -> Tensor:
        """(M, h, w, C) as stored; tokens that a ``hit`` layer does not hold are zero. (K, C) of a
        layer of features of pairs."""
        tokens, mask_array = self._layer.tokens, self._layer.mask
        if self._layer.of_pairs:
            pairs = int(self._table.pairs[row, -1])
            return torch.from_numpy(self._read_row(tokens, row, pairs))
        if mask_array is None:
            return torch.from_numpy(self._read_row(tokens, row, tokens.block))
        mask = self._read_row(mask_array, row, mask_array.block).astype(bool)
        grid = np.zeros((*mask.shape, *tokens.entry), tokens.dtype)
        grid[mask] = self._read_row(tokens, row, int(mask.sum()))
        return torch.from_numpy(grid)


def _choose_teacher(root: zarr.Group, name: str | None, path: str) -> TeacherInfo:
    folder = any_path(path) / TEACHERS
    try:
        names = [each for each in names_in(folder) if (folder / each / METADATA).exists()]
    except OSError as error:
        raise unreadable(path, error) from error
    layer = choose_layer(names, name, path)
    attributes = dict(root[f"{TEACHERS}/{layer}"].attrs)
    fields = {
        field: attributes[field]
        for field in TeacherInfo.__dataclass_fields__
        if field in attributes
    }
    return _validate(TeacherInfo, fields, f"{path}/{place(layer).group}/zarr.json")


def _validate(kind: type[Value], attributes: Any, file: str) -> Value:
    """A model from a group's attributes; raises CleverError naming the file and the wrong field."""
    try:
        return from_json(kind, attributes)
    except ValueError as error:
        raise CleverError(f"{file} is damaged ({error}); run `clever cache verify`") from error


def _calibration(group: Any) -> Calibration | None:
    if "centre" not in group:
        return None
    arrays = (np.asarray(group[name][...]) for name in ("centre", "step"))
    return Calibration(*(torch.from_numpy(values) for values in arrays))


def _moments(group: Any) -> Moments | None:
    """As the views of a teacher layer say."""
    if "mean" not in group or "deviation" not in group:
        return None
    mean, deviation = (
        np.asarray(group[name][...], np.float64)  # type: ignore[index]
        for name in ("mean", "deviation")
    )
    return Moments(int(group.attrs["tokens_counted"]), mean, deviation)
