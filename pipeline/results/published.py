"""The paper's own figures, to print beside ours: Tables 1, 2, 3 and A2, of one run each, with a
ViT-S teacher and 100 epochs of pre-training; and what it prints of rivals (Tables 4 and A6)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..settings.pretrain import PretrainSettings

Place = tuple[str, str, float]
"""Dataset, mode (``probe`` or ``full``) and share of the annotated frames."""
PLACES: tuple[Place, ...] = (
    ("nuscenes", "probe", 1.0),
    ("nuscenes", "full", 0.01),
    ("semantickitti", "full", 0.01),
    ("waymo", "full", 0.01),
)
LINEAR = (1, 0)
"""Layers and width of a linear head."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of one of the paper's tables.

    Attributes:
        table: which one.
        student: of which it is.
        miou: percent, in the order of `PLACES`; None where it prints none.
        head: layers and width of the projection head.
        occupancy, mix3d: weight of the occupancy loss and probability of Mix3D in pre-training.
        name: of the variant in Table 3.
        ranks: RankMe and matrix rank, as far as they are given, by column.
    """

    table: str
    student: str
    miou: tuple[float | None, float | None, float | None, float | None]
    head: tuple[int, int] = (3, 2048)
    occupancy: float = 0.05
    mix3d: float = 0.8
    name: str = ""
    ranks: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What tells it from the other rows of its table, and the table."""
        layers, width = self.head
        own = self.name or {
            "Table 1": f"{layers} layers of {width}",
            "Table 2": f"occupancy weight {self.occupancy:g}",
            "Table A2": "without Mix3D",
        }.get(self.table, self.table)
        return f"{own} ({self.table})"

    def figure(self, place: Place) -> float | None:
        """mIoU in percent of a measurement; None where the paper has none."""
        return self.miou[PLACES.index(place)] if place in PLACES else None


MINKUNET, PTV3 = "minkunet34", "ptv3-256"
ROWS = (
    PublishedRow(
        "Table 3", MINKUNET, (40.76, 53.01, 44.42, 47.98), LINEAR, 0.0,
        name="linear head", ranks={"rankme": 1.89, "matrix_rank": 22},
    ),
    PublishedRow(
        "Table 3", MINKUNET, (41.67, 52.16, 48.19, 48.11), LINEAR,
        name="linear head + occupancy", ranks={"rankme": 2.33, "matrix_rank": 25},
    ),
    PublishedRow(
        "Table 3", MINKUNET, (46.36, 55.01, 50.15, 49.08), occupancy=0.0,
        name="MLP head", ranks={"rankme": 4.24, "matrix_rank": 33},
    ),
    PublishedRow(
        "Table 3", MINKUNET, (49.81, 56.90, 50.59, 50.99),
        name="MLP head + occupancy", ranks={"rankme": 5.27, "matrix_rank": 41},
    ),
    # Table 1's caption says PT-v3, but its first and last rows are those of Table 3.
    PublishedRow(
        "Table 1", MINKUNET, (45.46, 54.38, 50.09, 48.19), (2, 2048), 0.0, ranks={"rankme": 2.94}
    ),
    PublishedRow(
        "Table 1", MINKUNET, (44.79, 54.80, 50.10, 48.93), (3, 256), 0.0, ranks={"rankme": 4.18}
    ),
    PublishedRow("Table A2", MINKUNET, (48.95, 55.36, 49.03, 50.09), mix3d=0.0),
    PublishedRow("Table 2", PTV3, (55.72, 61.79, 56.30, 60.78), occupancy=0.0),
    PublishedRow("Table 2", PTV3, (56.49, 61.40, 57.01, 62.14), occupancy=0.01),
    PublishedRow("Table 2", PTV3, (58.49, 62.54, 62.19, 61.95)),
    PublishedRow("Table 2", PTV3, (57.39, 61.65, 58.96, 62.39), occupancy=0.2),
    PublishedRow("Table 2", PTV3, (53.89, 58.99, 56.78, 62.30), occupancy=1.0),
)  # fmt: skip
REPRINTED = (
    "paper: Table 4, ViT-S, which reprints SuperFlow's re-runs: cylindrical voxels, AdamW 0.01, "
    "six cameras, fine-tuned with the best epoch on val kept and batch norm updating in the probe"
)
OWN_TEMPORAL = (
    "paper: Table A6, linear probe; it compares different heads (none 40.76 linear, occupancy "
    "49.81 MLP), and its loss is not published: ours is a reading of it"
)
RIVALS: Mapping[str, tuple[PublishedRow, str]] = {
    "ppkt": (PublishedRow("Table 4", MINKUNET, (38.60, 40.60, 43.25, 47.44)), REPRINTED),
    "slidr": (PublishedRow("Table 4", MINKUNET, (44.70, 41.16, 44.67, 47.57)), REPRINTED),
    "superflow": (PublishedRow("Table 4", MINKUNET, (46.44, 47.81, 47.97, 49.94)), REPRINTED),
    "temporal": (PublishedRow("Table A6", MINKUNET, (41.38, None, None, None)), OWN_TEMPORAL),
    "temporal+occupancy": (
        PublishedRow("Table A6", MINKUNET, (44.53, None, None, None)),
        OWN_TEMPORAL,
    ),
}
"""What the paper prints of other methods, by recipe, and of which protocol it is. Not here: Seal,
whose recipe is a part of it, OLIVINE (not in Table 4), LiMoE and CMCR (no recipe)."""
SHARED: Mapping[str, object] = {
    "voxel_size": 0.05,
    "epochs": 100,
    "batch_size": 16,
    "recipe": "clever",
    "loss": "l2",
    "weighting": "view",
    "view": "all",
    "occupancy": "paper",
    "augmentation": "pointcept",
}
"""Settings of pre-training that all rows share."""


