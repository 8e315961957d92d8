"""The search for unused objects while the command imports its parts."""

import gc
import subprocess
import sys

import pytest

from clever.cli.garbage import begin_search


def test_it_is_postponed_until_the_job_is_imported(tmp_path: object) -> None:
    """Inside the job it runs, and what was imported before is no longer looked at."""
    code = (
        "import gc, sys\n"
        "from clever.cli import command, main\n"
        "def load(path):\n"
        "    loaded = verbs_load(path)\n"
        "    if not path.startswith('pipeline.list_runs:'):\n"
        "        return loaded\n"
        "    print(gc.isenabled(), gc.get_freeze_count() > 0)\n"
        "    def job(settings):\n"
        "        print(gc.isenabled(), gc.get_freeze_count() > 10_000)\n"
        "        return loaded(settings)\n"
        "    return job\n"
        "verbs_load, command.load = command.load, load\n"
        f"sys.argv = ['clever', 'runs', {str(tmp_path)!r}]\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[:2] == ["False False", "True True"]


def test_where_nothing_was_postponed_nothing_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    def freeze() -> None:
        raise AssertionError

    monkeypatch.setattr(gc, "freeze", freeze)
    begin_search()
    assert gc.isenabled()
