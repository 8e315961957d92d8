"""Long lines on a terminal."""

import sys

import pytest

from clever.cli.output import Output
from clever.cli.verbs import Verb
from clever.cli.wrapping import wrapped
from clever.pipeline.settings.shared.base import JobSettings

PROTOCOL = "probe: linear probe, minkunet-tiny at 0.2 m, nuscenes train (18 scans), 30 epochs"


def test_a_long_line_is_broken_with_a_hanging_indent() -> None:
    lines = wrapped(f"short\n{PROTOCOL}\n\nend", 40).split("\n")
    assert lines[0] == "short"
    assert lines[-2:] == ["", "end"]
    own = lines[1:-2]
    assert all(len(line) <= 40 for line in own)
    assert [line[:4] for line in own[1:]] == ["    "] * (len(own) - 1)
    assert " ".join(line.strip() for line in own) == PROTOCOL
    assert wrapped(PROTOCOL, len(PROTOCOL)) == PROTOCOL


def test_what_follows_a_label_stands_under_its_text() -> None:
    line = "  frames    28130 stored, 3 skipped, 0 pending, in 1759 shards"
    assert wrapped(line, 36).split("\n") == [
        "  frames    28130 stored, 3 skipped,",
        "            0 pending, in 1759",
        "            shards",
    ]


def test_an_indented_line_hangs_below_its_own_beginning() -> None:
    assert wrapped("  one two three", 11).split("\n") == ["  one two", "     three"]
    assert wrapped("  one two three", 13).split("\n") == ["  one two", "      three"]


@pytest.mark.parametrize("line", ["| a | " * 20, '{"a": "b c d e f g h"}' * 5, "/a/" * 40])
def test_tables_json_and_paths_stay_whole(line: str) -> None:
    assert wrapped(line, 30) == line


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_has_broken_lines(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    verb = Verb("", "pipeline.settings.shared.base:JobSettings", "")
    assert Output().write(verb, JobSettings(), PROTOCOL) == 0
    text = capsys.readouterr().out
    assert (text == f"{PROTOCOL}\n") is not terminal
    assert " ".join(text.split()) == PROTOCOL
