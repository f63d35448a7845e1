"""Weights that were never trained: they exercise the whole chain on a machine without released ones, and mean nothing.

Layers that start at zero are filled too, so that every part of the chain has an effect.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gvf_core.errors import WeightsError
from gvf_core.models.dinov2_names import Dinov2Sizes
from gvf_core.models.image_encoder import build_network
from gvf_core.models.presets import create
from gvf_core.models.record import Installed
from gvf_core.models.registry import FOR_ANIMATING, Checkpoint, Part
from gvf_core.models.roles import PresetName, Role
from gvf_core.models.store import Store

ENCODERS = {"full": Dinov2Sizes(), "nano": Dinov2Sizes(width=384, depth=2, heads=6, grid=16)}
"""ViT-L/14, and a few layers of the width of ViT-S/14 for pictures of 224 pixels."""
_SMALL = 0.02


def add_random(
    store: Store,
    preset: PresetName,
    seed: int,
    entries: Sequence[Checkpoint] = FOR_ANIMATING,
    on_entry: Callable[[str], None] = lambda name: None,
) -> list[Installed]:
    """Install random weights, marked as such.

    Args:
        store: Where to.
        preset: Size of the networks.
        seed: The same seed gives the same weights.
        entries: Which; those that animating needs if not given.
        on_entry: Called with the name of each before it is made.

    Raises:
        WeightsError: Trained weights are in the place of one of them, one cannot be made, or not be stored. Nothing is
            installed where trained weights are in the way.
    """
    for entry in entries:
        found = store.find(entry.name)
        if found is not None and found.origin != "random":
            raise WeightsError(
                f"{entry.name} is installed ({found.origin}); random weights do not replace it.",
                "Choose another name for the random set, or remove it first.",
            )
    installed = []
    for entry in entries:
        on_entry(entry.name)
        with tempfile.TemporaryDirectory(prefix="gvf-random-") as folder, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            files = _write(entry, preset, Path(folder))
            installed.append(store.install(entry.name, files, origin="random"))
    return installed


def _write(entry: Checkpoint, preset: PresetName, folder: Path) -> list[Path]:
    """The files of an entry as its publisher would name them."""
    if entry.role is Part.STATISTICS:
        return _write_statistics(folder)
    if entry.role is Part.IMAGE_ENCODER:
        return _write_image_encoder(preset, folder)
    if not isinstance(entry.role, Role):
        raise WeightsError(f"There are no random weights for {entry.name}.", "Leave it out.")
    path = folder / "weights.safetensors"
    save_file(without_zeros(create(entry.role, preset)).state_dict(), path)
    return [path]


def without_zeros(network: nn.Module) -> nn.Module:
    """Let every layer of a new network have an effect; those that start at zero get small random weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(0, _SMALL)
    return network


def random_image_encoder(sizes: Dinov2Sizes) -> nn.Module:
    """The network of an image encoder, from torch's own random state."""
    network = build_network(sizes)
    state = {name: _drawn(name, tensor) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    return network


def _write_statistics(folder: Path) -> list[Path]:
    """Statistics that change nothing."""
    tensors = {
        "static_mean": torch.zeros(14),
        "static_std": torch.ones(14),
        "deformation_mean": torch.zeros(16),
        "deformation_std": torch.ones(16),
    }
    for name, tensor in tensors.items():
        torch.save(tensor, folder / f"{name}.pt")
    return [folder / f"{name}.pt" for name in tensors]


def _write_image_encoder(preset: PresetName, folder: Path) -> list[Path]:
    sizes = ENCODERS[preset]
    config: dict[str, object] = {
        "model_type": "dinov2_with_registers",
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.depth,
        "num_attention_heads": sizes.heads,
        "patch_size": sizes.patch,
        "image_size": sizes.image,
        "num_register_tokens": sizes.registers,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(random_image_encoder(sizes).state_dict(), folder / "model.safetensors")
    return [folder / "config.json", folder / "model.safetensors"]


def _drawn(name: str, tensor: Tensor) -> Tensor:
    """Factors are one, biases zero, everything else small."""
    if tensor.ndim > 1:
        return _SMALL * torch.randn(tensor.shape)
    return torch.full(tensor.shape, float(name.endswith(("weight", "lambda1"))))
