"""Stage one on Dask workers gives the bytes of one process, whatever dies; and the plan of a
run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from distributed import Client, Scheduler, SpecCluster

from clever.cache.store.records.commits import committed_shards
from clever.cache.store.store import Store
from clever.errors import CleverError, FrameError
from clever.pipeline.cache_teacher import CacheSummary, cache_teacher
from clever.pipeline.datasets import open_dataset
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one import cluster as cluster_module
from clever.pipeline.stage_one import workers
from clever.pipeline.stage_one.cluster import local_cluster, worker_environment
from clever.pipeline.stage_one.plan import Plan, SampleCost, plan
from clever.pipeline.stage_one.request import teacher_settings, worker_count

Writes = Callable[..., Path]
FRAMES = 72


def settings(root: Path, cache: Path, **values: Any) -> CacheTeacherSettings:
    tiny = {
        "model": "resnet10t",
        "weights": "random:0",
        "image_size": (64, 128),
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
    with local_cluster(2, "cpu") as running:
        yield cast(SpecCluster, running)


@pytest.fixture
def client(cluster: SpecCluster) -> Iterator[Client]:
    """A client of the test's own, after both workers are up."""
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def test_workers_keep_their_memory(client: Client) -> None:
    """Dask's other variables are set; its threshold for giving memory back is not."""
    names = ("MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS")
    answers: Any = client.run(lambda: [os.environ.get(name) for name in names])
    assert len(answers) == 2
    for values in answers.values():
        assert values == [os.environ.get("MALLOC_TRIM_THRESHOLD_"), "1"]


@pytest.fixture(scope="module")
def drive(
    write_kitti_once: Writes, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, bytes]]:
    """A drive, and the store that one process makes of it."""
    root = write_kitti_once({"00": FRAMES}, points=50)
    store = tmp_path_factory.mktemp("alone") / "store.zarr"
    cache_teacher(settings(root, store))
    return root, tree(store)


class Background(threading.Thread):
    """Runs stage one beside the test."""

    def __init__(self, job: CacheTeacherSettings) -> None:
        super().__init__()
        self.settings = job
        self.summary: CacheSummary | None = None
        self.error: CleverError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.summary = cache_teacher(self.settings)
        except CleverError as error:
            self.error = error


class HeldSweep:
    """A sweep of a drive that a worker begins to read once shards are written, and waits for until
    it is killed: it is a pipe meanwhile."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = root / "sequences/00/velodyne/000070.bin"
        self.content = self.path.read_bytes()
        self._ready = threading.Event()
        run = workers.Workers.run

        def run_with_pipe(*arguments: Any) -> None:  # the calibration reads the file as it is
            self.path.unlink()
            os.mkfifo(self.path)
            self._ready.set()
            run(*arguments)

        monkeypatch.setattr(workers.Workers, "run", run_with_pipe)

    def wait_for_reader(self) -> None:
        """Return when a worker has opened it; put the file back for whoever comes next."""
        assert self._ready.wait(300)
        pipe = os.open(self.path, os.O_WRONLY)
        whole = self.path.with_suffix(".whole")
        whole.write_bytes(self.content)
        whole.replace(self.path)
        self._pipe = pipe

    def kill_reader(self, client: Client) -> None:
        """Kill the worker that waits for it."""
        pids: Any = client.run(os.getpid)
        own = os.fstat(self._pipe)
        (pid,) = (pid for pid in pids.values() if _holds(pid, own))
        os.kill(pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let a reader that is still there see an empty file."""
        os.close(self._pipe)


def _holds(pid: int, file: os.stat_result) -> bool:
    """Whether a process has a file open."""
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if os.path.samestat(handle.stat(), file):
                return True
    return False


