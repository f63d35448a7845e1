"""The flow that samples the structured latent on occupied voxels, from an image (TRELLIS, second stage)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gvf_core.models.attention import KeysValues
from gvf_core.models.embedders import TimestepEmbedder, position_embedding
from gvf_core.models.layers import LayerNorm, Linear, LowPrecision, ZeroLinear, initialize
from gvf_core.models.modulated_transformer import ModulatedBlock, image_context
from gvf_core.models.voxels import (
    CoarseGrid,
    Neighborhood,
    coarsen,
    find_neighborhood,
    item_slices,
    submanifold_convolution,
)


@dataclass(frozen=True)
class SlatFlowParams:
    """Sizes of the flow of structured latents.

    Attributes:
        channels: Channels of the structured latent.
        width: Channels of the transformer.
        blocks: Number of transformer blocks.
        heads: Attention heads.
        image_channels: Channels of an image token.
        mlp_ratio: Hidden channels of the feed-forward networks over the width.
        outer_channels: Channels of the residual blocks at each resolution finer than the transformer's, finest first.
        outer_blocks: Residual blocks per such resolution, on the way in and on the way out.
        qk_rms_norm: Normalise queries and keys of the self attention.
    """

    channels: int = 8
    width: int = 1024
    blocks: int = 24
    heads: int = 16
    image_channels: int = 1024
    mlp_ratio: float = 4
    outer_channels: tuple[int, ...] = (128,)
    outer_blocks: int = 2
    qk_rms_norm: bool = True


@dataclass(frozen=True)
class _Level:
    """What a resolution's coordinates determine: computed once for all layers and, by the caller, for all steps."""

    coordinates: Int[Tensor, "voxels 4"]
    neighborhood: Neighborhood
    items: list[slice]
    item: Int[Tensor, " voxels"]


@dataclass(frozen=True)
class SlatGrid:
    """The occupied voxels at every resolution of the network, finest first.

    Attributes:
        levels: By resolution.
        coarser: Between each resolution and the next.
    """

    levels: tuple[_Level, ...]
    coarser: tuple[CoarseGrid, ...]


class SlatFlow(nn.Module):
    """Predicts the flow of noisy structured latents."""

    def __init__(self, params: SlatFlowParams) -> None:
        super().__init__()
        self.params = params
        width, outer = params.width, params.outer_channels
        self.t_embedder = TimestepEmbedder(width)
        self.input_layer = nn.Linear(params.channels, outer[0])
        into, out_of = [], []
        for fine, coarse in zip(outer, [*outer[1:], width], strict=True):
            into += [SparseResBlock(fine, fine, width) for _ in range(params.outer_blocks - 1)]
            into.append(SparseResBlock(fine, coarse, width, step="down"))
            rest = [SparseResBlock(2 * fine, fine, width) for _ in range(params.outer_blocks - 1)]
            out_of.append([SparseResBlock(2 * coarse, fine, width, step="up"), *rest])
        self.input_blocks = nn.ModuleList(into)
        self.blocks = nn.ModuleList(
            ModulatedBlock(width, params.heads, params.image_channels, params.mlp_ratio, qk_rms_norm=params.qk_rms_norm)
            for _ in range(params.blocks)
        )
        self.out_blocks = nn.ModuleList(block for blocks in reversed(out_of) for block in blocks)
        self.out_layer = ZeroLinear(outer[0], params.channels)
        initialize(self)

    def forward(
        self,
        x: Float[Tensor, "voxels channels"],
        grid: SlatGrid,
        t: Float[Tensor, " batch"],
        context: tuple[KeysValues, ...],
    ) -> Float[Tensor, "voxels channels"]:
        """Flow of the noisy latents.

        Args:
            x: Noisy latent of every voxel.
            grid: The voxels, from `prepare`.
            t: Network time, 0 (clean) to 1000 (noise).
            context: Of the image tokens, from `condition`.
        """
        emb = self.t_embedder(t)
        h, level, skips = self.input_layer(x), 0, []
        for block in self.input_blocks:
            h, level = block(h, grid, level, emb)
            skips.append(h)
        h = h + position_embedding(grid.levels[level].coordinates[:, 1:], h.shape[1])
        h = torch.cat([self._transform(h, emb, context, n, item) for n, item in enumerate(grid.levels[level].items)])
        for block in self.out_blocks:
            h, level = block(torch.cat([h, skips.pop()], dim=1), grid, level, emb)
        return self.out_layer(F.layer_norm(h, h.shape[-1:]))

    def _transform(
        self, h: Tensor, emb: Tensor, context: tuple[KeysValues, ...], number: int, item: slice
    ) -> Float[Tensor, "voxels width"]:
        """The transformer on one batch item, whose voxels see each other and their own image."""
        x, own = h[None, item], slice(number, number + 1)
        for block, (keys, values) in zip(self.blocks, context, strict=True):
            shared = len(keys) == 1
            x = block(x, emb[own], KeysValues(keys, values) if shared else KeysValues(keys[own], values[own]))
        return x[0]

    def prepare(self, coordinates: Int[Tensor, "voxels 4"]) -> SlatGrid:
        """What depends on the voxels alone; the same for every step.

        Args:
            coordinates: Batch item, x, y, z; sorted by batch item, whose numbers run from 0 without a gap.
        """
        levels, coarser = [_level(coordinates)], []
        for _ in self.params.outer_channels:
            step = coarsen(levels[-1].coordinates)
            coarser.append(step)
            levels.append(_level(step.coordinates))
        return SlatGrid(tuple(levels), tuple(coarser))

    def condition(self, image_tokens: Float[Tensor, "batch tokens image_channels"]) -> tuple[KeysValues, ...]:
        """What the image contributes to every step: DINOv2 tokens, all of them, layer-normalised."""
        return image_context(self.blocks, image_tokens)