DETECTION = {0.05: (56.1, 59.8), 0.1: (59.1, 66.6), 0.2: (61.6, 67.1)}
"""Table A3 on KITTI by share of the training frames: random weights, distilled; AP at moderate,
mean of the classes, percent; PointRCNN on a MinkUNet-34, single runs."""
METHOD, LINEAR_HEAD = "MLP head + occupancy", "linear head"
"""Names in Table 3 of the paper's own method, and of the baseline that other tables call ScaLR."""


def published(dataset: str, mode: str, fraction: float) -> dict[str, float]:
    """mIoU in percent of Table 3's variants on a whole dataset; empty where the paper measured
    nothing alike.

    Args:
        mode: ``probe`` or ``full``.
        fraction: share of the annotated training frames.
    """
    place = (dataset, mode, fraction)
    figures = {row.name: row.figure(place) for row in ROWS if row.name}
    return {name: figure for name, figure in figures.items() if figure is not None}


def published_row(settings: PretrainSettings) -> PublishedRow | None:
    """The paper's row of the head, occupancy weight and Mix3D of a pre-training, of the same family
    of students; None where it has none, or where the run has other loss terms."""
    if settings.terms and settings.terms != ("distance",):
        return None
    family = PTV3 if settings.student.startswith("ptv3") else MINKUNET
    head = LINEAR if settings.head == "linear" else (settings.head_layers, settings.head_hidden)
    if head[0] == 1:
        head = LINEAR
    place = (family, head, settings.occupancy_weight, settings.mix3d)
    return next(
        (row for row in ROWS if (row.student, row.head, row.occupancy, row.mix3d) == place), None
    )


def source_of(row: PublishedRow, settings: PretrainSettings) -> str:
    """Where the paper's figures are from, and in what our pre-training differs from theirs."""
    theirs = {"student": row.student, **SHARED}
    ours = settings.model_dump(mode="json")
    differing = [f"{name} {ours[name]}" for name in theirs if ours[name] != theirs[name]]
    here = f"; here {', '.join(differing)}" if differing else ""
    return (
        f"paper: {row.student} at 0.05 m, ViT-S teacher, 100 epochs of batch 16 on "
        f"nuScenes, one run{here}; teacher and dataset are those above"
    )
