"""Structured latents on disk, so that a second video or seed for the same asset skips the views."""

import contextlib
import logging
import os
import secrets
from pathlib import Path

import torch
from platformdirs import user_cache_dir
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

LOGGER = logging.getLogger(__name__)

FOLDER_VARIABLE = "GVF_CACHE_DIR"
MAX_FILES = 500
"""The least recently used ones go first; a file has about 1 MB."""


def cache_folder() -> Path:
    """Where the environment says, else in the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen) if chosen else Path(user_cache_dir("gvf-blender", appauthor=False)) / "latents"


def read_latents(key: str) -> dict[str, Tensor] | None:
    """What was stored under a key; None if nothing was, or it is damaged."""
    path = cache_folder() / f"{key}.safetensors"
    try:
        tensors = load_file(path)
        os.utime(path)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        LOGGER.warning("%s cannot be used (%s); it is made again", path, error)
        return None
    return tensors


def write_latents(key: str, tensors: dict[str, Tensor]) -> None:
    """Store tensors under a key. A cache that cannot be written is a loss of time only, so it is logged."""
    folder = cache_folder()
    partial = folder / f"{key}.{secrets.token_hex(4)}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        partial.replace(folder / f"{key}.safetensors")
        _forget_oldest(folder)
    except (OSError, SafetensorError) as error:
        LOGGER.warning("latents were not kept in %s (%s)", folder, error)
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def fits(tensors: dict[str, Tensor], voxels: int, channels: int) -> bool:
    """Whether stored latents have the expected shapes and finite values."""
    latents, indices = tensors.get("latents"), tensors.get("indices")
    return (
        latents is not None
        and indices is not None
        and latents.shape == (voxels, channels)
        and indices.shape == (voxels, 3)
        and latents.dtype is torch.float32
        and bool(latents.isfinite().all())
    )


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    for path in files[: max(0, len(files) - MAX_FILES)]:
        path.unlink(missing_ok=True)
