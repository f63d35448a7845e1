"""Every network has the names and shapes of the official one, so that released weights load as they are."""

import hashlib

import pytest
import torch

from gvf_core.models.presets import create
from gvf_core.models.roles import Role

# Parameters, tensors and the beginning of the sha256 of the sorted lines "name [shape]" of the official state dicts
# (GVFDiffusion at commit f2317cb, TRELLIS main of 2025), built at full size from their configurations.
OFFICIAL = {
    Role.VARIATION_DIT: (105_511_440, 446, "4f64e307b01a2220"),
    Role.VARIATION_VAE: (125_206_318, 121, "c1b88d6db03d20db"),
    Role.STATIC_VAE: (170_927_744, 201, "f97befda1151177d"),
    Role.SLAT_ENCODER: (85_817_104, 100, "a62f6ffbd37fc87b"),
    Role.SLAT_DECODER_GS8: (85_110_640, 101, "7aa5a3a0d5cced32"),
    Role.SLAT_DECODER_GS32: (85_369_024, 101, "ba19835771c3d1dd"),
    Role.STRUCTURE_FLOW: (555_543_560, 489, "8488379a3a0c60dd"),
    Role.STRUCTURE_DECODER: (73_671_201, 74, "69703d5984e0c278"),
    Role.STRUCTURE_ENCODER: (59_298_192, 74, "0a1019719982c359"),
    Role.SLAT_FLOW: (600_432_520, 526, "509f93ad2e656bff"),
}


@pytest.mark.parametrize("role", Role)
def test_names_shapes_and_parameter_count_are_the_official_ones(role):
    network = create(role, device="meta")
    state = network.state_dict()
    lines = "\n".join(sorted(f"{name} {list(tensor.shape)}" for name, tensor in state.items()))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert (parameters, len(state), hashlib.sha256(lines.encode()).hexdigest()[:16]) == OFFICIAL[role]


@pytest.mark.parametrize("role", Role)
def test_the_nano_preset_is_a_small_network_with_the_official_kinds_of_names(role):
    def kinds(network: torch.nn.Module) -> set[str]:
        return {".".join(part for part in name.split(".") if not part.isdigit()) for name in network.state_dict()}

    nano = create(role, "nano", device="meta")
    assert kinds(nano) <= kinds(create(role, device="meta"))
    assert sum(parameter.numel() for parameter in nano.parameters()) < 8e6
