"""What this machine is good at."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

_CPU_INFO = Path("/proc/cpuinfo")
_HALF_UNITS = ("amx_bf16", "avx512_bf16")  # instructions that multiply bfloat16; without them it is emulated
_SECONDS = 0.5  # of each precision in a trial
_WORTH_IT = 1.1  # how much faster half precision must be


def peak_memory() -> dict[str, float]:
    """Return the most memory this process has held so far, ``peak_memory_mb``, and ``peak_gpu_memory_mb`` of a GPU.

    In millions of bytes; of what ran before in the same process as well. Empty where the system does not say.
    """
    found = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
        found["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    if torch.cuda.is_available():
        found["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return found


def fastest_precision(
    accelerator: str, trial: Callable[[], Tensor | None] | None = None
) -> Literal["32", "bf16-mixed"]:
    """Return the precision that trains fastest without giving up range.

    On a processor bfloat16 can pay where it has instructions for it (AMX, AVX-512 BF16); elsewhere it is emulated
    and slower than float32. Whether it does depends on the network: it doubles the speed of wide convolutions and does
    nothing for thin ones. ``trial`` returns a number to differentiate, or None; with one both precisions are timed for
    half a second.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32"
    flags = _CPU_INFO.read_text().split() if _CPU_INFO.is_file() else []
    if not any(units in flags for units in _HALF_UNITS):
        return "32"
    if trial is None or trial() is None:
        return "bf16-mixed"
    return "bf16-mixed" if _step(trial, False) > _WORTH_IT * _step(trial, True) else "32"


def _step(trial: Callable[[], Tensor | None], half: bool) -> float:
    """Return the seconds of the fastest of several steps: others may be using the processor too."""
    fastest, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        before = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            number = trial()
        assert number is not None
        number.backward()  # type: ignore[no-untyped-call]
        fastest = min(fastest, time.perf_counter() - before)
    return fastest
