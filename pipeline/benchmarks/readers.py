"""Readers of the same frames, ours and others', each giving tensors in memory of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from ...cache import CachedFrame, FeatureCache
from ...cache.codec import decode
from ...cache.store.layout import UV_LEVELS, normalised_uv, pair_cameras, row_texts

OPTIONAL = ("tensorstore", "h5py")
"""Packages of the ``bench`` extra; their rows are left out where they are not installed."""
BASE = ("np.memmap", "fp16")
"""The reader, and what it holds, that the others are compared with."""
BY_URL = "clever file://"
"""Our reader as it reads a remote store, but for the network: what fsspec and zarr cost."""
TOKENS, RAGGED = "tokens", ("points", "pair_point", "pair_uv")


class Reader(Protocol):
    """Frames by number."""

    def tokens(self, index: int) -> Tensor:
        """(M, h, w, C) int8 or float16."""
        ...

    def frame(self, index: int) -> CachedFrame:
        """The whole frame."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A reader to be opened in any process.

    Attributes:
        name, codec: the reader and what it reads.
        open: makes it.
        files: what the tokens are read from.
        frame_bytes: stored bytes of a frame's tokens, on average.
    """

    name: str
    codec: str
    open: Callable[[], Reader]
    files: tuple[Path, ...]
    frame_bytes: float


class CleverReader:
    """Ours; by a URL through fsspec and zarr, as from a remote store."""

    def __init__(self, store: Path | str, layer: str) -> None:
        self._cache = FeatureCache(store, layer)

    def tokens(self, index: int) -> Tensor:
        return self._cache.tokens(index)

    def frame(self, index: int) -> CachedFrame:
        return self._cache[index]


class ArrayReader(ABC):
    """A reader of arrays that have a frame's tokens, points and pairs as our store has them.

    The small parts of a frame are kept ready from the start, as our reader does.
    """

    def __init__(self, store: Path, layer: str, frames: int) -> None:
        self._small = _small_parts(store, layer, frames)

    @abstractmethod
    def read(self, part: str, index: int) -> NDArray[Any]:
        """One of `TOKENS` and `RAGGED` as it is stored, in memory of its own."""

    def tokens(self, index: int) -> Tensor:
        return torch.from_numpy(self.read(TOKENS, index))

    def frame(self, index: int) -> CachedFrame:
        return replace(
            self._small[index].frame,
            tokens=self.tokens(index),
            points=torch.from_numpy(self.read("points", index)),
            pair_point=torch.from_numpy(self.read("pair_point", index).astype(np.int64)),
            pair_camera=torch.from_numpy(pair_cameras(self._small[index].offsets)),
            pair_uv=torch.from_numpy(normalised_uv(self.read("pair_uv", index))),
        )

    def _count(self, part: str, index: int) -> int:
        return self._small[index].points if part == "points" else self._small[index].offsets[-1]

    def _bounds(self) -> dict[str, list[int]]:
        """Where frames begin in concatenated arrays."""
        frames = range(len(self._small))
        return {
            part: [0, *accumulate(self._count(part, index) for index in frames)] for part in RAGGED
        }


class MemmapReader(ArrayReader):
    """``np.memmap`` of one array a part, ragged parts one frame after another."""

    def __init__(self, store: Path, layer: str, frames: int, folder: Path) -> None:
        super().__init__(store, layer, frames)
        self._arrays = {
            part: np.load(folder / f"{part}.npy", mmap_mode="r") for part in (TOKENS, *RAGGED)
        }
        self._start = self._bounds()

    def read(self, part: str, index: int) -> NDArray[Any]:
        if part == TOKENS:
            return np.array(self._arrays[part][index])
        return np.array(self._arrays[part][self._start[part][index] : self._start[part][index + 1]])


class H5Reader(ArrayReader):
    """h5py: one contiguous dataset a part."""

    def __init__(self, store: Path, layer: str, frames: int, folder: Path) -> None:
        import h5py

        super().__init__(store, layer, frames)
        self._file = h5py.File(folder / "frames.h5", "r")
        self._arrays: dict[str, Any] = {part: self._file[part] for part in (TOKENS, *RAGGED)}
        self._start = self._bounds()

    def read(self, part: str, index: int) -> NDArray[Any]:
        if part == TOKENS:
            return self._arrays[part][index]
        return self._arrays[part][self._start[part][index] : self._start[part][index + 1]]


class SafetensorsReader(ArrayReader):
    """safetensors: one tensor a frame and part, copied out of its map."""

    def __init__(self, store: Path, layer: str, frames: int, folder: Path) -> None:
        super().__init__(store, layer, frames)
        self._file: Any = safe_open(folder / "frames.safetensors", "pt")

    def read(self, part: str, index: int) -> NDArray[Any]:
        return self._file.get_tensor(f"{part}/{index}").clone().numpy()


class ZarrReader(ArrayReader):
    """zarr-python on our store."""

    def __init__(self, store: Path, layer: str, frames: int) -> None:
        super().__init__(store, layer, frames)
        root = zarr.open_group(store, mode="r")
        self._arrays: dict[str, Any] = {
            part: root[path] for part, path in store_paths(layer).items()
        }
        ids = row_texts(np.asarray(root["frames/id"][...]))  # type: ignore[index]
        rows = {name: row for row, name in enumerate(ids)}
        self._rows = [rows[small.frame.id] for small in self._small]

    def read(self, part: str, index: int) -> NDArray[Any]:
        row = self._rows[index]
        if part == TOKENS:
            return np.asarray(self._arrays[part][row])
        return np.asarray(self._arrays[part][row, : self._count(part, index)])


class TensorstoreReader(ZarrReader):
    """tensorstore on our store."""

    def __init__(self, store: Path, layer: str, frames: int) -> None:
        import tensorstore

        super().__init__(store, layer, frames)
        for part, path in store_paths(layer).items():
            spec = {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": str((store / path).resolve())},
            }
            self._arrays[part] = tensorstore.open(spec, open=True).result()

    def read(self, part: str, index: int) -> NDArray[Any]:
        row = self._rows[index]
        selected = (
            self._arrays[part][row]
            if part == TOKENS
            else self._arrays[part][row, : self._count(part, index)]
        )
        return selected.read().result()


def store_paths(layer: str) -> dict[str, str]:
    """Arrays of our store by part."""
    return {
        TOKENS: f"teachers/{layer}/grid",
        "points": "points/xyzi",
        "pair_point": "pairs/point",
        "pair_uv": "pairs/uv",
    }


@dataclass(frozen=True, slots=True)
class _SmallParts:
    """A frame without its large arrays, its number of points, and the CSR offsets of its pairs over
    the cameras."""

    frame: CachedFrame
    points: int
    offsets: list[int]


@lru_cache(maxsize=4)
def _small_parts(store: Path, layer: str, frames: int) -> list[_SmallParts]:
    cache, none, parts = FeatureCache(store, layer), torch.empty(0), []
    for number in range(frames):
        frame = cache[number]
        pairs = torch.bincount(frame.pair_camera, minlength=len(cache.cameras))
        small = replace(
            frame, tokens=none, points=none, pair_point=none, pair_camera=none, pair_uv=none
        )
        parts.append(_SmallParts(small, len(frame.points), [0, *pairs.cumsum(0).tolist()]))
    return parts


def sources(store: Path, layers: dict[str, str], frames: int, folder: Path) -> list[Source]:
    """`BASE`, our reader on every layer and on the first by its URL, and every other reader that
    is installed on the codes of the first layer.

    The first frames of the store are copied for those that need a format of their own: features as
    float16 for `BASE`, codes as they are stored for the others. Compressed codes are for readers of
    Zarr alone.

    Args:
        layers: teacher layers of the store by codec.
        folder: empty folder for the copies.
    """
    codec, layer = next(iter(layers.items()))
    readers = [_copy(store, layers.get("fp16", layer), frames, folder, "np.memmap", "fp16")]
    for name, own in layers.items():
        readers.append(
            Source("clever", name, partial(CleverReader, store, own), *_stored(store, own))
        )
    url = f"file://{store.absolute()}"
    reader = partial(CleverReader, url, layer)
    readers.append(Source(BY_URL, codec, reader, *_stored(store, layer)))
    for name, kind in (("zarr", ZarrReader), ("tensorstore", TensorstoreReader)):
        if installed(name):
            readers.append(
                Source(name, codec, partial(kind, store, layer, frames), *_stored(store, layer))
            )
    if codec != "int8-zstd":
        others = [("np.memmap", codec), ("safetensors", codec), ("h5py", codec)]
        readers += [
            _copy(store, layer, frames, folder, *one)
            for one in others
            if one != BASE and installed(one[0])
        ]
    return readers


def _stored(store: Path, layer: str) -> tuple[tuple[Path, ...], float]:
    """Shard files of a layer's tokens and their bytes a frame."""
    files = tuple(
        path for path in sorted((store / f"teachers/{layer}/grid/c").rglob("*")) if path.is_file()
    )
    return files, sum(path.stat().st_size for path in files) / len(FeatureCache(store, layer))


