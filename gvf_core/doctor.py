"""Looks at this machine and says what keeps animating from working, or from working well."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

import gvf_core
from gvf_core.errors import WeightsError
from gvf_core.models.store import default_store
from gvf_core.settings import RELEASED

Verdict = Literal["good", "note", "problem"]

NEEDED_PYTHON = (3, 11)
NEEDED_MEMORY_GB = 4
NEEDED_DISK_GB = 5
PACKAGES = ("torch", "numpy", "av", "safetensors", "numba")
SERVER_PACKAGES = ("fastapi", "uvicorn", "prometheus-client")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        found: What there is.
        verdict: Whether that is enough.
        remedy: What to do about it; empty if nothing is to be done.
    """

    name: str
    found: str
    verdict: Verdict = "good"
    remedy: str = ""


def examine() -> Iterator[Check]:
    """Everything, one after the other; loads torch on the way."""
    yield Check("gvf", gvf_core.__version__)
    yield _python()
    yield from _packages()
    yield from _device()
    yield _memory()
    yield _disk()
    yield from _weights()


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] < NEEDED_PYTHON:
        return Check("Python", found, "problem", "Install Python 3.11 or newer.")
    return Check("Python", found)


def _packages() -> Iterator[Check]:
    for name in (*PACKAGES, *SERVER_PACKAGES):
        try:
            yield Check(name, version(name))
        except PackageNotFoundError:
            extra = "[server]" if name in SERVER_PACKAGES else ""
            remedy = f'Install it: "{sys.executable}" -m pip install "gvf-blender{extra}"'
            yield Check(name, "not installed", "problem", remedy)


def _device() -> Iterator[Check]:
    try:
        import torch

        from gvf_core.rendering.gsplat_backend import CAPABILITY
    except (ImportError, OSError) as error:
        yield Check("device", f"torch cannot be loaded ({error})", "problem", "Install torch again.")
        return
    if not torch.cuda.is_available():
        remedy = ""
        if shutil.which("nvidia-smi"):
            remedy = "There is an NVIDIA GPU: install a torch with CUDA, see https://pytorch.org/get-started."
        yield Check("device", f"CPU, {os.cpu_count()} cores", "note" if remedy else "good", remedy)
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        capability = torch.cuda.get_device_capability(index)
        found = f"{torch.cuda.get_device_name(index)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        if capability < CAPABILITY:
            yield Check(
                f"GPU {index}", found, "note", "It is too old for gsplat: pictures are rendered several times slower."
            )
        else:
            yield Check(f"GPU {index}", f"{found}, compute capability {capability[0]}.{capability[1]}")


def _memory() -> Check:
    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available < NEEDED_MEMORY_GB * 1e9:
        return Check("memory", found, "note", "Close other programs before long videos or many Gaussians.")
    return Check("memory", found)


def _disk() -> Check:
    home = Path(os.environ.get("GVF_HOME") or Path.home() / ".gvf")
    place = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free at {place}"
    if free < NEEDED_DISK_GB * 1e9:
        return Check("disk", found, "note", "Free some space, or set GVF_HOME to a folder on another disk.")
    return Check("disk", found)


def _weights() -> Iterator[Check]:
    store = default_store()
    for name in (RELEASED, *store.sets()):
        try:
            records = store.of_set(name).for_animating()
        except WeightsError as error:
            yield Check(f"weights {name}", error.message, "note", error.hint)
            continue
        random = any(record.origin == "random" for record in records)
        yield Check(f"weights {name}", "complete, untrained" if random else "complete", "note" if random else "good")
