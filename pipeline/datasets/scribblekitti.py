"""ScribbleKITTI: SemanticKITTI whose training scans are labelled by scribbles."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import CleverError
from .semantickitti import SemanticKittiDataset


class ScribbleKittiDataset(SemanticKittiDataset):
    """SemanticKITTI with scribbles for training and full labels for everything else.

    Format: the folders of `SemanticKittiDataset`, with the same sequences, images and poses, over
    which the folders of scribblekitti.zip are laid:

    - ``scribbles/NNNNNN.label``, in the training sequences alone: as ``labels``, 0 where a point
      has no scribble; 8.06 % of the points have one.

    Classes and ids: those of SemanticKITTI. Splits: train 00-07, 09, 10 with scribbles, which alone
    are read there; val 08 with SemanticKITTI's full labels, all 4,071 scans (OLIVINE's code
    measures on every tenth of them); test 11-21. Mean over all 19 classes. Licence: CC BY-NC-SA 3.0
    [R].

    Checked on real files: nothing of the release. Scripted: a tree in its layout, and real scans of
    SemanticKITTI of whose labels scribbles were drawn. [R]: remembered, not verified.

    Args:
        root, sequences, split, intensity_scale: as in `SemanticKittiDataset`.

    Raises:
        CleverError: as there, and training sequences none of which has scribbles.
    """

    name: str = "scribblekitti"

    def __init__(
        self,
        root: Path | str,
        sequences: Sequence[str] | None = None,
        split: str = "train",
        intensity_scale: str | float = 1.0,
    ) -> None:
        super().__init__(root, sequences, split, intensity_scale)
        training = [index for index in range(len(self)) if self.split_of(index) == "train"]
        folders = list(dict.fromkeys(self.label_file(index).parent for index in training))
        if folders and not any(folder.is_dir() for folder in folders):
            raise CleverError(
                f"none of {len(folders)} training sequences has scribbles, e.g. {folders[0]}; "
                "unpack scribblekitti.zip over the folder of SemanticKITTI"
            )

    def label_file(self, index: int) -> Path:
        full = super().label_file(index)
        if self.split_of(index) != "train":
            return full
        return full.parent.with_name("scribbles") / full.name
