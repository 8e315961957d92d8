"""SemanticSTF: labelled LiDAR scans in fog, rain and snow, without images."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import CleverError
from ..settings.shared.choices import ClassMean
from .readers.intensity import scale_option
from .readers.sequences import check_split
from .readers.sweep_dataset import SweepDataset
from .readers.sweep_files import class_table, sweep_names
from .readers.text_rows import listed_lines
from .semantickitti_classes import CLASSES

SPLITS = ("train", "val", "test")
WEATHERS = ("dense_fog", "light_fog", "snow", "rain")
"""Names in the weather lists."""
_UNLABELLED, _INVALID = 0, 20


class SemanticStfDataset(SweepDataset):
    """Single scans of a Velodyne HDL-64 S3D in adverse weather, for training from labels and for
    measuring; without cameras there is nothing for a teacher to see.

    Format, under ``root``, for each split:

    - ``<split>/velodyne/NAME.bin``: float32 x, y, z in metres, intensity 0-255, and a fifth column,
      which is dropped;
    - ``<split>/labels/NAME.label``: uint32, class in the lower 16 bits; may be missing;
    - ``<split>/<split>.txt``, needed for `weather` alone: lines ``NAME,WEATHER``. The release has
      one of ``val``.

    Classes: ids 1-19 are the 19 of SemanticKITTI in its order; 0, unlabelled, and 20, invalid (snow
    and fog in the air), are ignored. Splits: train 1,326, val 250, test 500 scans [R]. The mean IoU
    is taken over the classes that occur, as the authors do by weather. Licence: CC BY-NC-SA 4.0.

    Every scan is a scene of its own; there are no times and no poses. Half of the training scans,
    as in the paper's Table 6, is in OLIVINE's code every second one.

    Checked on real files: nothing. Scripted: a tree in the layout that the authors' README and
    loader state. [R]: remembered, not verified.

    Args:
        root: dataset folder.
        split: ``train``, ``val``, ``test`` or ``all``.
        weather: one of `WEATHERS`; None: all scans of the split.
        intensity_scale: full intensity in the sweeps, a positive number.

    Raises:
        CleverError: unknown split or weather, no scans, no weather list or a line that is none.
    """

    name: str = "semanticstf"
    class_names: tuple[str, ...] = CLASSES
    class_mean: ClassMean = "present"
    columns = 5
    table = class_table(
        [(raw,) for raw in range(1, len(CLASSES) + 1)], ignored=(_UNLABELLED, _INVALID)
    )

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        weather: str | None = None,
        intensity_scale: str | float = 255.0,
    ) -> None:
        self.intensity_scale = scale_option(intensity_scale)
        check_split(self.name, split, SPLITS)
        if weather is not None and weather not in WEATHERS:
            raise CleverError(
                f"semanticstf has no weather {weather!r}; choose {', '.join(WEATHERS)}"
            )
        self._root = Path(root)
        present = [name for name in SPLITS if (self._root / name / "velodyne").is_dir()]
        parts = present if split == "all" else [split]
        if not set(parts) & set(present):
            raise CleverError(
                f"{self._root} holds no {split if split != 'all' else 'train'}/velodyne; pass "
                "another `data_root` or `split`"
            )
        self.frame_ids: Sequence[str] = [
            f"{part}/{name}" for part in parts for name in self._names(part, weather)
        ]
        if not self.frame_ids:
            raise CleverError(f"{self._root} has no scan of {split} with the weather {weather}")
        self.scenes: Sequence[str] = self.frame_ids

    def sweep(self, index: int) -> Path:
        return self._file(index, "velodyne", "bin")

    def label_file(self, index: int) -> Path:
        return self._file(index, "labels", "label")

    def split_of(self, index: int) -> str:
        return self.frame_ids[index].partition("/")[0]

    def _file(self, index: int, part: str, ending: str) -> Path:
        split, _, name = self.frame_ids[index].partition("/")
        return self._root / split / part / f"{name}.{ending}"

    def _names(self, split: str, weather: str | None) -> list[str]:
        names = sweep_names(self._root / split / "velodyne")
        if weather is None:
            return names
        path = self._root / split / f"{split}.txt"
        of_name = _weathers(path)
        if unlisted := [name for name in names if name not in of_name]:
            raise CleverError(
                f"{path} lists no weather of {len(unlisted)} of {len(names)} scans, e.g. "
                f"{unlisted[0]}; restore the file"
            )
        return [name for name in names if of_name[name] == weather]


def _weathers(path: Path) -> dict[str, str]:
    """Weather of every scan of a list.

    Raises:
        CleverError: there is no list, or a line is not ``NAME,WEATHER``.
    """
    weathers: dict[str, str] = {}
    for number, line in listed_lines(path, "restore it or leave `weather` out").items():
        name, _, weather = line.partition(",")
        if weather not in WEATHERS:
            raise CleverError(
                f"{path} line {number} is not NAME,WEATHER with one of {', '.join(WEATHERS)}; "
                "restore the file"
            )
        weathers[name] = weather
    return weathers
