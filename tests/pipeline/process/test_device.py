"""What is said of this machine's arithmetic."""

from pathlib import Path

import pytest

from clever.pipeline.process import device
from clever.pipeline.process.device import native_bfloat16, slow_bfloat16

SLOW = "`precision=bf16` will be slow: this CPU has neither avx512_bf16 nor amx_bf16"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile", None),
        ("flags\t\t: fpu amx_bf16", None),
        ("Features\t: fp asimd bf16", None),
        ("flags\t\t: fpu avx2 avx512f avx512vl", SLOW),
        ("model name\t: avx512_bf16\nflags\t\t: fpu", SLOW),
    ],
)
def test_bfloat16_is_slow_where_no_flag_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, line: str | None
):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\n{flags}\n")
    monkeypatch.setattr(device, "CPU_INFO", info)
    assert slow_bfloat16("bf16", "cpu") == line
    assert native_bfloat16() is (line is None)
    assert slow_bfloat16("fp32", "cpu") is None
    assert slow_bfloat16("bf16", "cuda") is None


def test_an_unknown_processor_is_not_called_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "absent")
    assert native_bfloat16() is None
    assert slow_bfloat16("bf16", "cpu") is None
