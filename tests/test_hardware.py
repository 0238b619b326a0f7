import pytest
import torch

from darkroom import hardware


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Be on a machine without a GPU whose processor has these flags."""
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "_CPU_INFO", info)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return lambda flags: info.write_text(f"processor : 0\nflags\t\t: {flags}\n")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu amx_bf16 amx_tile", "bf16-mixed"), ("fpu avx512_bf16", "bf16-mixed"), ("fpu avx512f", "32"), (None, "32")],
)
def test_a_processor_that_multiplies_bfloat16_trains_in_it(processor, flags, expected):
    if flags is not None:
        processor(flags)
    assert hardware.fastest_precision("auto") == hardware.fastest_precision("cpu") == expected


@pytest.mark.parametrize(("gain", "expected"), [(2.0, "bf16-mixed"), (1.05, "32"), (0.5, "32")])
def test_a_trial_decides_where_the_processor_can_do_both(processor, monkeypatch, gain, expected):
    processor("amx_bf16")
    clock = [0.0]
    monkeypatch.setattr(hardware.time, "perf_counter", lambda: clock[0])

    def trial():
        clock[0] += 0.1 / (gain if torch.is_autocast_enabled("cpu") else 1.0)
        return torch.ones((), requires_grad=True)

    assert hardware.fastest_precision("cpu", trial) == expected


def test_no_trial_is_needed_where_half_precision_is_emulated(processor):
    processor("avx2")
    assert hardware.fastest_precision("cpu", lambda: pytest.fail("tried")) == "32"


def test_a_gpu_decides_unless_the_processor_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert hardware.fastest_precision("gpu") == "bf16-mixed"
    assert hardware.fastest_precision("cpu") == "32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert hardware.fastest_precision("auto") == "32"


def test_the_peak_of_memory_remembers_what_has_been_let_go_of():
    before = hardware.peak_memory()["peak_memory_mb"]
    held = bytearray(int(1e6 * (before + 64)))
    held[::4096] = b"1" * len(held[::4096])  # touched, so that it is there
    size = len(held)
    del held
    assert hardware.peak_memory()["peak_memory_mb"] >= size / 1e6
