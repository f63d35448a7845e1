"""Embeddings of positions and times."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.layers import SmallLinear

LONGEST_PERIOD = 10_000.0


def position_embedding(xyz: Float[Tensor, "*batch 3"], width: int) -> Float[Tensor, "*batch width"]:
    """Sines and cosines of each coordinate at width // 6 frequencies from 1 down to 1e-4, padded with zeros.

    Official `AbsolutePositionEmbedder`: per axis all sines, then all cosines. The variation DiT gives it continuous
    positions as they are, the voxel networks integer coordinates.
    """
    count = width // 6
    frequency = 1 / LONGEST_PERIOD ** (torch.arange(count, dtype=torch.float32, device=xyz.device) / count)
    phase = xyz.float()[..., None] * frequency
    embedding = torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(-2)
    return nn.functional.pad(embedding, (0, width - embedding.shape[-1]))


def timestep_embedding(t: Float[Tensor, " batch"], width: int) -> Float[Tensor, "batch width"]:
    """Cosines, then sines, of the network time at width / 2 frequencies."""
    count = width // 2
    frequency = torch.exp(-math.log(LONGEST_PERIOD) * torch.arange(count, dtype=torch.float32, device=t.device) / count)
    phase = t.float()[:, None] * frequency
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


class TimestepEmbedder(nn.Module):
    """The sinusoidal embedding of the network time, through a small network."""

    SINUSOIDS = 256

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(SmallLinear(self.SINUSOIDS, width), nn.SiLU(), SmallLinear(width, width))

    def forward(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        """Embedding of network times (0..1000)."""
        return self.mlp(timestep_embedding(t, self.SINUSOIDS))


class PointEmbedder(nn.Module):
    """Position embedding of the variation VAE: width / 6 frequencies from 1 down to about 1e-8.

    Official `PointEmbed`: the exponent runs to 2, unlike that of `position_embedding`; phases are float64.
    """

    omega: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % 6:
            raise ValueError(f"The width of a point embedding must be divisible by 6, not {width}.")
        count = width // 6
        exponent = torch.arange(count, dtype=torch.float64) / (count / 2)
        self.register_buffer("omega", LONGEST_PERIOD**-exponent)

    def forward(self, xyz: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch width"]:
        """The embedding, float32: per axis all sines, then all cosines."""
        phase = xyz.double()[..., None] * self.omega
        return torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(-2).float()