@pytest.mark.slow
def test_two_workers_of_whom_one_dies_write_the_same_bytes(
    drive: tuple[Path, dict[str, bytes]],
    cluster: SpecCluster,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    root, alone = drive
    sweep = HeldSweep(root, monkeypatch)
    job = Background(settings(root, tmp_path / "store.zarr", scheduler=cluster.scheduler_address))
    sweep.wait_for_reader()
    layer = Store(tmp_path / "store.zarr").teachers()[0].id
    assert 4 not in committed_shards(tmp_path / "store.zarr", layer)  # the shard of frame 70
    sweep.kill_reader(client)
    job.join()
    assert job.error is None
    assert job.summary
    assert (job.summary.written, job.summary.failed) == (FRAMES, [])
    assert tree(tmp_path / "store.zarr") == alone
    assert "is gone; others redo its shards" in capfd.readouterr().err


@pytest.mark.slow
def test_shards_on_which_workers_keep_dying_are_one_line(
    drive: tuple[Path, dict[str, bytes]],
    cluster: SpecCluster,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, alone = drive
    monkeypatch.setattr(cast(Any, cluster.scheduler), "allowed_failures", 0)
    sweep = HeldSweep(root, monkeypatch)
    job = Background(settings(root, tmp_path / "store.zarr", scheduler=cluster.scheduler_address))
    sweep.wait_for_reader()
    sweep.kill_reader(client)
    job.join()
    assert "1 worker died in turn on task clever_fill-" in str(job.error)
    assert "fewer `workers`" in str(job.error)
    assert not list((tmp_path / "store.zarr").rglob("*.part"))
    cache_teacher(settings(root, tmp_path / "store.zarr"))
    assert tree(tmp_path / "store.zarr") == alone


@pytest.mark.slow
def test_a_run_without_workers_ends_and_goes_on_later(
    drive: tuple[Path, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only nanny is killed, and its worker with it; nobody starts another."""
    root, alone = drive
    monkeypatch.setattr(cluster_module, "LOST", 0.5)
    sweep = HeldSweep(root, monkeypatch)
    address = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": ":0"}
    with SpecCluster(workers={}, scheduler={"cls": Scheduler, "options": address}) as running:
        lonely = cast(SpecCluster, running)
        nanny = subprocess.Popen(
            [sys.executable, "-m", "dask", "worker", lonely.scheduler_address, "--no-dashboard"],
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        with Client(lonely) as client:
            client.wait_for_workers(1)
        job = Background(settings(root, tmp_path / "a.zarr", scheduler=lonely.scheduler_address))
        sweep.wait_for_reader()
        nanny.kill()
        nanny.wait()
        job.join()
        sweep.close()
    assert str(job.error).startswith("no worker has been left for 0 s; look at the workers' logs")
    layer = Store(tmp_path / "a.zarr").teachers()[0].id
    assert 4 not in committed_shards(tmp_path / "a.zarr", layer)
    cache_teacher(settings(root, tmp_path / "a.zarr"))
    assert tree(tmp_path / "a.zarr") == alone


def test_workers_that_cannot_start_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster_module, "IGNORE_INTERRUPT", "import no_such_module\n")
    with pytest.raises(CleverError) as failure:
        local_cluster(1, "cpu")
    text = str(failure.value)
    assert text.startswith("1 worker processes cannot start: ")
    assert text.endswith("; use fewer `workers` and run the same command again")
    assert "\n" not in text
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_few_file_handles_are_one_line(
    drive: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    root, alone = drive
    command = [
        "clever", "cache-teacher", "--dataset", "semantickitti", "--data-root", str(root),
        "--split", "all", "--model", "resnet10t", "--weights", "random:0", "--image-size",
        "64x128", "--device", "cpu", "--workers", "2", "--cache", str(tmp_path / "store.zarr"),
    ]  # fmt: skip
    process = subprocess.run(
        ["bash", "-c", 'ulimit -n 64; exec "$@"', "-", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == (
        "error: 2 worker processes need 72 open files at once and this process may have 64; use "
        "fewer --workers, or raise the limit (ulimit -n)\n"
    )
    cache_teacher(settings(root, tmp_path / "store.zarr"))
    assert tree(tmp_path / "store.zarr") == alone


@pytest.mark.slow
def test_ctrl_c_leaves_whole_shards_and_idle_workers(
    drive: tuple[Path, dict[str, bytes]], cluster: SpecCluster, client: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    root, alone = drive
    job = settings(root, tmp_path / "store.zarr", scheduler=cluster.scheduler_address)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("clever.pipeline.process.progress.Track.advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cache_teacher(job)
    assert not any(client.processing().values())
    assert not list((tmp_path / "store.zarr").rglob("*.part"))
    cache_teacher(job)
    assert tree(tmp_path / "store.zarr") == alone


def test_bad_frames_on_workers(write_kitti: Writes, cluster: SpecCluster, tmp_path: Path) -> None:
    root = write_kitti({"00": 20}, points=50)
    (root / "sequences/00/velodyne/000017.bin").write_bytes(b"")
    job = settings(root, tmp_path / "store.zarr", scheduler=cluster.scheduler_address)
    with pytest.raises(FrameError, match=r"frame 00/000017: .*000017.bin is empty"):
        cache_teacher(job.model_copy(update={"strict": True}))
    assert [frame for frame, _ in cache_teacher(job).failed] == ["00/000017"]


def test_a_worker_with_other_weights_is_refused(write_kitti: Writes, tmp_path: Path) -> None:
    root = write_kitti({"00": 2}, points=50)
    job = settings(root, tmp_path / "store.zarr")
    layer = cache_teacher(job).teacher.id
    other = teacher_settings(job.model_copy(update={"weights": "random:1"}))
    assignment = workers.Assignment(
        "run", tmp_path / "store.zarr", (layer,), tuple(other), "cpu", 12, 1, False
    )
    with pytest.raises(
        CleverError, match=r"is another one: weights_sha256: stored '\w{64}', wanted '\w{64}'; give"
    ):
        workers.worker_stage(assignment, open_dataset(job, job.dataset))


@pytest.mark.slow
def test_local_workers(drive: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    root, alone = drive
    cache_teacher(settings(root, tmp_path / "store.zarr", workers=1))
    assert tree(tmp_path / "store.zarr") == alone


def test_no_scheduler_there(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_kitti({"00": 1})
    monkeypatch.setattr(cluster_module, "PATIENCE", 0.5)
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
    gpus = [worker_environment(number, "cuda")["CUDA_VISIBLE_DEVICES"] for number in range(6)]
    assert gpus == ["0", "1", "2", "3", "0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert worker_environment(1, "cuda") == {"CUDA_VISIBLE_DEVICES": "GPU-7"}
    assert worker_environment(1, "cpu") == {}
    job = settings(tmp_path, tmp_path, device="auto")
    counts = [
        worker_count(job.model_copy(update=update))
        for update in ({}, {"workers": 0}, {"workers": 3})
    ]
    assert counts == [4, 0, 3]
    assert worker_count(job.model_copy(update={"device": "cpu"})) == 0
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert worker_count(job) == 0


@pytest.mark.parametrize(
    ("items", "threads", "longest"), [(3, 2, 1), (64, 2, 4), (1759, 8, 4), (40, 2, 2)]
)
def test_tasks_are_runs_of_shards(items: int, threads: int, longest: int) -> None:
    parts = workers.task_runs(list(range(items)), threads)
    assert [item for part in parts for item in part] == list(range(items))
    assert max(map(len, parts)) == longest


@pytest.mark.slow
def test_a_plan_reckons_and_leaves_nothing(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clever.pipeline.stage_one.plan.SECONDS", 0.2)
    root = write_kitti({"00": 60}, points=3000)
    job = settings(root, tmp_path / "caches/store.zarr", codec="int8-zstd")
    before = tree(tmp_path)
    first = plan(job)
    assert tree(tmp_path) == before
    assert not (tmp_path / "caches").exists()
    assert first
    assert (first.frames, first.point_frames, first.grid_frames, first.cameras) == (60, 60, 60, 1)
    assert 0 < first.sample.frames <= 60
    cache_teacher(job.model_copy(update={"limit": 20}))
    second = plan(job)
    assert second
    assert (second.frames, second.point_frames, second.grid_frames) == (60, 40, 40)
    other = plan(job.model_copy(update={"codec": "fp16"}))
    assert other
    assert (other.point_frames, other.grid_frames) == (40, 60)
    summary = cache_teacher(job)
    assert plan(job) is None
    store = Store(job.store)
    for layer, expected in (("points", first.point_bytes), (summary.teacher.id, first.grid_bytes)):
        size = sum(file.bytes for commit in store.commits(layer) for file in commit.files.values())
        assert abs(size / expected - 1) < 0.1


def test_a_plan_that_is_told_to_end_leaves_nothing(
    write_kitti: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ends it as Ctrl-C does; what the signal does otherwise comes back."""
    asked = settings(write_kitti({"00": 9}, points=30), tmp_path / "caches/store.zarr")
    names, before = set(tmp_path.iterdir()), signal.getsignal(signal.SIGTERM)
    temporary: list[set[Path]] = []

    def told_to_end(*_: object) -> None:
        temporary.append(set(tmp_path.iterdir()) - names)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr("clever.pipeline.stage_one.plan._sample_cost", told_to_end)
    with pytest.raises(KeyboardInterrupt):
        plan(asked)
    assert [path.name.partition(".plan-")[1] for path in temporary[0]] == [".plan-"]
    assert set(tmp_path.iterdir()) == names
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_plan_in_words() -> None:
    sample = SampleCost(48, 12.0, 0.05, 0.1, 1e6, {"layer": 5e6})
    cpu = Plan(Path("x.zarr"), "cpu", 28130, 0, {"layer": 28080}, 6, sample, 10**11, 16)
    assert cpu.seconds == 7020
    text = str(cpu)
    assert "168,480 in 28,080 frames (28,130 asked for)" in text
    assert "0 B points and pairs, 140.4 GB features; 100.0 GB free, NOT ENOUGH" in text
    assert (
        "48 frames in 12.0 s, 24.00 images/s; a frame: decode 50 ms on a core, teacher 100 ms on a "
        "core" in text
    )
    assert "1.9 h on this machine with 16 cores" in text
    assert "29.2 min on 4 machines like this one (`scheduler`)" in text
    gpu = Plan(Path("x.zarr"), "cuda", 28130, 0, {"layer": 28080}, 6, sample, 10**12, 16)
    assert "140.4 GB features; 1,000.0 GB free, enough" in str(gpu)
    assert "58.5 min on 2 GPUs (`workers=2`) if 0.4 cores decode; there are 16" in str(gpu)
