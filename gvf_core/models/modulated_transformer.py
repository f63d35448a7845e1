"""The transformer block of TRELLIS' flow networks: self attention, attention to the image, feed-forward network."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.attention import CrossAttention, KeysValues, SelfAttention
from gvf_core.models.layers import FeedForward, LayerNorm, modulate, modulation


class ModulatedBlock(nn.Module):
    """One block; the time modulates self attention and feed-forward network, not the attention to the image.

    Args:
        width: Channels.
        heads: Attention heads.
        context_channels: Channels of an image token.
        mlp_ratio: Hidden channels of the feed-forward network over the width.
        qk_rms_norm: Normalise queries and keys of the self attention.
    """

    def __init__(self, width: int, heads: int, context_channels: int, mlp_ratio: float, *, qk_rms_norm: bool) -> None:
        super().__init__()
        self.norm2 = LayerNorm(width, affine=True)
        self.self_attn = SelfAttention(width, heads, normalize=qk_rms_norm)
        self.cross_attn = CrossAttention(width, heads, context_channels)
        self.mlp = FeedForward(width, mlp_ratio)
        self.adaLN_modulation = modulation(width, 6)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], emb: Float[Tensor, "batch width"], context: KeysValues
    ) -> Float[Tensor, "batch tokens width"]:
        """One block; `emb` is the time embedding, `context` comes from `cross_attn.keys_values`."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.adaLN_modulation(emb)[:, None].chunk(6, dim=-1)
        x = x + gate * self.self_attn(modulate(x, shift, scale))
        x = x + self.cross_attn(self.norm2(x), context)
        return x + mlp_gate * self.mlp(modulate(x, mlp_shift, mlp_scale))


def image_context(blocks: nn.ModuleList, tokens: Float[Tensor, "batch tokens channels"]) -> tuple[KeysValues, ...]:
    """Keys and values of the image tokens for every block, computed once per sample.

    The official negative condition is zeros; one zero token stands for all of them, exactly (see `KeysValues`).
    """
    return tuple(cast(ModulatedBlock, block).cross_attn.keys_values(tokens) for block in blocks)
