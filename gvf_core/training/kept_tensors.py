"""Tensors that were computed of a clip once and are kept as a file, as long as the clip stays what it was."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gvf_core.training.clip_record import ClipRecord

_CLIP = "clip"


def kept_tensors(folder: Path, record: ClipRecord, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Read what was made of a clip, or make it if there is nothing or the clip had other contents.

    Args:
        folder: Of everything that the same networks made.
        record: The clip.
        make: Called in any thread.
    """
    path = folder / f"{record.name}.safetensors"
    if read_origin(path).get(_CLIP) != record.digest:
        write_whole(path, make(), {_CLIP: record.digest})
    return load_file(path)


def read_origin(path: Path) -> dict[str, str]:
    """What a file says about where its tensors come from; nothing if there is no readable file."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def write_whole(path: Path, tensors: Mapping[str, Tensor], origin: Mapping[str, str]) -> None:
    """Write a file that appears whole or not at all, though other threads and processes write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial, dict(origin))
    partial.replace(path)
