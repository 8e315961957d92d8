"""A Hugging Face Hub on this machine: what huggingface_hub asks of it, files in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class LocalHub(ThreadingHTTPServer):
    """Repositories by type and name, each a dict of files; `private` are those made so.

    Attributes:
        asked: method and path of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """A hub that answers until the block ends."""
    hub = LocalHub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


def _oid(files: dict[str, bytes]) -> str:
    content = json.dumps({name: data.hex() for name, data in sorted(files.items())})
    return hashlib.sha1(content.encode()).hexdigest()


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> LocalHub:
        assert isinstance(self.server, LocalHub)
        return self.server

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self._path()
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            request = json.loads(body)
            kind = request.get("type", "model")
            name = f"{request['organization']}/{request['name']}"
            existing = f"{kind}s/{name}" in self.hub.repositories
            self.hub.repositories.setdefault(f"{kind}s/{name}", {})
            if request.get("private") or request.get("visibility") == "private":
                self.hub.private.add(name)
            url = f"{self.hub.address}/{'datasets/' if kind == 'dataset' else ''}{name}"
            return self._json({"url": url}, 409 if existing else 200)
        kind, user, name, verb, *_ = path.removeprefix("/api/").split("/")
        files = self.hub.repositories[f"{kind}/{user}/{name}"]
        if verb == "preupload":
            request = json.loads(body)["files"]
            answer = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in request
            ]
            return self._json({"files": answer})
        assert verb == "commit"
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        prefix = "datasets/" if kind == "datasets" else ""
        oid = _oid(files)
        url = f"{self.hub.address}/{prefix}{user}/{name}/commit/{oid}"
        return self._json({"commitUrl": url, "commitOid": oid})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self._path().strip("/").split("/")
        if parts[0] == "api":
            _, kind, user, name, *subpath = parts
            files = self.hub.repositories.get(f"{kind}/{user}/{name}")
            if files is None:
                return self._json({"error": "Repository not found"}, 404, "RepoNotFound")
            if subpath[:1] == ["tree"]:
                return self._json(
                    [
                        {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}
                        for path, data in files.items()
                    ]
                )
            siblings = [{"rfilename": path} for path in files]
            sha = _oid(files)
            return self._json({"id": f"{user}/{name}", "sha": sha, "siblings": siblings})
        user, name, resolve, commit, *path = parts
        assert resolve == "resolve"
        return self._send(self.hub.repositories[f"models/{user}/{name}"]["/".join(path)], commit)

    def _path(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def _json(self, content: object, status: int = 200, code: str = "") -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send(self, data: bytes, commit: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{_blob(data)}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
