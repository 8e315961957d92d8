"""Published weights as the run of a student: what fine-tuning and features start from."""

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from torch import Tensor

from ..errors import CleverError
from ..student.checkpoint import save_student
from ..student.choices import PTv3Form, ScalrIntensity
from ..student.published.imported import ImportedStudent
from ..student.published.pointcept import from_pointcept
from ..student.published.scalr import INTENSITIES, from_scalr, is_scalr
from .results.run_folder import Run, now, versions
from .settings.import_weights import ImportWeightsSettings

TABLES = ("state_dict", "model_point", "net", "model_state_dict", "model")
"""Where a checkpoint keeps its tensors: Pointcept's; ScaLR's of pre-training and of fine-tuning;
other trainers'."""
DEPTH = 3
"""Tables within tables that are looked into; a file may hold one that holds itself."""
NAMES_SHOWN = 5
"""Names of a table in an error."""
_SCALAR = np.float64(0).__reduce__()[0]
_NUMBERS = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),  # as NumPy 2 names it
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8", "?")),
]
"""Numbers of NumPy, which Pointcept's trainer keeps beside its weights (the best mIoU)."""


class ImportedWeights(BaseModel):
    """What was imported."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: Literal["import-weights"] = "import-weights"
    finished: str
    """UTC time, ISO 8601."""
    versions: dict[str, str]
    student: str
    ptv3_form: PTv3Form | None
    voxel_size: float
    network: str
    """What its publisher calls it."""
    publisher: str
    """Pointcept or ScaLR."""
    intensity: ScalrIntensity | None
    """Dataset whose intensities a student of ScaLR reads."""
    source: Path
    sha256: str
    """Of the file."""
    tensors: int
    left_out: tuple[str, ...]
    """Tensors of a head or classifier."""
    out: Path

    def __str__(self) -> str:
        form = f" ({self.ptv3_form})" if self.ptv3_form else ""
        omission = f", left out: {', '.join(self.left_out)}" if self.left_out else ""
        names = f" of {self.intensity}" if self.intensity else " (Pointcept's coord and strength)"
        return (
            f"{self.network} of {self.publisher} -> {self.student}{form}: {self.tensors} tensors"
            f"{omission}\n"
            f"input: x, y, z in metres and intensity in [0, 1]{names}, "
            f"voxels of {self.voxel_size:g} m, which the file does not say\n"
            f"{self.out}"
        )


def import_weights(settings: ImportWeightsSettings) -> ImportedWeights:
    """Read published weights and write them as a finished run.

    Raises:
        CleverError: the file cannot be read or holds no network that is a student here (see
            `from_pointcept` and `from_scalr`), `intensity` where it is needed or not, or `out`
            holds something else.
    """
    state = read_tensors(settings.file)
    imported = _imported(settings, state)
    digest = hashlib.sha256(settings.file.read_bytes()).hexdigest()
    run = Run.open(settings.out, settings)
    publisher, size = imported.publisher, imported.student.voxel_size
    origin = f"{imported.network} of {publisher}, {settings.file.name}, sha256 {digest[:12]}"
    save_student(run.folder, imported.student, {"origin": origin})
    result = ImportedWeights(
        finished=now(),
        versions=versions(),
        student=imported.student.name,
        ptv3_form=imported.student.ptv3_form,
        voxel_size=size,
        network=imported.network,
        publisher=publisher,
        intensity=settings.intensity,
        source=settings.file,
        sha256=digest,
        tensors=imported.tensors,
        left_out=imported.head_names,
        out=run.folder,
    )
    run.write_result(result)
    return result


def _imported(settings: ImportWeightsSettings, state: Mapping[str, Tensor]) -> ImportedStudent:
    source = str(settings.file)
    if not is_scalr(state):
        if settings.intensity is not None:
            raise CleverError(f"{source} is no checkpoint of ScaLR; leave `intensity` out")
        return from_pointcept(state, source, settings.voxel_size or 0.05)
    if settings.intensity is None:
        raise CleverError(
            f"{source} is a checkpoint of ScaLR, which scales intensities by their dataset; give "
            f"`intensity`, one of {', '.join(INTENSITIES)}"
        )
    return from_scalr(state, source, settings.voxel_size or 0.1, settings.intensity)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU. Nothing in the file is executed.

    Raises:
        CleverError: no such file, one that holds no table of tensors, or one that cannot be read
            without running what is in it.
    """
    if not path.is_file():
        raise CleverError(f"{path} is no file; give a checkpoint (.pth, .safetensors)")
    try:
        content = _load(path)
    except pickle.UnpicklingError as error:
        raise CleverError(
            f"{path} is no checkpoint or holds more than tensors and numbers; it is not unpickled. "
            "If you trust it, save its tensors alone: torch.save(torch.load(FILE, "
            'weights_only=False)["state_dict"], OUT)'
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, LookupError) as error:
        raise CleverError(f"{path} cannot be read as a checkpoint; get it again") from error
    table = content
    for _ in range(DEPTH):
        table = next(iter(_inner_tables(table)), table)
    if not _is_table(table) or not table or not all(isinstance(v, Tensor) for v in table.values()):
        shown = ", ".join(list(content)[:NAMES_SHOWN]) if _is_table(content) else ""
        raise CleverError(
            f"{path} holds no table of tensors, neither as a whole nor under {', '.join(TABLES)}"
            f"{f'; its names begin with {shown}' if shown else ''}"
        )
    return dict(table)


def _inner_tables(content: Any) -> list[Any]:
    """Tables in a table, under the names that hold tensors."""
    if not _is_table(content):
        return []
    return [content[name] for name in TABLES if isinstance(content.get(name), Mapping)]


def _is_table(content: object) -> bool:
    return isinstance(content, Mapping) and all(isinstance(name, str) for name in content)


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if fault := _damaged_record(path):
        raise ValueError(f"{fault} is not what was written")
    with warnings.catch_warnings(), torch.serialization.safe_globals(_NUMBERS):
        # What matters of a file in another pickle protocol is said in an error, if at all.
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _damaged_record(path: Path) -> str:
    """Name of a part of a zip file that differs from its checksum, which torch does not look at;
    empty where there is none, or where no part has a true one (torch can leave them out)."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        damaged = [name for name in names if not _is_whole(archive, name)]
    return damaged[0] if 0 < len(damaged) < len(names) else ""


def _is_whole(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        with archive.open(name) as record:
            while record.read(1 << 20):
                pass
    except zipfile.BadZipFile:
        return False
    return True
