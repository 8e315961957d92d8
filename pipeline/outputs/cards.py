"""Cards of what is shared: what it is, how it was made, its figures under their protocols."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...cache.care.summary import StoreSummary, TeacherSummary, summarise
from ...student.checkpoint import WEIGHTS, read_meta, weights_digest
from ...student.segmenter import CLASSIFIER_FILE, Training
from ...words import quantity
from ..results.run_folder import RESULT_FILE, notice

RIGHTS = (
    "Weights and features may be bound by the licences of the dataset and of the teacher that they "
    "were made with; both are named above."
)


_STORE_USE = """```python
import clever
from huggingface_hub import snapshot_download

folder = snapshot_download("USER/NAME", repo_type="dataset")
frame = clever.FeatureCache(folder)[0]  # points, pairs and tokens as tensors
```"""


def model_config(folder: Path) -> dict[str, Any]:
    """What rebuilds the student in `folder`, as plain JSON, with its training where it was
    fine-tuned.

    Raises:
        CleverError: there is no student, or it is damaged.
    """
    description = read_meta(folder / WEIGHTS)
    classifier = folder / CLASSIFIER_FILE
    training = read_meta(classifier)["training"] if classifier.is_file() else None
    return {
        "library": f"clever-distiller {__version__}",
        **description,
        **({"training": training} if training else {}),
    }


def model_card(folder: Path, license: str | None) -> str:
    """README.md of a student: origin, teacher, protocol and figures, all from the run's own files.

    Raises:
        CleverError: see `model_config`.
    """
    config = model_config(folder)
    training = Training.model_validate(config["training"]) if "training" in config else None
    meta = config["meta"]
    origin = training.initialisation if training else meta.get("origin", "origin unknown")
    parts = [
        _front(license, ["lidar", "point-cloud", "semantic-segmentation", "distillation"]),
        f"# {config['student']}, {config['voxel_size']:g} m voxels",
        f"A LiDAR student of `clever-distiller`: {origin}.",
        "## Training",
        *_pretraining(meta, training),
    ]
    if training:
        parts += [training.line(), f"Classes: {', '.join(training.class_names)}."]
    parts += ["## Figures", *_figures(folder), "## Use", _use(training is not None), "## Files"]
    parts.append(f"Weights' sha256: {weights_digest(folder)}. No pickle; nothing is executed.")
    return "\n\n".join([*parts, *([] if license else [RIGHTS])]) + "\n"


def store_card(path: Path, license: str | None) -> str:
    """README.md of a feature cache: what it holds, of which teachers, how faithfully.

    Raises:
        CleverError: there is no store, or it is damaged.
    """
    store = summarise(path)
    rule = store.base
    parts = [
        _front(license, ["lidar", "feature-cache", "distillation"]),
        f"# Teacher features of {rule.dataset}",
        (
            "A feature cache of `clever-distiller`, one Zarr store: "
            f"{quantity(store.frames, 'frame')} of "
            f"{quantity(store.scenes, 'scene')}, {quantity(store.points, 'point')}, "
            f"{quantity(store.pairs, 'pair')} of point and pixel "
            f"over {quantity(len(rule.cameras), 'camera')} ({', '.join(rule.cameras)}). It "
            "holds no images."
        ),
        "## Teachers",
        *([_teacher(teacher) for teacher in store.teachers] or ["None."]),
        "## Skipped frames",
        _skipped(store),
        *_pending(store),
        "## Use",
        _STORE_USE,
    ]
    return "\n\n".join([*parts, *([] if license else [RIGHTS])]) + "\n"


def _front(license: str | None, tags: Sequence[str]) -> str:
    """The lines that the hub reads."""
    named = [f"license: {license}"] if license else []
    lines = ["library_name: clever-distiller", *named, "tags:", *(f"- {tag}" for tag in tags)]
    return "\n".join(["---", *lines, "---"])


def _pretraining(meta: Mapping[str, Any], training: Training | None) -> list[str]:
    """On what the student was pre-trained, as far as its files say."""
    dataset = training.pretraining if training else meta.get("dataset")
    scenes = training.pretraining_scenes if training else meta.get("scenes", ())
    lines = [f"Teacher: {', '.join(meta['teacher'])}."] if meta.get("teacher") else []
    if dataset:
        lines.append(
            f"Pre-trained on {quantity(len(scenes), 'scene')} of {dataset}, without labels."
        )
    return lines


def _figures(folder: Path) -> list[str]:
    """Every figure that was measured in the run, each under its protocol."""
    files = [folder / RESULT_FILE, *sorted(folder.glob(f"*/{RESULT_FILE}"))]
    lines = [line for file in files if file.is_file() for line in _figures_of(file)]
    return lines or ["None was measured in this run."]


def _figures_of(file: Path) -> list[str]:
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        notice(f"{file} cannot be read; the card does without it")
        return []
    measured = result.get("evaluation", result)
    if "miou" in measured:
        rows = [
            f"| {name} | {'-' if iou is None else f'{100 * iou:.1f}'} |"
            for name, iou in measured["iou"].items()
        ]
        table = "\n".join(["| class | IoU % |", "|---|---|", *rows])
        return [f"**mIoU {100 * measured['miou']:.2f} %**: {measured['protocol']}", table]
    if ranks := result.get("ranks"):
        rank = ranks["uncentred"]
        return [
            f"RankMe {rank['rankme']:.2f} over {ranks['rows']} points of {ranks['frames']} frames "
            f"of {result['dataset']}, seed {ranks['seed']}, un-centred backbone features."
        ]
    return []


def _use(segmenter: bool) -> str:
    call = (
        "labels, confidence = network(points)  # (N, 4): x, y, z in metres, intensity in [0, 1]"
        if segmenter
        else "features = network(clever.PointBatch.from_clouds([points]))"
    )
    return f'```python\nimport clever\n\nnetwork = clever.from_pretrained("USER/NAME")\n{call}\n```'


def _teacher(teacher: TeacherSummary) -> str:
    info, fidelity = teacher.info, teacher.fidelity
    rows, columns = info.grid
    licence = f"; licence of the weights: {info.licence}" if info.licence else ""
    close = f", mean cosine to the original {fidelity.mean:.6f}" if fidelity.tokens else ""
    return (
        f"- `{info.id}`: {info.description}; {rows} x {columns} tokens of {info.channels} channels "
        f"an image, {info.codec}{close}; {quantity(teacher.layer.stored, 'frame')}, "
        f"{teacher.layer.bytes / 1e6:.3g} MB; fingerprint {info.fingerprint.sha256}{licence}"
    )


def _pending(store: StoreSummary) -> list[str]:
    """What is not stored yet, as a chapter and a notice; nothing where all is."""
    lines = [
        f"{teacher.info.id}: {quantity(teacher.layer.pending, 'frame')} of {store.frames} not "
        "stored yet; `clever cache-teacher` goes on with them"
        for teacher in store.teachers
        if teacher.layer.pending
    ]
    for line in lines:
        notice(line)
    return ["## Unfinished", *lines] if lines else []


def _skipped(store: StoreSummary) -> str:
    counts = {layer: len(records) for layer, records in store.failures.items() if records}
    return ", ".join(f"{layer}: {count}" for layer, count in counts.items()) or "None."
