"""Which build of PyTorch an installation takes: with CUDA for NVIDIA GPUs, or the far smaller one for CPUs."""

import ctypes
import shutil
import sys
from enum import StrEnum

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
"""Where PyTorch publishes its builds for CPUs; what the Python index has for Linux brings 3 GB of CUDA packages."""

_DRIVER = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}


class TorchBuild(StrEnum):
    """A build of PyTorch."""

    CPU = "cpu"
    CUDA = "cuda"


def can_choose(platform: str = sys.platform) -> bool:
    """Whether there are two builds to choose from: on Windows and macOS the Python index has one."""
    return platform == "linux"


def suggested_build() -> TorchBuild:
    """With CUDA where an NVIDIA driver is installed."""
    return TorchBuild.CUDA if has_nvidia_driver() else TorchBuild.CPU


def has_nvidia_driver(platform: str = sys.platform) -> bool:
    """Whether the driver's program is found or its library loads; both come with the driver and with nothing else."""
    if shutil.which("nvidia-smi"):
        return True
    try:
        ctypes.CDLL(_DRIVER[platform])
    except (KeyError, OSError):
        return False
    return True


def download_megabytes(build: TorchBuild, platform: str = sys.platform) -> int:
    """About how much an installation of the server downloads, in MB (10^6 bytes).

    443 MB were counted for CPUs, 192 of them PyTorch; the size with CUDA is an estimate.
    """
    return 3000 if build is TorchBuild.CUDA and can_choose(platform) else 450


def disk_megabytes(build: TorchBuild, platform: str = sys.platform) -> int:
    """About how much disk space it takes, in MB."""
    return 6000 if build is TorchBuild.CUDA and can_choose(platform) else 2000
