import pytest
import torch

from darkroom import hardware


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu avx2 amx_bf16 amx_tile", "bf16-mixed"), ("fpu avx2 avx512_bf16", "32"), (None, "32")]
)
def test_a_processor_with_matrix_units_trains_in_bfloat16(tmp_path, monkeypatch, flags, expected):
    info = tmp_path / "cpuinfo"
    if flags is not None:
        info.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(hardware, "_CPU_INFO", info)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.fastest_precision("auto") == hardware.fastest_precision("cpu") == expected


def test_a_gpu_decides_unless_the_processor_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert hardware.fastest_precision("gpu") == "bf16-mixed"
    assert hardware.fastest_precision("cpu") == "32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert hardware.fastest_precision("auto") == "32"
