"""What progress shows at any width, and where."""

import io
import re

import pytest
from rich.console import Console

from clever.pipeline.process.progress import Track

NOTE = "loss 1.1063  distillation 1.0738  occupancy 0.6150  intensity 0.0353"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that `progress` reads; change the first entry to let time pass."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("width", [50, 60, 80, 100, 200])
@pytest.mark.parametrize("label", ["pretrain", "caching efficientnet_lite0-224x448-313a"])
def test_figures_stay_at_every_width(clock: list[float], width: int, label: str) -> None:
    track = Track(label, 28130, start=30)
    clock[0] += 100
    track.advance(200, NOTE)
    screen = Console(file=io.StringIO(), width=width)
    screen.print(track)
    (line,) = screen.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(line) <= width
    # 200 of this run's units in 100 s; 27,900 are left.
    assert "230/28130 frames 2.00/s 3:52:30 left" in line
    assert line.startswith(label[:5])


def test_the_bar_and_the_note_give_way_first(clock: list[float]) -> None:
    track = Track("pretrain", 80)
    clock[0] += 10
    track.advance(20, NOTE)
    figures = "20/80 frames 2.00/s 0:30 left"
    assert track.line(200) == f"pretrain {'━' * 8}{'─' * 22} {figures} {NOTE}"
    assert track.line(80) == f"pretrain {'━' * 4}{'─' * 11} {figures} {NOTE[:24]}…"
    assert track.line(46) == f"pretrain {'━' * 2}{'─' * 5} {figures}"
    assert track.line(40) == f"pretrain {figures}"
    assert track.line(35) == f"pret… {figures}"
    track.advance(60)
    assert "━" * 15 in track.line(80)
    assert "─" not in track.line(80)


def test_without_a_note_the_bar_has_its_width(clock: list[float]) -> None:
    track = Track("verifying", 4, "shards")
    assert track.line(100) == f"verifying {'─' * 30} 0/4 shards 0.00/s -:-- left"
    clock[0] += 2
    track.advance(4)
    assert track.line(100) == f"verifying {'━' * 30} 4/4 shards 2.00/s 0:00 left"


def test_lines_where_there_is_no_terminal(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Track("pretrain", 10, "steps", start=2, every=5) as track:
        clock[0] += 4
        track.advance(2)
        assert capsys.readouterr().err == ""
        clock[0] += 4
        track.advance(2, "loss 1")
        assert capsys.readouterr().err == (
            "pretrain: 6/10 steps, 0.50/s, 0:08 gone, 0:08 left  loss 1\n"
        )
        clock[0] += 8
    assert re.match(r"pretrain: 6/10 steps, 0\.25/s, 0:16 gone", capsys.readouterr().err)


def test_the_last_unit_has_one_line(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Track("look", 1, every=5) as track:
        clock[0] += 8
        track.advance()
    assert capsys.readouterr().err == "look: 1/1 frames, 0.12/s, 0:08 gone, 0:00 left\n"
