"""The flow that samples which voxels an object occupies, from an image (TRELLIS, first stage)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.attention import KeysValues
from gvf_core.models.embedders import TimestepEmbedder, position_embedding
from gvf_core.models.layers import ZeroLinear, initialize
from gvf_core.models.modulated_transformer import ModulatedBlock, image_context


@dataclass(frozen=True)
class StructureFlowParams:
    """Sizes of the sparse-structure flow.

    Attributes:
        resolution: Edge of the latent grid.
        channels: Channels of the latent grid.
        width: Channels of the transformer.
        blocks: Number of blocks.
        heads: Attention heads.
        image_channels: Channels of an image token.
        mlp_ratio: Hidden channels of the feed-forward networks over the width.
        patch_size: Edge of the cube of cells that makes one token.
        qk_rms_norm: Normalise queries and keys of the self attention.
    """

    resolution: int = 16
    channels: int = 8
    width: int = 1024
    blocks: int = 24
    heads: int = 16
    image_channels: int = 1024
    mlp_ratio: float = 4
    patch_size: int = 1
    qk_rms_norm: bool = True


class StructureFlow(nn.Module):
    """Predicts the flow of a noisy structure latent."""

    pos_emb: Tensor

    def __init__(self, params: StructureFlowParams) -> None:
        super().__init__()
        self.params = params
        width, patch = params.width, params.channels * params.patch_size**3
        self.t_embedder = TimestepEmbedder(width)
        axis = torch.arange(params.resolution // params.patch_size)
        self.register_buffer("pos_emb", position_embedding(torch.cartesian_prod(axis, axis, axis), width))
        self.input_layer = nn.Linear(patch, width)
        self.blocks = nn.ModuleList(
            ModulatedBlock(width, params.heads, params.image_channels, params.mlp_ratio, qk_rms_norm=params.qk_rms_norm)
            for _ in range(params.blocks)
        )
        self.out_layer = ZeroLinear(width, patch)
        initialize(self)

    def forward(
        self, x: Float[Tensor, "batch channels x y z"], t: Float[Tensor, " batch"], context: tuple[KeysValues, ...]
    ) -> Float[Tensor, "batch channels x y z"]:
        """Flow of the noisy latent.

        Args:
            x: Noisy latent grid.
            t: Network time, 0 (clean) to 1000 (noise).
            context: Of the image tokens, from `condition`.
        """
        tokens = _patches(x, self.params.patch_size)
        h = self.input_layer(tokens) + self.pos_emb
        emb = self.t_embedder(t)
        for block, keys_values in zip(self.blocks, context, strict=True):
            h = block(h, emb, keys_values)
        out = self.out_layer(F.layer_norm(h, h.shape[-1:]))
        return _grid(out, self.params.patch_size, x.shape[-1])

    def condition(self, image_tokens: Float[Tensor, "batch tokens image_channels"]) -> tuple[KeysValues, ...]:
        """What the image contributes to every step: DINOv2 tokens, all of them, layer-normalised."""
        return image_context(self.blocks, image_tokens)


def _patches(x: Float[Tensor, "batch channels x y z"], size: int) -> Float[Tensor, "batch tokens patch"]:
    """Cubes of cells as tokens; within a token channels vary slowest."""
    batch, channels, *extent = x.shape
    cells = [length // size for length in extent]
    split = x.reshape(batch, channels, cells[0], size, cells[1], size, cells[2], size)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, cells[0] * cells[1] * cells[2], channels * size**3)


def _grid(tokens: Float[Tensor, "batch tokens patch"], size: int, extent: int) -> Float[Tensor, "batch channels x y z"]:
    """Inverse of `_patches` for a cube."""
    cells = extent // size
    split = tokens.unflatten(1, (cells, cells, cells)).unflatten(-1, (-1, size, size, size))
    return split.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(len(tokens), -1, extent, extent, extent)
