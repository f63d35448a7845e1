"""What the worker computes on."""

import os
import sys
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Device:
    """A processor and its memory.

    Attributes:
        kind: "cuda" or "cpu".
        name: As its maker calls it, or the number of cores.
        memory_mb: Memory of the device, in MB (10^6 bytes).
        free_mb: How much of it was free when the worker started.
    """

    kind: str
    name: str
    memory_mb: int
    free_mb: int


def describe_device() -> Device:
    """The GPU that torch uses, if this process has loaded torch and there is one; else the host."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Device("cuda", torch.cuda.get_device_name(), total // 10**6, free // 10**6)
    memory = psutil.virtual_memory()
    return Device("cpu", f"{os.cpu_count()} cores", memory.total // 10**6, memory.available // 10**6)
