"""Networks by what they do and how large they are, with or without weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gvf_core.models.checkpoint import load_weights, read_state_dict
from gvf_core.models.gaussian_head import GaussianHeadParams
from gvf_core.models.roles import PresetName, Role
from gvf_core.models.slat_flow import SlatFlow, SlatFlowParams
from gvf_core.models.static_vae import (
    SlatEncoder,
    SlatGaussianDecoder,
    SlatParams,
    StaticVae,
    is_static_vae,
    slat_decoder_weights,
    slat_encoder_weights,
)
from gvf_core.models.structure_flow import StructureFlow, StructureFlowParams
from gvf_core.models.structure_vae import StructureDecoder, StructureEncoder, StructureVaeParams
from gvf_core.models.variation_dit import VariationDit, VariationDitParams
from gvf_core.models.variation_vae import VariationVae, VariationVaeParams

_NANO_DIT = VariationDitParams(width=192, blocks=6, heads=6, image_channels=384)
_NANO_SLAT = SlatParams(feature_channels=384, width=192, blocks=4, heads=3)
_NANO_VAE = VariationVaeParams(width=192, depth=4, heads=4, latents=128)
_GS32 = GaussianHeadParams(per_voxel=32)
_STRUCTURE_DECODER = StructureVaeParams(channels=(512, 128, 32))
_STRUCTURE_ENCODER = StructureVaeParams(channels=(32, 128, 512))
_NANO_STRUCTURE_FLOW = StructureFlowParams(width=192, blocks=4, heads=3, image_channels=384)
_NANO_SLAT_FLOW = SlatFlowParams(width=192, blocks=4, heads=3, image_channels=384, outer_channels=(32,))

_NETWORKS: dict[Role, tuple[type[nn.Module], Any, Any]] = {
    Role.VARIATION_DIT: (VariationDit, VariationDitParams(), _NANO_DIT),
    Role.VARIATION_VAE: (VariationVae, VariationVaeParams(), _NANO_VAE),
    Role.STATIC_VAE: (StaticVae, SlatParams(), _NANO_SLAT),
    Role.SLAT_ENCODER: (SlatEncoder, SlatParams(), _NANO_SLAT),
    Role.SLAT_DECODER_GS8: (SlatGaussianDecoder, SlatParams(), _NANO_SLAT),
    Role.SLAT_DECODER_GS32: (SlatGaussianDecoder, SlatParams(head=_GS32), replace(_NANO_SLAT, head=_GS32)),
    Role.STRUCTURE_FLOW: (StructureFlow, StructureFlowParams(), _NANO_STRUCTURE_FLOW),
    Role.STRUCTURE_DECODER: (StructureDecoder, _STRUCTURE_DECODER, StructureVaeParams(channels=(64, 32, 16), blocks=1)),
    Role.STRUCTURE_ENCODER: (StructureEncoder, _STRUCTURE_ENCODER, StructureVaeParams(channels=(16, 32, 64), blocks=1)),
    Role.SLAT_FLOW: (SlatFlow, SlatFlowParams(), _NANO_SLAT_FLOW),
}


def create(role: Role, preset: PresetName = "full", device: str | torch.device = "cpu") -> nn.Module:
    """A network with untrained weights, in evaluation mode.

    Args:
        role: What the network does.
        preset: "full" has the sizes of the released weights; "nano" is small enough to be trained on two cores.
        device: "meta" builds shapes without memory, for `load_weights` to fill.
    """
    network, full, nano = _NETWORKS[role]
    with torch.device(device):
        return network(full if preset == "full" else nano).eval()


def load(role: Role, path: Path, preset: PresetName = "full") -> nn.Module:
    """A network with the weights of a file, on the CPU, in float32 and evaluation mode.

    The file of GVF's static VAE also serves where the encoder or the decoder with 8 Gaussians is asked for under its
    TRELLIS name.

    Args:
        role: What the network does.
        path: Of the weights.
        preset: The size that they were trained at.

    Raises:
        WeightsError: The file cannot be read or its weights do not fit.
    """
    state = read_state_dict(path)
    if role is Role.SLAT_ENCODER and is_static_vae(state):
        state = slat_encoder_weights(state)
    elif role is Role.SLAT_DECODER_GS8 and is_static_vae(state):
        state = slat_decoder_weights(state)
    network = create(role, preset, device="meta")
    load_weights(network, state, source=path.name)
    return network
