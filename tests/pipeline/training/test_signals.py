"""Ctrl-C and SIGTERM between two steps: the first is noted, the second ends the run."""

import signal
import threading

import pytest
import torch

from clever.pipeline.process.team import Team
from clever.pipeline.training import signals
from clever.pipeline.training.signals import REPEATED, StopRequest, ignore_interrupt

CPU = torch.device("cpu")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_alone_the_second_signal_does_not_wait(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    stop = StopRequest(Team(0, 1, CPU))
    with stop.listening():
        assert (stop.received, stop.agreed) == (False, False)
        signal.raise_signal(number)
        assert (stop.received, stop.agreed) == (True, True)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert capsys.readouterr().err == "stopping after this step; once more stops at once\n"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_none_stops_before_all_agree(
    rank: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A launcher repeats the terminal's signal: within `REPEATED` seconds it counts once."""
    clock = [100.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: clock[0])
    stop = StopRequest(Team(rank, 2, CPU))
    with stop.listening():
        signal.raise_signal(signal.SIGINT)
        assert (stop.received, stop.agreed) == (True, False)
        clock[0] += REPEATED
        signal.raise_signal(signal.SIGTERM)
        clock[0] += 0.01
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert capsys.readouterr().err.count("stopping after this step") == (2 if rank == 0 else 0)


def test_only_the_main_thread_answers_signals() -> None:
    stop, before = StopRequest(Team(0, 1, CPU)), signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def listen() -> None:
        with stop.listening():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert inside == [before]


def test_workers_ignore_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        ignore_interrupt(0)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