def _copy(store: Path, layer: str, frames: int, folder: Path, name: str, codec: str) -> Source:
    """Copy the first frames of a layer into the format of a reader."""
    kind, writer = {
        "np.memmap": (MemmapReader, _write_npy),
        "safetensors": (SafetensorsReader, _write_safetensors),
        "h5py": (H5Reader, _write_h5),
    }[name]
    own = folder / f"{name}-{codec}"
    own.mkdir()
    writer(own, _parts(FeatureCache(store, layer), frames, codec))
    files = tuple(sorted(own.iterdir()))
    reader = partial(kind, store, layer, frames, own)
    return Source(name, codec, reader, files, reader().tokens(0).nbytes)


def installed(name: str) -> bool:
    """Whether a reader's package is there."""
    return name not in OPTIONAL or find_spec(name) is not None


def _parts(cache: FeatureCache, frames: int, codec: str) -> dict[str, list[NDArray[Any]]]:
    """The arrays of the first frames by part, as stored; tokens as float16 features for another
    ``fp16``."""
    parts: dict[str, list[NDArray[Any]]] = {part: [] for part in (TOKENS, *RAGGED)}
    for number in range(frames):
        frame = cache[number]
        same_codec = codec == cache.teacher.codec
        tokens = frame.tokens if same_codec else decode(frame.tokens, frame.calibration).half()
        parts[TOKENS].append(tokens.numpy())
        parts["points"].append(frame.points.numpy())
        parts["pair_point"].append(frame.pair_point.numpy().astype(np.uint32))
        parts["pair_uv"].append(np.floor(frame.pair_uv.numpy() * UV_LEVELS).astype(np.uint16))
    return parts


