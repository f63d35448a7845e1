"""The transformer over sparse voxels of E_GS and D_GS: attention inside windows that shift from block to block."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gvf_core.models.attention import KeysValues
from gvf_core.models.embedders import position_embedding
from gvf_core.models.layers import FeedForward, LayerNorm, Linear
from gvf_core.models.voxels import Windows, partition, windowed_attention


def run_blocks(
    blocks: nn.ModuleList, x: Float[Tensor, "voxels width"], coordinates: Int[Tensor, "voxels 4"], window: int
) -> Float[Tensor, "voxels width"]:
    """Add the position embedding and run all blocks, odd ones with windows shifted by half a window.

    The features are kept in the order of the current block's windows, in which attention reads slices: changing the
    order moves the features of a voxel once a block, not its queries, keys, values and results.

    Args:
        blocks: `SparseTransformerBlock`s.
        x: Features, float32.
        coordinates: Batch item, x, y, z.
        window: Edge of a window in voxels.
    """
    x = x + position_embedding(coordinates[:, 1:], x.shape[1])
    straight, shifted = (partition(coordinates, window, shift) for shift in (0, window // 2))
    x, place = x[straight.order], straight
    for index, block in enumerate(blocks):
        windows = shifted if index % 2 else straight
        if windows is not place:
            x, place = x[place.inverse[windows.order]], windows
        x = block(x, windows)
    return x[place.inverse]


class SparseTransformerBlock(nn.Module):
    """Windowed attention and a feed-forward network on normalised features."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, affine=False)
        self.norm2 = LayerNorm(width, affine=False)
        self.attn = WindowedAttention(width, heads)
        self.mlp = FeedForward(width, mlp_ratio)

    def forward(self, x: Float[Tensor, "voxels width"], windows: Windows) -> Float[Tensor, "voxels width"]:
        """One block; features in window order."""
        x = x + self.attn(self.norm1(x), windows)
        return x + self.mlp(self.norm2(x))


class WindowedAttention(nn.Module):
    """Self attention inside windows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = Linear(width, 3 * width)
        self.to_out = Linear(width, width)

    def forward(self, x: Float[Tensor, "voxels width"], windows: Windows) -> Float[Tensor, "voxels width"]:
        """Attention; features in window order."""
        queries, keys, values = torch.unbind(self.to_qkv(x).unflatten(-1, (3, self.heads, -1)), dim=1)
        return self.to_out(windowed_attention(queries, KeysValues(keys, values), windows))