class SparseResBlock(nn.Module):
    """Two submanifold convolutions, modulated by the time between them, beside the identity.

    A change of resolution comes first of all in the block.

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output.
        emb_channels: Channels of the time embedding.
        step: "down" halves the resolution, "up" doubles it.
    """

    def __init__(self, channels: int, out_channels: int, emb_channels: int, step: str = "") -> None:
        super().__init__()
        self.step = step
        self.norm1 = LayerNorm(channels, affine=True)
        self.norm2 = LayerNorm(out_channels, affine=False)
        self.conv1 = SubmanifoldConv(channels, out_channels)
        self.conv2 = SubmanifoldConv(out_channels, out_channels)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        self.skip_connection = Linear(channels, out_channels) if channels != out_channels else nn.Identity()
        nn.init.zeros_(self.conv2.conv.weight)

    def forward(
        self, x: Float[Tensor, "voxels channels"], grid: SlatGrid, level: int, emb: Float[Tensor, "batch emb_channels"]
    ) -> tuple[Float[Tensor, "voxels2 out_channels"], int]:
        """The features at the block's resolution, and which that is."""
        if self.step == "down":
            x, level = grid.coarser[level].pool(x), level + 1
        elif self.step == "up":
            x, level = grid.coarser[level - 1].spread(x), level - 1
        where = grid.levels[level]
        # Scale first here, shift first in adaLN: so the official code has it.
        scale, shift = self.emb_layers(emb)[where.item].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)), where.neighborhood)
        h = self.norm2(h) * (1 + scale) + shift
        h = self.conv2(F.silu(h), where.neighborhood)
        return h.to(x.dtype) + self.skip_connection(x), level


class SubmanifoldConv(nn.Module):
    """A submanifold convolution with a kernel of three; `conv` is the official name of what holds its weights."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = SubmanifoldWeights(channels, out_channels)

    def forward(
        self, x: Float[Tensor, "voxels channels"], neighborhood: Neighborhood
    ) -> Float[Tensor, "voxels out_channels"]:
        """The convolution, in the type of the weights."""
        weight, bias = self.conv.weight, self.conv.bias
        return submanifold_convolution(x.to(weight.dtype), neighborhood, weight, bias)


class SubmanifoldWeights(LowPrecision):
    """Weights in the layout of spconv 2.x, [out, x, y, z, in]."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(out_channels, 3, 3, 3, channels), std=0.02))
        self.bias = nn.Parameter(torch.zeros(out_channels))


def _level(coordinates: Int[Tensor, "voxels 4"]) -> _Level:
    return _Level(coordinates, find_neighborhood(coordinates), item_slices(coordinates), coordinates[:, 0].long())
