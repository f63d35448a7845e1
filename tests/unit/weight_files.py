"""Small files that look like released weights."""

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from torch import Tensor

from gvf_core.models.presets import create
from gvf_core.models.registry import CHECKPOINTS, Checkpoint
from gvf_core.models.roles import Role

DIT_FILE = "ema_diffusion_0.9999_500000.pt"
SLAT_ENCODER_FILE = "slat_enc_swin8_B_64l8_fp16.safetensors"


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, because threads that wait for each other on a busy machine take five times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def nano_state(role: Role, seed: int = 0) -> dict[str, Tensor]:
    """The weights of an untrained small network; not to be changed in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create(role, "nano").state_dict()


def save_pickled(path: Path, content: object) -> Path:
    """A file of `torch.save`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def save_statistics(folder: Path, **changes: Tensor) -> list[Path]:
    """The four files of the statistics, bare tensors; changes replace single ones."""
    tensors = {
        "static_mean": torch.zeros(14),
        "static_std": torch.ones(1, 14),
        "deformation_mean": torch.zeros(1, 1, 16),
        "deformation_std": torch.ones(16),
    } | changes
    return [save_pickled(folder / f"{name}.pt", tensor) for name, tensor in tensors.items()]


def save_image_encoder(folder: Path, **changes: object) -> list[Path]:
    """Configuration and first tensor of the image encoder; changes replace values of the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"model_type": "dinov2_with_registers", "hidden_size": 1024, "patch_size": 14, "num_register_tokens": 4}
    (folder / "config.json").write_text(json.dumps(sizes | changes))
    save_arrays({"embeddings.cls_token": np.zeros((1, 1, 1024), np.float32)}, folder / "model.safetensors")
    return [folder / "config.json", folder / "model.safetensors"]


def entry_for(role: Role) -> Checkpoint:
    """The entry of a network."""
    return next(entry for entry in CHECKPOINTS if entry.role is role)


class Trap:
    """What a pickle with code in it is made of: reading it without care touches the file."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return Path.touch, (self.touched,)


def save_trap(path: Path, touched: Path) -> Path:
    """A pickle under a name of weights that runs code when it is read without care."""
    path.write_bytes(pickle.dumps({"a": Trap(touched)}, protocol=2))
    return path
