"""What each network is for. Needs no torch, so that lists of weights are shown at once."""

from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """The networks of the method, by what they do."""

    VARIATION_DIT = "variation-dit"
    """Samples the latent of a variation field from the video and the canonical Gaussians (section 3.3)."""
    VARIATION_VAE = "variation-vae"
    """Between variation fields and their latents (section 3.1)."""
    STATIC_VAE = "static-vae"
    """E_GS and D_GS in one file, as GVF fine-tuned them: voxel features to canonical Gaussians and back."""
    SLAT_ENCODER = "slat-encoder"
    """E_GS of TRELLIS: voxel features to the structured latent."""
    SLAT_DECODER_GS8 = "slat-decoder-gs8"
    """D_GS with 8 Gaussians per voxel, as GVF uses it."""
    SLAT_DECODER_GS32 = "slat-decoder-gs32"
    """D_GS of TRELLIS with 32 Gaussians per voxel."""
    STRUCTURE_FLOW = "structure-flow"
    """Samples which voxels are occupied from an image."""
    STRUCTURE_DECODER = "structure-decoder"
    """From the latent of a sparse structure to occupied voxels."""
    STRUCTURE_ENCODER = "structure-encoder"
    """From occupied voxels to the latent of a sparse structure."""
    SLAT_FLOW = "slat-flow"
    """Samples the structured latent on occupied voxels from an image."""


PresetName = Literal["full", "nano"]
"""Sizes that every network can be built at: as released, or small enough to train on two cores."""
