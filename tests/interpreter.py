"""Scripts in copies of one new interpreter that has done what they begin with: starting each anew
takes some core-seconds."""

import json
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SERVE = """
import json as _json, os as _os, sys as _sys, tempfile as _tempfile, traceback as _traceback

def _copy(script):
    output = [_tempfile.TemporaryFile() for _ in range(2)]
    copy = _os.fork()
    if not copy:
        status = 0
        _os.dup2(_os.open(_os.devnull, _os.O_RDONLY), 0)
        for stream, file in enumerate(output, 1):
            _os.dup2(file.fileno(), stream)
        try:
            exec(script, globals())
        except SystemExit as end:
            status = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
        except BaseException:
            _traceback.print_exc()
            status = 1
        _sys.stdout.flush()
        _sys.stderr.flush()
        _os._exit(status)
    status = _os.waitstatus_to_exitcode(_os.waitpid(copy, 0)[1])
    words = []
    for file in output:
        file.seek(0)
        words.append(file.read().decode())
    return status, *words

for _line in _sys.stdin:
    print(_json.dumps(_copy(_json.loads(_line))), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a script ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Interpreter:
    """A new interpreter in which every script begins with what `beginning` left."""

    def __init__(self, beginning: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", beginning + SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, script: str) -> Answer:
        """Run a script in a copy of the interpreter."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(script), file=self._process.stdin, flush=True)
        return Answer(*json.loads(self._process.stdout.readline()))
