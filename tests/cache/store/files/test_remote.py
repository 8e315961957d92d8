"""A store that is read by its URL: the same frames as from the folder, in any process."""

import errno
import importlib.util
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import fsspec
import pytest
import torch

from clever.cache import FeatureCache
from clever.cache.codec import Calibration
from clever.cache.store.contents import Contents
from clever.cache.store.files.remote import RemotePath
from clever.errors import CleverError

Writes = Callable[..., Any]
Upload = Callable[[Path], str]
BUCKET = "clever-test"


class _Bucket(BaseHTTPRequestHandler):
    """As much of S3 as reading asks for: objects, whole or a range of them, and listings. The URL
    path is bucket/key; the server's `folder` holds the buckets."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        folder: Path = self.server.folder  # type: ignore[attr-defined]
        path = folder / unquote(url.path).strip("/")
        if "list-type" in query:
            self._answer(200, _listing(path, query), "application/xml")
        elif path.is_file():
            data = path.read_bytes()
            first, _, last = (
                self.headers.get("Range", "bytes=-").removeprefix("bytes=").partition("-")
            )
            part = data[int(first or 0) : int(last) + 1 if last else None] if first else data
            if not first and last:
                part = data[-int(last) :]
            self._answer(206 if "Range" in self.headers else 200, part, "binary/octet-stream")
        else:
            body = b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
            self._answer(404, body, "application/xml")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _listing(bucket: Path, query: dict[str, str]) -> bytes:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    keys = sorted(p.relative_to(bucket).as_posix() for p in bucket.rglob("*") if p.is_file())
    contents, folders = [], set()
    for key in (key for key in keys if key.startswith(prefix)):
        tail = key.removeprefix(prefix)
        if delimiter and delimiter in tail:
            folders.add(prefix + tail.split(delimiter)[0] + delimiter)
        else:
            size = (bucket / key).stat().st_size
            contents.append(
                f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>0</ETag>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            )
    prefixes = [f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in folders]
    text = "".join([*contents, *sorted(prefixes)])
    return (
        f"<ListBucketResult><Name>{bucket.name}</Name><KeyCount>{len(contents)}</KeyCount>"
        f"<IsTruncated>false</IsTruncated>{text}</ListBucketResult>"
    ).encode()


@pytest.fixture
def s3_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server on loopback that speaks S3, and the environment that leads there; its folder of
    buckets."""
    if importlib.util.find_spec("s3fs") is None:
        pytest.skip("needs s3fs: pip install 'clever-distiller[remote]'")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    server.folder = tmp_path / "buckets"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield tmp_path / "buckets"
    server.shutdown()


@pytest.fixture(params=["file", "memory", "s3"])
def upload(request: pytest.FixtureRequest) -> Iterator[Upload]:
    """Puts a store behind a URL of a kind."""
    if request.param == "file":
        yield lambda path: f"file://{path}"
    elif request.param == "memory":
        memory = fsspec.filesystem("memory")
        yield lambda path: _copy(memory, path, "memory://stores/run.zarr")
        if memory.exists("/stores"):
            memory.rm("/stores", recursive=True)
    else:
        folder: Path = request.getfixturevalue("s3_server")

        def put(path: Path) -> str:
            shutil.copytree(path, folder / BUCKET / "run.zarr")
            return f"s3://{BUCKET}/run.zarr"

        yield put


def _copy(system: Any, folder: Path, url: str) -> str:
    system.put(str(folder), url, recursive=True)
    return url


def assert_equal_frames(remote: FeatureCache, local: FeatureCache) -> None:
    assert (remote.ids, remote.scenes, remote.cameras) == (local.ids, local.scenes, local.cameras)
    for number in range(len(local)):
        frame, twin = remote[number], local[number]
        for name in type(frame).__dataclass_fields__:
            value, expected = getattr(frame, name), getattr(twin, name)
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, expected), name
            elif isinstance(value, Calibration):
                assert value.equals(expected), name
            else:
                assert value == expected, name


@pytest.mark.parametrize(
    ("codec", "tokens"), [("int8", "grid"), ("int8-zstd", "hit"), ("fp16", "grid")]
)
def test_a_url_gives_the_folder_s_frames(
    upload: Upload, write_store: Writes, codec: str, tokens: str
) -> None:
    sample = write_store([200, 3, 900], codec, tokens, failed=(1,))
    local = FeatureCache(sample.path)
    remote = FeatureCache(upload(sample.path))
    assert len(remote) == 2
    assert_equal_frames(remote, local)
    assert_equal_frames(pickle.loads(pickle.dumps(remote)), local)


def test_an_array_is_opened_once(write_store: Writes, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(f"file://{write_store([20] * 6).path}")
    openings = []
    open_root = FeatureCache._open
    monkeypatch.setattr(FeatureCache, "_open", lambda self: openings.append(1) or open_root(self))
    for _ in cache:
        pass
    assert len(openings) == 4


def test_no_store_there(upload: Upload, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note").write_text("no store")
    url = upload(tmp_path / "empty")
    with pytest.raises(CleverError, match=f"no feature cache at {url}; make one with"):
        FeatureCache(url)


def test_a_url_that_nothing_understands() -> None:
    with pytest.raises(CleverError, match=r"abc://run.zarr cannot be read \(Protocol not known"):
        FeatureCache("abc://run.zarr")


def test_a_store_that_goes_away_is_one_line(write_store: Writes, tmp_path: Path) -> None:
    path = write_store([200, 200]).path
    cache = FeatureCache(f"file://{path}")
    for folder in ("points", "pairs", "teachers"):
        shutil.rmtree(path / folder)
    with pytest.raises(CleverError) as failure:
        cache[0]
    assert str(failure.value).startswith(f"file://{path} cannot be read (")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("answers", [(), ("exists",)])
def test_a_place_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[str, ...]
) -> None:
    """Such as one without credentials: nothing is damaged there."""

    def ask(self: RemotePath, what: str, **options: object) -> object:
        if what not in answers:
            raise OSError(errno.EIO, "Unable to locate credentials")
        return False

    monkeypatch.setattr(RemotePath, "_ask", ask)
    with pytest.raises(CleverError) as failure:
        Contents(RemotePath("memory://run.zarr"))
    assert str(failure.value) == (
        "memory://run.zarr cannot be read (Unable to locate credentials); check the place and its "
        "access"
    )
