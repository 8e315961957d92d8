"""Readers of the same frames, ours and others', each giving tensors in memory of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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

from ..cache import CachedFrame, FeatureCache
from ..cache.codec import decode
from ..cache.layout import UV_LEVELS, normalised_uv, pair_cameras, row_texts

OPTIONAL = ("tensorstore", "h5py")
"""Packages of the ``bench`` extra; their rows are left out where they are not installed."""
BASE = ("np.memmap", "fp16")
"""The reader, and what it holds, that the others are compared with."""
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
    """Ours."""

    def __init__(self, store: Path, layer: str) -> None:
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
        cache, none = FeatureCache(store, layer), torch.empty(0)
        self._offsets: list[list[int]] = []
        self._points: list[int] = []
        self._small: list[CachedFrame] = []
        for number in range(frames):
            frame = cache[number]
            self._offsets.append(pair_offsets(frame, len(cache.cameras)))
            self._points.append(len(frame.points))
            self._small.append(
                replace(frame, tokens=none, points=none, pair_point=none, pair_camera=none, pair_uv=none)
            )

    @abstractmethod
    def read(self, part: str, index: int) -> NDArray[Any]:
        """One of `TOKENS` and `RAGGED` as it is stored, in memory of its own."""

    def tokens(self, index: int) -> Tensor:
        return torch.from_numpy(self.read(TOKENS, index))

    def frame(self, index: int) -> CachedFrame:
        return replace(
            self._small[index],
            tokens=self.tokens(index),
            points=torch.from_numpy(self.read("points", index)),
            pair_point=torch.from_numpy(self.read("pair_point", index).astype(np.int64)),
            pair_camera=torch.from_numpy(pair_cameras(self._offsets[index])),
            pair_uv=torch.from_numpy(normalised_uv(self.read("pair_uv", index))),
        )

    def _count(self, part: str, index: int) -> int:
        return self._points[index] if part == "points" else self._offsets[index][-1]

    def _bounds(self) -> dict[str, list[int]]:
        """Where frames begin in concatenated arrays."""
        frames = range(len(self._small))
        return {part: [0, *accumulate(self._count(part, index) for index in frames)] for part in RAGGED}


class MemmapReader(ArrayReader):
    """``np.memmap`` of one array a part, ragged parts one frame after another."""

    def __init__(self, store: Path, layer: str, frames: int, folder: Path, codec: str) -> None:
        super().__init__(store, layer, frames)
        files = {part: folder / f"{part}.npy" for part in RAGGED} | {TOKENS: folder / f"{codec}.npy"}
        self._arrays = {part: np.load(file, mmap_mode="r") for part, file in files.items()}
        self._start = self._bounds()

    def read(self, part: str, index: int) -> NDArray[Any]:
        if part == TOKENS:
            return np.array(self._arrays[part][index])
        return np.array(self._arrays[part][self._start[part][index] : self._start[part][index + 1]])


class H5Reader(ArrayReader):
    """h5py: one contiguous dataset a part."""

    def __init__(self, store: Path, layer: str, frames: int, folder: Path, codec: str) -> None:
        import h5py

        super().__init__(store, layer, frames)
        self._file = h5py.File(folder / f"{codec}.h5", "r")
        self._arrays: dict[str, Any] = {part: self._file[part] for part in (TOKENS, *RAGGED)}
        self._start = self._bounds()

    def read(self, part: str, index: int) -> NDArray[Any]:
        if part == TOKENS:
            return self._arrays[part][index]
        return self._arrays[part][self._start[part][index] : self._start[part][index + 1]]


class SafetensorsReader(ArrayReader):
    """safetensors: one tensor a frame and part, copied out of its map."""

    def __init__(self, store: Path, layer: str, frames: int, folder: Path, codec: str) -> None:
        super().__init__(store, layer, frames)
        self._file: Any = safe_open(folder / f"{codec}.safetensors", "pt")

    def read(self, part: str, index: int) -> NDArray[Any]:
        return self._file.get_tensor(f"{part}/{index}").clone().numpy()


class ZarrReader(ArrayReader):
    """zarr-python on our store."""

    def __init__(self, store: Path, layer: str, frames: int) -> None:
        super().__init__(store, layer, frames)
        root = zarr.open_group(store, mode="r")
        self._arrays: dict[str, Any] = {part: root[path] for part, path in store_paths(layer).items()}
        rows = {name: row for row, name in enumerate(row_texts(np.asarray(root["frames/id"][...])))}  # type: ignore[index]
        self._rows = [rows[frame.id] for frame in self._small]

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
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str((store / path).absolute())}}
            self._arrays[part] = tensorstore.open(spec, open=True).result()

    def read(self, part: str, index: int) -> NDArray[Any]:
        row = self._rows[index]
        selected = self._arrays[part][row] if part == TOKENS else self._arrays[part][row, : self._count(part, index)]
        return selected.read().result()


def store_paths(layer: str) -> dict[str, str]:
    """Arrays of our store by part."""
    return {
        TOKENS: f"teachers/{layer}/grid",
        "points": "points/xyzi",
        "pair_point": "pairs/point",
        "pair_uv": "pairs/uv",
    }


def pair_offsets(frame: CachedFrame, cameras: int) -> list[int]:
    """CSR offsets of a frame's pairs over the cameras."""
    return [0, *torch.bincount(frame.pair_camera, minlength=cameras).cumsum(0).tolist()]


