"""What the outputs of a folder were made of, so that a changed source is noticed."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import CleverError, OutputError
from ...files import atomic_write

SOURCES_FILE = "sources.jsonl"
"""In the folder of the outputs: a JSON object a line, the last one of an output counts."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was when an output was made of it.

    Attributes:
        path: as it was given; of a dataset's frame its id.
        bytes: size.
        time: of its last change, nanoseconds.
        sha256: of its content.
        weights: digest of the weights that the output was made with.
    """

    path: str
    bytes: int
    time: int
    sha256: str
    weights: str

    @classmethod
    def of(cls, path: Path, weights: str) -> "Source":
        """The file as it is.

        Raises:
            CleverError: it cannot be read.
        """
        try:
            content, status = path.read_bytes(), path.stat()
        except OSError as error:
            advice = "give files" if path.is_dir() else "restore it or leave it out"
            raise CleverError(f"cannot read {path}: {error.strerror}; {advice}") from error
        digest = hashlib.sha256(content).hexdigest()
        return cls(str(path), status.st_size, status.st_mtime_ns, digest, weights)

    @classmethod
    def of_points(cls, frame: str, points: NDArray[np.float32], weights: str) -> "Source":
        """A frame of a dataset, by its points as they were read."""
        digest = hashlib.sha256(np.ascontiguousarray(points).data).hexdigest()
        return cls(frame, points.nbytes, 0, digest, weights)

    def still(self, path: Path, weights: str) -> bool:
        """Whether `path` and the weights are what they were: by size and time, or by content where
        the time alone differs."""
        if self.weights != weights or not path.is_file():
            return False
        status = path.stat()
        if status.st_size != self.bytes:
            return False
        return status.st_mtime_ns == self.time or Source.of(path, weights).sha256 == self.sha256


class Sources:
    """The sources of a folder's outputs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / SOURCES_FILE
        self._by_output: dict[str, Source] = {}
        text = self._text()
        *lines, torn = text.split("\n")
        if torn:  # the last line of a run that was killed
            atomic_write(self.path, "".join(f"{line}\n" for line in lines))
        for line in lines:
            try:
                record = json.loads(line)
                output = record.pop("output")
                self._by_output[output] = Source(**record)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise CleverError(
                    f"{self.path} is damaged ({error}); remove it, and all outputs are made again"
                ) from error

    def _text(self) -> str:
        """Content of the file; empty where there is none yet."""
        try:
            return self.path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise CleverError(
                f"{self.path} cannot be read ({error}); remove it, and all outputs are made again"
            ) from error

    def __len__(self) -> int:
        return len(self._by_output)

    def current(self, output: Path, source: Path, weights: str) -> bool:
        """Whether `output` is there and what it was made of has not changed."""
        record = self._by_output.get(self._name(output))
        return record is not None and output.exists() and record.still(source, weights)

    def holds(self, output: Path, source: Source) -> bool:
        """Whether `output` is there and was made of just that."""
        return self._by_output.get(self._name(output)) == source and output.exists()

    def note(self, output: Path, source: Source) -> None:
        """Add what an output was made of."""
        name = self._name(output)
        self._by_output[name] = source
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"output": name, **asdict(source)}) + "\n")
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; free the disk or choose another "
                "output"
            ) from error

    def _name(self, output: Path) -> str:
        return output.relative_to(self.folder).as_posix()
