"""A store behind a URL: what is told, checked and copied of it is what its folder gives."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from clever.cache.care.copy import Copy, Selection
from clever.cache.care.manifest import manifest
from clever.cache.care.problems import Problem
from clever.cache.care.summary import summarise
from clever.cache.care.verify import Verification
from clever.cache.store.files.remote import RemotePath, any_path, files_below, names_in
from clever.cache.store.records.commits import commit_path
from clever.cache.store.records.seals import seal_path
from clever.errors import CleverError

Writes = Callable[..., Any]
URL = "memory://care/run.zarr"


@pytest.fixture
def upload() -> Iterator[Callable[[Path], RemotePath]]:
    """Puts a folder behind `URL`."""
    memory = fsspec.filesystem("memory")

    def put(folder: Path) -> RemotePath:
        memory.put(str(folder), URL, recursive=True)
        path = any_path(URL)
        assert isinstance(path, RemotePath)
        return path

    yield put
    if memory.exists("/care"):
        memory.rm("/care", recursive=True)


def problems(path: Path | RemotePath) -> list[Problem]:
    return [problem for part in Verification(path) for problem in part]


def test_a_path_behind_a_url_is_like_a_folder(
    upload: Callable[[Path], RemotePath], tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    (folder / "b/c").mkdir(parents=True)
    (folder / "b/c/one").write_bytes(b"12345")
    (folder / "two").write_bytes(b"")
    remote = upload(folder)
    assert files_below(remote) == files_below(folder) == {"b/c/one": 5, "two": 0}
    assert names_in(remote) == names_in(folder) == ["b", "two"]
    assert files_below(remote / "b") == {"c/one": 5}
    assert (str(remote / "b/c/one"), (remote / "b/c/one").name) == (f"{URL}/b/c/one", "one")
    assert (remote / "b/c/one").read_bytes() == b"12345"
    for name, there, is_file in (("b", True, False), ("two", True, True), ("d", False, False)):
        assert ((remote / name).exists(), (remote / name).is_file()) == (there, is_file)
    assert names_in(remote / "d") == names_in(folder / "d") == []
    assert files_below(remote / "d") == files_below(folder / "d") == {}
    with pytest.raises(FileNotFoundError):
        (remote / "d").read_bytes()


def test_files_of_this_machine_are_folders(tmp_path: Path) -> None:
    assert any_path(f"file://{tmp_path}/a") == tmp_path / "a" == any_path(tmp_path / "a")
    with pytest.raises(CleverError, match=r"abc://a cannot be read \(Protocol not known"):
        any_path("abc://a")


def test_what_a_library_raises_is_an_oserror_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = any_path(URL)
    assert isinstance(remote, RemotePath)

    def deny(*_: object, **__: object) -> None:
        raise ValueError("no\n  credentials")

    monkeypatch.setattr(remote._system, "cat_file", deny)
    with pytest.raises(OSError, match="no credentials") as failure:
        remote.read_bytes()
    assert failure.value.strerror == "no credentials"


@pytest.mark.parametrize(("codec", "tokens"), [("int8", "grid"), ("int8-zstd", "hit")])
def test_summary_manifest_and_check_are_those_of_the_folder(
    write_store: Writes, upload: Callable[[Path], RemotePath], codec: str, tokens: str
) -> None:
    folder = write_store([200, 3, 900], codec, tokens, failed=(1,)).path
    remote = upload(folder)
    told, local = summarise(remote).to_json(), summarise(folder).to_json()
    assert told.pop("path") == URL
    assert local.pop("path") == str(folder)
    assert told == local
    assert told["base_layer"]["bytes"] > 0
    assert list(manifest(remote)) == list(manifest(folder))
    check, local_check = Verification(remote), Verification(folder)
    assert [part for part in check if part] == [part for part in local_check if part] == []
    assert check.bytes == local_check.bytes > 0


def test_damage_is_told_as_in_the_folder(
    write_store: Writes, upload: Callable[[Path], RemotePath]
) -> None:
    written = write_store([200] * 18)
    folder, layer = written.path, written.info.id
    shard = folder / "points/xyzi/c/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-7] + b"changed")
    commit_path(folder, layer, 1).unlink()
    seal_path(folder, layer).write_text("{}")
    (folder / "stray").write_text("?")
    local = problems(folder)
    assert problems(upload(folder)) == local
    assert len({problem.what for problem in local}) >= 4


@pytest.mark.parametrize("codec", [None, "fp16"])
def test_a_copy_from_a_url_has_the_bytes_of_one_from_the_folder(
    write_store: Writes,
    upload: Callable[[Path], RemotePath],
    tmp_path: Path,
    codec: Any,
) -> None:
    folder = write_store([200, 3, 900], "int8").path
    selection = Selection(limit=2, codec=codec)
    for source, name in ((upload(folder), "remote"), (folder, "local")):
        job = Copy(source, tmp_path / name, selection)
        job.run(lambda _: None)
    files = files_below(tmp_path / "local")
    assert files_below(tmp_path / "remote") == files
    for name in files:
        copies = ((tmp_path / place / name).read_bytes() for place in ("remote", "local"))
        assert next(copies) == next(copies), name


def test_no_store_behind_a_url() -> None:
    for job in (summarise, Verification, lambda path: Copy(path, Path("a"), Selection())):
        with pytest.raises(CleverError, match=f"no feature cache at {URL}; make one with"):
            job(any_path(URL))
