"""Stage one on Dask workers gives the bytes of one process, whatever dies; and the plan of a
run."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from distributed import Client, SpecCluster

from clever.cache.store.records import committed_shards
from clever.cache.store.store import Store
from clever.errors import CleverError, FrameError
from clever.pipeline.cache_teacher import CacheSummary, cache_teacher
from clever.pipeline.datasets import open_dataset
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one import workers
from clever.pipeline.stage_one.plan import Plan, SampleCost, plan
from clever.pipeline.stage_one.request import teacher_settings, worker_count

Writes = Callable[..., Path]
FRAMES = 72


def settings(root: Path, cache: Path, **values: Any) -> CacheTeacherSettings:
    tiny = {
        "model": "resnet10t",
        "weights": "random:0",
        "image_size": (128, 256),
        "device": "cpu",
        "split": "all",
    }
    return CacheTeacherSettings(
        **{"dataset": "semantickitti", "data_root": root, "cache": cache, **tiny, **values}
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[SpecCluster]:
    with workers.local_cluster(2, "cpu") as running:
        yield cast(SpecCluster, running)


@pytest.fixture
def client(cluster: SpecCluster) -> Iterator[Client]:
    """A client of the test's own, after both workers are up."""
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture
def drive(write_kitti: Writes, tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """A drive, and the store that one process makes of it."""
    root = write_kitti({"00": FRAMES}, points=50)
    cache_teacher(settings(root, tmp_path / "alone.zarr"))
    return root, tree(tmp_path / "alone.zarr")


class Background(threading.Thread):
    """Runs stage one beside the test."""

    def __init__(self, wanted: CacheTeacherSettings) -> None:
        super().__init__()
        self.wanted, self.summary, self.error = wanted, None, None
        self.start()

    def run(self) -> None:
        try:
            self.summary: CacheSummary | None = cache_teacher(self.wanted)
        except CleverError as error:
            self.error: CleverError | None = error

    def wait_for_shard(self) -> None:
        """Return when a shard of the teacher is committed, and others are not."""
        while self.is_alive() and not list(
            self.wanted.store.glob("teachers/*/grid/commits/0*.json")
        ):
            time.sleep(0.002)


def kill_one(client: Any) -> None:
    """Kill a worker that is in the middle of a task."""
    busy = [worker for worker, tasks in client.processing().items() if tasks]
    (pid,) = client.run(os.getpid, workers=busy[:1]).values()
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_two_workers_of_whom_one_dies_write_the_same_bytes(
    drive: tuple[Path, dict[str, bytes]],
    cluster: SpecCluster,
    client: Client,
    tmp_path: Path,
    capfd: Any,
) -> None:
    root, alone = drive
    job = Background(settings(root, tmp_path / "store.zarr", scheduler=cluster.scheduler_address))
    job.wait_for_shard()
    layer = Store(tmp_path / "store.zarr").teachers()[0].id
    assert len(committed_shards(tmp_path / "store.zarr", layer)) < -(-FRAMES // 16)
    kill_one(client)
    job.join()
    assert job.error is None
    assert job.summary
    assert (job.summary.written, job.summary.failed) == (FRAMES, [])
    assert tree(tmp_path / "store.zarr") == alone
    assert "is gone; others redo its shards" in capfd.readouterr().err


@pytest.mark.slow
def test_shards_on_which_workers_keep_dying_are_one_line(
    drive: tuple[Path, dict[str, bytes]], cluster: SpecCluster, client: Client, tmp_path: Path
) -> None:
    root, alone = drive
    scheduler: Any = cluster.scheduler
    allowed, scheduler.allowed_failures = scheduler.allowed_failures, 0
    job = Background(settings(root, tmp_path / "store.zarr", scheduler=cluster.scheduler_address))
    job.wait_for_shard()
    kill_one(client)
    job.join()
    scheduler.allowed_failures = allowed
    assert "1 workers died in turn on task clever_fill-" in str(job.error)
    assert "fewer `workers`" in str(job.error)
    assert not list((tmp_path / "store.zarr").rglob("*.part"))
    cache_teacher(settings(root, tmp_path / "store.zarr"))
    assert tree(tmp_path / "store.zarr") == alone


@pytest.mark.slow
def test_ctrl_c_leaves_whole_shards_and_idle_workers(
    drive: tuple[Path, dict[str, bytes]], cluster: SpecCluster, client: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    root, alone = drive
    wanted = settings(root, tmp_path / "store.zarr", scheduler=cluster.scheduler_address)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("clever.pipeline.progress.Track.advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cache_teacher(wanted)
    assert not any(client.processing().values())
    assert not list((tmp_path / "store.zarr").rglob("*.part"))
    cache_teacher(wanted)
    assert tree(tmp_path / "store.zarr") == alone


def test_bad_frames_on_workers(write_kitti: Writes, cluster: SpecCluster, tmp_path: Path) -> None:
    root = write_kitti({"00": 20}, points=50)
    (root / "sequences/00/velodyne/000017.bin").write_bytes(b"")
    wanted = settings(root, tmp_path / "store.zarr", scheduler=cluster.scheduler_address)
    with pytest.raises(FrameError, match=r"frame 00/000017: .*000017.bin is empty"):
        cache_teacher(wanted.model_copy(update={"strict": True}))
    assert [frame for frame, _ in cache_teacher(wanted).failed] == ["00/000017"]


def test_a_worker_with_other_weights_is_refused(write_kitti: Writes, tmp_path: Path) -> None:
    root = write_kitti({"00": 2}, points=50)
    wanted = settings(root, tmp_path / "store.zarr")
    layer = cache_teacher(wanted).teacher.id
    other = teacher_settings(wanted.model_copy(update={"weights": "random:1"}))
    assignment = workers.Assignment(
        "run", tmp_path / "store.zarr", layer, other, "cpu", 12, 1, False
    )
    with pytest.raises(
        CleverError, match=r"is another one: weights_sha256: stored '\w{64}', wanted '\w{64}'; give"
    ):
        workers._stage(assignment, open_dataset(wanted, wanted.dataset))


@pytest.mark.slow
def test_local_workers(drive: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    root, alone = drive
    cache_teacher(settings(root, tmp_path / "store.zarr", workers=1))
    assert tree(tmp_path / "store.zarr") == alone


def test_no_scheduler_there(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_kitti({"00": 1})
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    with pytest.raises(CleverError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        cache_teacher(settings(root, tmp_path / "store.zarr", scheduler="tcp://127.0.0.1:1"))
    with pytest.raises(CleverError, match="give one of them"):
        cache_teacher(
            settings(root, tmp_path / "store.zarr", scheduler="tcp://127.0.0.1:1", workers=2)
        )


def test_a_gpu_for_every_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    given = [
        workers.worker_environment(number, "cuda")["CUDA_VISIBLE_DEVICES"] for number in range(6)
    ]
    assert given == ["0", "1", "2", "3", "0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert workers.worker_environment(1, "cuda") == {"CUDA_VISIBLE_DEVICES": "GPU-7"}
    assert workers.worker_environment(1, "cpu") == {}
    wanted = settings(tmp_path, tmp_path, device="auto")
    counts = [
        worker_count(wanted.model_copy(update=update))
        for update in ({}, {"workers": 0}, {"workers": 3})
    ]
    assert counts == [4, 0, 3]
    assert worker_count(wanted.model_copy(update={"device": "cpu"})) == 0
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert worker_count(wanted) == 0


@pytest.mark.parametrize(
    ("items", "threads", "longest"), [(3, 2, 1), (64, 2, 4), (1759, 8, 4), (40, 2, 2)]
)
def test_tasks_are_runs_of_shards(items: int, threads: int, longest: int) -> None:
    parts = workers._split(list(range(items)), threads)
    assert [item for part in parts for item in part] == list(range(items))
    assert max(map(len, parts)) == longest


@pytest.mark.slow
def test_a_plan_reckons_and_leaves_nothing(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clever.pipeline.stage_one.plan.SECONDS", 0.2)
    root = write_kitti({"00": 60}, points=3000)
    wanted = settings(root, tmp_path / "caches/store.zarr", codec="int8-zstd")
    before = tree(tmp_path)
    first = plan(wanted)
    assert tree(tmp_path) == before
    assert not (tmp_path / "caches").exists()
    assert first
    assert (first.frames, first.point_frames, first.grid_frames, first.cameras) == (60, 60, 60, 1)
    assert 0 < first.sample.frames <= 60
    cache_teacher(wanted.model_copy(update={"limit": 20}))
    second = plan(wanted)
    assert second
    assert (second.frames, second.point_frames, second.grid_frames) == (60, 40, 40)
    other = plan(wanted.model_copy(update={"codec": "fp16"}))
    assert other
    assert (other.point_frames, other.grid_frames) == (40, 60)
    summary = cache_teacher(wanted)
    assert plan(wanted) is None
    store = Store(wanted.store)
    for layer, expected in (("points", first.point_bytes), (summary.teacher.id, first.grid_bytes)):
        written = sum(
            file.bytes for commit in store.commits(layer) for file in commit.files.values()
        )
        assert abs(written / expected - 1) < 0.1


def test_a_plan_in_words() -> None:
    sample = SampleCost(48, 12.0, 0.05, 0.1, 1e6, 5e6)
    cpu = Plan(Path("x.zarr"), "vits14-f00d", "cpu", 28130, 0, 28080, 6, sample, 10**11, 16)
    assert cpu.seconds == 7020
    text = str(cpu)
    assert "168,480 of 28,080 frames (28,130 frames asked for)" in text
    assert "0 GB points and pairs, 140.4 GB features; 100.0 GB free, NOT ENOUGH" in text
    assert (
        "48 frames in 12.0 s, 24.00 images/s; a frame: decode 50 ms on a core, teacher 100 ms on a "
        "core" in text
    )
    assert "1.9 hours on this machine with 16 cores" in text
    assert "0.49 hours on 4 machines like this one (`scheduler`)" in text
    gpu = Plan(Path("x.zarr"), "vits14-f00d", "cuda", 28130, 0, 28080, 6, sample, 10**12, 16)
    assert "140.4 GB features; 1,000.0 GB free, enough" in str(gpu)
    assert "0.97 hours on 2 GPUs (`workers=2`) if 0.4 cores decode; there are 16" in str(gpu)
