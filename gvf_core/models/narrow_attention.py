"""Attention to tokens of few channels, without ever widening them.

The keys of a context s of few channels are K_h = A_h s + a_h and its values V_h = B_h s + b_h, with matrices that
follow from the weights. A query's scores are then q_h . K_h = (A_h' q_h) . s plus what all tokens share, which softmax
ignores; and the weights p of attention, which sum to 1, give p V_h = B_h (p s) + b_h. So the tokens themselves serve as
keys and values of every head and block, and A and B become part of the maps to queries and results. For the 14 channels
of a Gaussian and heads of 32, attention to 4096 static tokens takes half the multiplications, and nothing needs to be
kept but the tokens. The result is the same but for rounding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.attention import CrossAttention, KeysValues, attend

_ALIGNMENT = 8
"""Channels of a head that torch's attention kernels want a multiple of."""


@dataclass(frozen=True)
class NarrowContext:
    """What one cross attention needs to attend to tokens of few channels.

    Attributes:
        tokens: Padded with zero channels where that is faster; the same for every attention.
        query_weight: Map from a token's width to the queries of all heads.
        query_bias: Its bias.
        out_weight: Map from what the heads attended to back to the width.
        out_bias: Its bias.
        heads: Number of heads.
        scale: Factor on the scores.
    """

    tokens: Float[Tensor, "batch 1 tokens channels"]
    query_weight: Float[Tensor, "heads*channels width"]
    query_bias: Float[Tensor, " heads*channels"]
    out_weight: Float[Tensor, "width heads*channels"]
    out_bias: Float[Tensor, " width"]
    heads: int
    scale: float

    def attend(self, x: Float[Tensor, "batch queries width"]) -> Float[Tensor, "batch queries width"]:
        """Attention of the queries to the tokens, mapped to the width."""
        queries = F.linear(x.to(self.query_weight.dtype), self.query_weight, self.query_bias)
        queries = queries.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        tokens = self.tokens.expand(-1, self.heads, -1, -1)
        return F.linear(attend(queries, KeysValues(tokens, tokens), self.scale), self.out_weight, self.out_bias)


def padded_channels(channels: int) -> int:
    """Channels of the tokens with their padding."""
    return -(-channels // _ALIGNMENT) * _ALIGNMENT


def narrow_context(
    attention: CrossAttention, projection: nn.Linear, tokens: Float[Tensor, "batch tokens channels"]
) -> NarrowContext:
    """The context of a cross attention to tokens that a linear map widens first.

    Args:
        attention: With biases.
        projection: The map from the tokens' channels to the attention's context.
        tokens: Before that map.
    """
    heads, dtype = attention.heads, attention.to_q.weight.dtype
    # The kernel of `cpu_attention` takes any number of channels, and fewer take less time.
    any_number = tokens.device.type == "cpu" and dtype == torch.float32
    padding = 0 if any_number else padded_channels(tokens.shape[-1]) - tokens.shape[-1]
    # All products in float32, whatever type the attention computes in.
    kv_weight, kv_bias = attention.to_kv.weight.float(), attention.to_kv.bias.float()
    from_token = F.pad(kv_weight @ projection.weight, (0, padding)).unflatten(0, (2, heads, -1))
    to_keys, to_values = from_token.unbind()
    shared_value = (kv_weight @ projection.bias + kv_bias).chunk(2)[1]
    q_weight = attention.to_q.weight.float().unflatten(0, (heads, -1))
    q_bias = attention.to_q.bias.float().unflatten(0, (heads, -1))
    out_weight = attention.to_out.weight.float()
    query_weight = torch.einsum("hdc,hdw->hcw", to_keys, q_weight).flatten(0, 1)
    query_bias = torch.einsum("hdc,hd->hc", to_keys, q_bias).flatten()
    narrow_out = torch.einsum("whd,hdc->whc", out_weight.unflatten(1, (heads, -1)), to_values).flatten(1)
    out_bias = out_weight @ shared_value + attention.to_out.bias.float()
    return NarrowContext(
        tokens=F.pad(tokens, (0, padding))[:, None].to(dtype),
        query_weight=query_weight.to(dtype),
        query_bias=query_bias.to(dtype),
        out_weight=narrow_out.to(dtype),
        out_bias=out_bias.to(dtype),
        heads=heads,
        scale=q_weight.shape[1] ** -0.5,
    )
