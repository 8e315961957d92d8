"""DAPS-3D: labelled scans of a cleaning robot in parks, simulated and real, without images."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import CleverError
from ..settings.shared.choices import ClassMean
from .readers.intensity import scale_option
from .readers.sequences import choose_sequences, split_of
from .readers.sweep_dataset import SweepDataset
from .readers.sweep_files import class_table, sweep_names

_PARK = "38-18_7_72_90"
_OTHER_PARKS = ("42-48_10_78_90", "44-18_11_15_32")
SPLITS = {
    "daps-1": {
        "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
        "val": ("08",),
        "published": ("08",),
    },
    "daps-2": {"train": (_PARK,), "val": _OTHER_PARKS, "published": (_PARK, *_OTHER_PARKS)},
}
"""Sequences of each split of the two sets; ``published`` is what the authors validate on."""
RAW_IDS = {
    "vehicle": (10, 11, 13, 15, 16, 18, 20, 252, 256, 257, 258, 259),
    "human": (30, 31, 32, 253, 254, 255),
    "surface": (40, 44, 48, 49, 60, 72),
    "obstacle": (50, 51, 70, 71, 80, 81),
}
"""Raw ids, which are SemanticKITTI's, of each class."""
UNLABELLED = (0, 1, 52, 99)


class Daps3dDataset(SweepDataset):
    """Scans of a 64-beam Ouster OS0 (1024 x 64), for training from labels and for measuring;
    without cameras there is nothing for a teacher to see.

    Format, under ``root``, for each of the sets DAPS-1 (simulated from SemanticKITTI's streets, 11
    sequences 00-10, 23,056 scans) and DAPS-2 (a robot in a park, 3 sequences, 109 scans):

    - ``daps-1/data/SEQUENCE/clouds/NAME.bin``: float32 x, y, z in metres, the sensor's signal;
    - ``daps-1/data/SEQUENCE/labels/NAME.label``: uint32, class in the lower 16 bits; may be
      missing.

    The set's folder may be in capitals. The signal has no upper end and is about 41, with a
    standard deviation of 8, in DAPS-1: intensity is tanh(signal / `intensity_scale`).

    Classes: vehicle, human, surface and obstacle (`RAW_IDS`). Mean over those that occur: the
    authors' tables of DAPS-2 leave vehicle out (0.04 % of the points). Licence: code MIT, data not
    stated.

    Splits: DAPS-1 train 00-07, 09, 10, val 08. DAPS-2 train 38-18_7_72_90, val the two others. The
    authors, OLIVINE and so the paper's Table 6 validate DAPS-2 on all three sequences, the training
    one among them: ``published``. Such a figure is a measurement on training scans. A sequence
    holds a few dozen scans, so figures need several seeds.

    Checked on real files: nothing. Scripted: a tree in the layout that the authors' DATASET.md and
    loader state. There are no times and no poses.

    Args:
        root: dataset folder.
        version: ``daps-1`` or ``daps-2``; None: the one that is there.
        sequences: sequence folders; they win over `split`.
        split: ``train``, ``val``, ``published`` or ``all``.
        intensity_scale: signal that becomes tanh(1) = 0.76, a positive number.

    Raises:
        CleverError: no set, both where none was chosen, unknown split, no sequence of it, or one
            without sweeps.
    """

    name: str = "daps3d"
    class_names: tuple[str, ...] = tuple(RAW_IDS)
    label_ids: tuple[int, ...] = tuple(ids[0] for ids in RAW_IDS.values())
    class_mean: ClassMean = "present"
    table = class_table(RAW_IDS.values(), UNLABELLED)
    bounded: bool = False

    def __init__(
        self,
        root: Path | str,
        version: str | None = None,
        sequences: Sequence[str] | None = None,
        split: str = "train",
        intensity_scale: str | float = 100.0,
    ) -> None:
        self.intensity_scale = scale_option(intensity_scale)
        self._version, self._folder = _set_folder(Path(root), version)
        folders = sorted(path.parent.name for path in self._folder.glob("*/clouds"))
        names = choose_sequences(
            self.name, folders, sequences, split, SPLITS[self._version], self._folder
        )
        self.frame_ids: Sequence[str] = [
            f"{name}/{sweep}"
            for name in names
            for sweep in sweep_names(self._folder / name / "clouds")
        ]
        self.scenes: Sequence[str] = [frame_id.split("/")[0] for frame_id in self.frame_ids]

    def sweep(self, index: int) -> Path:
        return self._file(index, "clouds", "bin")

    def label_file(self, index: int) -> Path:
        return self._file(index, "labels", "label")

    def split_of(self, index: int) -> str:
        return split_of(self.scenes[index], SPLITS[self._version])

    def _file(self, index: int, part: str, ending: str) -> Path:
        sequence, name = self.frame_ids[index].split("/")
        return self._folder / sequence / part / f"{name}.{ending}"


def _set_folder(root: Path, version: str | None) -> tuple[str, Path]:
    """Name of a set and the folder of its sequences.

    Raises:
        CleverError: no such set, or both and none chosen.
    """
    folders = {
        path.parent.name.lower(): path
        for path in sorted(root.glob("*/data"))
        if path.parent.name.lower() in SPLITS
    }
    contents = f"{root} holds {' and '.join(folders) or 'none of ' + ', '.join(SPLITS)}"
    if version is None and len(folders) == 1:
        return next(iter(folders.items()))
    if version is None and folders:
        raise CleverError(f"{contents}; choose with `version`")
    if version is None or version not in folders:
        raise CleverError(
            f"no folder {version or 'daps-1'}/data: {contents}; pass another `version` or "
            "`data_root`"
        )
    return version, folders[version]