def _write_npy(folder: Path, parts: dict[str, list[NDArray[Any]]]) -> None:
    for part, values in parts.items():
        np.save(
            folder / f"{part}.npy", np.stack(values) if part == TOKENS else np.concatenate(values)
        )


def _write_h5(folder: Path, parts: dict[str, list[NDArray[Any]]]) -> None:
    import h5py

    with h5py.File(folder / "frames.h5", "w") as file:
        for part, values in parts.items():
            file[part] = np.stack(values) if part == TOKENS else np.concatenate(values)


def _write_safetensors(folder: Path, parts: dict[str, list[NDArray[Any]]]) -> None:
    tensors = {
        f"{part}/{number}": value
        for part, values in parts.items()
        for number, value in enumerate(values)
    }
    save_file(tensors, folder / "frames.safetensors")


class Frames(torch.utils.data.Dataset[Any]):
    """A source as a dataset; each process opens it on its first read."""

    def __init__(self, source: Source, whole: bool) -> None:
        self._source, self._whole = source, whole
        self._reader: Reader | None = None

    def __getitem__(self, index: int) -> Tensor | CachedFrame:
        if self._reader is None:
            self._reader = self._source.open()
        return self._reader.frame(index) if self._whole else self._reader.tokens(index)


class Order(torch.utils.data.Sampler[int]):
    """Indices that may be changed between epochs."""

    def __init__(self) -> None:
        self.indices: Sequence[int] = ()

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
