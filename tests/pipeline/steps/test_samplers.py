"""Which labelled frames a fraction takes."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from clever.errors import CleverError
from clever.pipeline.datasets import build_dataset
from clever.pipeline.settings.shared.choices import FrameSampler
from clever.pipeline.steps.labelled import labelled_indices
from clever.pipeline.steps.samplers import (
    SAMPLERS,
    LabelledPart,
    listed_frames,
    read_frame_ids,
    sample_frames,
)

SCENES = [f"scene-{number // 7:02}" for number in range(140)]


def take(
    fraction: float, sampler: FrameSampler, seed: int = 0, indices: Sequence[int] = range(140)
) -> list[int]:
    return sample_frames(LabelledPart(indices, SCENES), fraction, sampler, seed)


def test_frames_are_drawn_by_seed_and_nested() -> None:
    labelled = list(range(0, 140, 2))
    tenth, half = (take(share, "frames", 3, labelled) for share in (0.1, 0.5))
    assert (len(tenth), len(half)) == (7, 35)
    assert set(tenth) < set(half) < set(labelled)
    assert tenth == sorted(tenth) == take(0.1, "frames", 3, labelled)
    assert tenth != take(0.1, "frames", 4, labelled)
    assert take(1.0, "frames", 3, labelled) == labelled
    assert len(take(0.001, "frames", 3, labelled)) == 1


def test_every_frame_is_drawn_as_often_as_any_other() -> None:
    counts = [0] * 140
    for seed in range(400):
        for index in take(0.25, "frames", seed):
            counts[index] += 1
    # 100 draws of each are expected, with a standard deviation of 8.7.
    assert 60 < min(counts) < max(counts) < 140


def test_scenes_are_drawn_whole_by_seed_and_nested() -> None:
    labelled = list(range(0, 140, 2))
    tenth, half = (take(share, "scenes", 3, labelled) for share in (0.1, 0.5))
    scenes = sorted({SCENES[index] for index in tenth})
    assert len(scenes) == 2
    assert tenth == [index for index in labelled if SCENES[index] in scenes]
    assert len({SCENES[index] for index in half}) == 10
    assert set(tenth) < set(half)
    assert any(take(0.1, "scenes", seed, labelled) != tenth for seed in range(5))
    assert take(1.0, "scenes", 3, labelled) == labelled
    assert len({SCENES[index] for index in take(0.01, "scenes", 3, labelled)}) == 1


@pytest.mark.parametrize(("percent", "step"), [(1, 100), (5, 20), (10, 10), (25, 4), (50, 2)])
def test_every_nth_frame_and_scene(percent: int, step: int) -> None:
    assert take(percent / 100, "every-nth") == list(range(0, 140, step))
    numbers = range(0, 20, step)
    assert take(percent / 100, "every-nth-scene") == [
        index for index in range(140) if index // 7 in numbers
    ]
    for sampler in SAMPLERS:
        assert take(1.0, sampler) == list(range(140))


def test_every_nth_counts_by_scene_and_time_whatever_the_order_of_the_scenes() -> None:
    scenes = ["09"] * 5 + ["00"] * 5
    part = LabelledPart([0, 1, 2, 3, 5, 6, 7, 8, 9], scenes)  # frame 4 has no labels
    # In the sorted list of files sequence 00 comes first: frames 5 6 7 8 9 0 1 2 3.
    assert sample_frames(part, 0.25, "every-nth", 0) == [3, 5, 9]


@pytest.mark.parametrize("sampler", ["every-nth", "every-nth-scene"])
def test_every_nth_needs_a_whole_n(sampler: FrameSampler) -> None:
    with pytest.raises(CleverError, match=r"`fraction=0\.3` is no 1/n"):
        take(0.3, sampler)


def test_ids_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    for content, complaint in (
        (b"", "holds no frame ids"),
        (b"\n \n", "holds no frame ids"),
        (b"a\nb\n\na\n", "holds the frame a 2 times"),
        (b"\xff\xfe\x00", "is no text file"),
    ):
        path.write_bytes(content)
        with pytest.raises(CleverError, match=rf"ids\.txt {complaint}"):
            read_frame_ids(path)
    with pytest.raises(CleverError, match=r"cannot read .*none\.txt: No such file"):
        read_frame_ids(tmp_path / "none.txt")
    path.write_text("\ufeffb \r\n\na\n", encoding="utf-8")
    assert read_frame_ids(path) == ["b", "a"]


def test_real_scans(shared_data: Path, tmp_path: Path) -> None:
    """A tenth of the 21 labelled scans of sequence 00 by every sampler, and by their ids."""
    dataset = build_dataset("semantickitti", shared_data / "semantickitti", sequences=["00"])
    labelled = labelled_indices(dataset, "train")
    part = LabelledPart(labelled, dataset.scenes)
    samples = {sampler: sample_frames(part, 0.1, sampler, 0) for sampler in SAMPLERS}
    counts = {sampler: len(sample) for sampler, sample in samples.items()}
    assert counts == {"frames": 2, "scenes": 21, "every-nth": 3, "every-nth-scene": 21}
    ids = [dataset.frame_ids[index] for index in samples["every-nth"]]
    assert ids == ["00/000000", "00/000010", "00/000020"]
    (tmp_path / "ids.txt").write_text("\n".join(reversed(ids)))
    assert listed_frames(tmp_path / "ids.txt", dataset, labelled, "train") == samples["every-nth"]
