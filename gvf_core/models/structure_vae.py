"""Between occupied voxels and the latent of a sparse structure: dense 3D convolutions (TRELLIS)."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.layers import Conv3d
from gvf_core.models.posterior import Posterior

NORM_EPS = 1e-5


@dataclass(frozen=True)
class StructureVaeParams:
    """Sizes of a structure encoder or decoder.

    Attributes:
        channels: Of each resolution in the order in which the network meets them; each is twice (decoder) or half
            (encoder) as fine as the one before.
        latent_channels: Channels of the latent grid.
        blocks: Residual blocks per resolution.
        middle_blocks: Residual blocks at the coarsest resolution besides.
    """

    channels: tuple[int, ...]
    latent_channels: int = 8
    blocks: int = 2
    middle_blocks: int = 2


class StructureDecoder(nn.Module):
    """From a latent grid to the occupancy of a grid finer by 2 per resolution after the first."""

    def __init__(self, params: StructureVaeParams) -> None:
        super().__init__()
        first, last = params.channels[0], params.channels[-1]
        self.input_layer = nn.Conv3d(params.latent_channels, first, 3, padding=1)
        self.middle_block = nn.Sequential(*(ResBlock(first) for _ in range(params.middle_blocks)))
        self.blocks = _resolutions(params, Upsample)
        self.out_layer = nn.Sequential(ChannelNorm(last), nn.SiLU(), nn.Conv3d(last, 1, 3, padding=1))

    def forward(self, latent: Float[Tensor, "batch channels x y z"]) -> Float[Tensor, "batch 1 x2 y2 z2"]:
        """Logits; a voxel is occupied where its logit is positive."""
        h = self.middle_block(self.input_layer(latent))
        for block in self.blocks:
            h = block(h)
        return self.out_layer(h)


class StructureEncoder(nn.Module):
    """From an occupancy grid to the distribution of its latent."""

    def __init__(self, params: StructureVaeParams) -> None:
        super().__init__()
        first, last = params.channels[0], params.channels[-1]
        self.input_layer = nn.Conv3d(1, first, 3, padding=1)
        self.blocks = _resolutions(params, Downsample)
        self.middle_block = nn.Sequential(*(ResBlock(last) for _ in range(params.middle_blocks)))
        last_layer = nn.Conv3d(last, 2 * params.latent_channels, 3, padding=1)
        self.out_layer = nn.Sequential(ChannelNorm(last), nn.SiLU(), last_layer)

    def forward(self, occupancy: Float[Tensor, "batch 1 x y z"]) -> Posterior:
        """Distribution of the latent grid; occupied voxels are 1, others 0."""
        h = self.input_layer(occupancy)
        for block in self.blocks:
            h = block(h)
        return Posterior(*self.out_layer(self.middle_block(h)).chunk(2, dim=1))


class ResBlock(nn.Module):
    """Two normalised convolutions beside the identity. The last convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.conv1, self.conv2 = _conv(channels, channels), _conv(channels, channels)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "batch channels x y z"]) -> Float[Tensor, "batch channels x y z"]:
        """One block."""
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Upsample(nn.Module):
    """A convolution to eight times the channels, which become the eight cells of each cell."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, 8 * out_channels)

    def forward(self, x: Float[Tensor, "batch channels x y z"]) -> Float[Tensor, "batch out_channels x2 y2 z2"]:
        """The finer grid."""
        h = self.conv(x).to(x.dtype).unflatten(1, (-1, 2, 2, 2))
        batch, channels, *_, x_size, y_size, z_size = h.shape
        return h.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, channels, 2 * x_size, 2 * y_size, 2 * z_size)


class Downsample(nn.Module):
    """A convolution of eight cells to one."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = Conv3d(channels, out_channels, 2, stride=2)

    def forward(self, x: Float[Tensor, "batch channels x2 y2 z2"]) -> Float[Tensor, "batch out_channels x y z"]:
        """The coarser grid."""
        return self.conv(x).to(x.dtype)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of a grid, in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, NORM_EPS)

    def forward(self, x: Float[Tensor, "batch channels x y z"]) -> Float[Tensor, "batch channels x y z"]:
        """The normalised grid, float32."""
        return super().forward(x.float().movedim(1, -1)).movedim(-1, 1).contiguous()


def _resolutions(params: StructureVaeParams, step: type[Upsample] | type[Downsample]) -> nn.ModuleList:
    """Residual blocks at every resolution, with a step to the next between."""
    blocks: list[nn.Module] = []
    for index, channels in enumerate(params.channels):
        if index:
            blocks.append(step(params.channels[index - 1], channels))
        blocks += [ResBlock(channels) for _ in range(params.blocks)]
    return nn.ModuleList(blocks)


def _conv(channels: int, out_channels: int) -> Conv3d:
    return Conv3d(channels, out_channels, 3, padding=1)
