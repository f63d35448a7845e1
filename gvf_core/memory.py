"""Memory: how much is free, and how much a piece of work takes at its peak."""

import ctypes
import ctypes.util
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import torch


def free_memory_mb(device: torch.device) -> float:
    """What may be allocated on a device before it runs out, in MB (2^20 bytes)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    return psutil.virtual_memory().available / 2**20


def extra_memory_mb(run: Callable[[], object], device: torch.device) -> float | None:
    """Run once and tell the peak of memory during it, less the memory before, in MB (2^20 bytes).

    On a GPU as torch counts it; on a CPU as Linux counts resident pages. None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    gc.collect()
    if sys.platform.startswith("linux"):
        # Pages that the allocator keeps would hide what the work takes.
        ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    if not forget_peak():
        return None
    before_mb = psutil.Process().memory_info().rss / 2**20
    run()
    peak = peak_mb()
    return None if peak is None else peak - before_mb


def forget_peak() -> bool:
    """Let the peak of this process begin anew; whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_mb() -> float | None:
    """Largest resident size of this process since `forget_peak`, in MB; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
