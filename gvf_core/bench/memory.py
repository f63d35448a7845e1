"""How much memory a piece of work takes beyond what is there before."""

import ctypes
import ctypes.util
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def extra_memory_mb(run: Callable[[], object], device: torch.device) -> float | None:
    """Run once and tell the peak of memory during it, less the memory before, in MB (2^20 bytes).

    On a GPU as torch counts it; on a CPU as Linux counts resident pages. None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if not sys.platform.startswith("linux"):
        return None
    gc.collect()
    # Pages that the allocator keeps would hide what the work takes.
    ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    except OSError:
        return None
    before_kb = _status_kb("VmRSS")
    run()
    return (_status_kb("VmHWM") - before_kb) / 1024


def _status_kb(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(lines[name].split()[0])
