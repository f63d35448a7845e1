"""What the worker computes on."""

import os
import subprocess
import sys
from dataclasses import dataclass

import psutil

ASK_SECONDS = 20.0


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


def installed_gpus() -> list[str]:
    """The NVIDIA GPUs that workers may use, asked from the driver because this process must not load torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return asked.stdout.split() if asked.returncode == 0 else []


def describe_device() -> Device:
    """The GPU that torch uses, if this process has loaded torch and there is one; else the host."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Device("cuda", torch.cuda.get_device_name(), total // 10**6, free // 10**6)
    memory = psutil.virtual_memory()
    return Device("cpu", f"{os.cpu_count()} cores", memory.total // 10**6, memory.available // 10**6)