def sources(store: Path, layers: dict[str, str], frames: int, folder: Path) -> list[Source]:
    """Every reader that is installed, on every codec that it can hold.

    The first frames of the store are copied for those that need a format of their own: the codes as they are stored,
    and the features as float16. Compressed codes are for the readers of Zarr alone.

    Args:
        layers: teacher layers of the store by codec.
        folder: empty folder for the copies.
    """
    found: list[Source] = []
    on_store = {"clever": CleverReader, "zarr": ZarrReader, "tensorstore": TensorstoreReader}
    on_copy = {"np.memmap": MemmapReader, "safetensors": SafetensorsReader, "h5py": H5Reader}
    suffix = {"np.memmap": "npy", "safetensors": "safetensors", "h5py": "h5"}
    for codec, layer in layers.items():
        files = tuple(path for path in sorted((store / f"teachers/{layer}/grid/c").rglob("*")) if path.is_file())
        size = sum(path.stat().st_size for path in files) / len(FeatureCache(store, layer))
        for name, kind in on_store.items():
            if installed(name):
                own = () if kind is CleverReader else (frames,)
                found.append(Source(name, codec, partial(kind, store, layer, *own), files, size))
    copied = {codec: layer for codec, layer in layers.items() if codec != "int8-zstd"}
    copied.setdefault("fp16", next(iter(layers.values())))
    for codec, layer in copied.items():
        write_copies(FeatureCache(store, layer), frames, folder, codec)
        for name, kind in on_copy.items():
            if installed(name):
                file = folder / f"{codec}.{suffix[name]}"
                reader = partial(kind, store, layer, frames, folder, codec)
                found.append(Source(name, codec, reader, (file,), file.stat().st_size / frames))
    return sorted(found, key=lambda source: (source.name, source.codec) != BASE)


def installed(name: str) -> bool:
    """Whether a reader's package is there."""
    return name not in OPTIONAL or find_spec(name) is not None


def write_copies(cache: FeatureCache, frames: int, folder: Path, codec: str) -> None:
    """Copies of the first frames for the readers of other formats; the tokens as ``int8`` codes or ``fp16``."""
    parts: dict[str, list[NDArray[Any]]] = {part: [] for part in (TOKENS, *RAGGED)}
    for number in range(frames):
        frame = cache[number]
        whole = frame.tokens if codec != "fp16" else decode(frame.tokens, frame.centre, frame.step).half()
        parts[TOKENS].append(whole.numpy())
        parts["points"].append(frame.points.numpy())
        parts["pair_point"].append(frame.pair_point.numpy().astype(np.uint32))
        parts["pair_uv"].append(np.floor(frame.pair_uv.numpy() * UV_LEVELS).astype(np.uint16))
    tensors = {f"{part}/{number}": value for part, values in parts.items() for number, value in enumerate(values)}
    save_file(tensors, folder / f"{codec}.safetensors")
    joined = {part: np.concatenate(values) for part, values in parts.items() if part != TOKENS}
    joined[TOKENS] = np.stack(parts[TOKENS])
    for part, values in joined.items():
        np.save(folder / (f"{codec}.npy" if part == TOKENS else f"{part}.npy"), values)
    if installed("h5py"):
        import h5py

        with h5py.File(folder / f"{codec}.h5", "w") as file:
            for part, values in joined.items():
                file[part] = values


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

    def __iter__(self):  # noqa: ANN204
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
