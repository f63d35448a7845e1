"""Multi-head attention under the official names, with keys and values that can be kept."""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.cpu_attention import attend_on_cpu, is_faster
from gvf_core.models.layers import HeadNorm, Linear


class KeysValues(NamedTuple):
    """What queries attend to. One token stands for any number of equal ones: attention to them gives its value.

    Attributes:
        keys: By batch, head, token.
        values: The same.
    """

    keys: Float[Tensor, "*batch heads tokens channels"]
    values: Float[Tensor, "*batch heads tokens channels"]


def attend(
    queries: Float[Tensor, "batch heads queries channels"], context: KeysValues, scale: float | None = None
) -> Float[Tensor, "batch queries width"]:
    """Scaled dot-product attention, heads put together again; the usual scale if none is given."""
    if is_faster(queries, *context):
        return attend_on_cpu(queries, *context, scale)
    return merge_heads(F.scaled_dot_product_attention(queries, context.keys, context.values, scale=scale))


def merge_heads(x: Float[Tensor, "*batch heads tokens channels"]) -> Float[Tensor, "*batch tokens width"]:
    """Heads back into channels."""
    return x.transpose(-3, -2).flatten(-2)


class SelfAttention(nn.Module):
    """Attention of tokens to each other, with normalised queries and keys if asked for.

    Args:
        width: Channels.
        heads: Number of heads; divides the width.
        normalize: Normalise queries and keys (`qk_rms_norm` of the official configurations).
    """

    def __init__(self, width: int, heads: int, *, normalize: bool) -> None:
        super().__init__()
        self.heads, self.normalize = heads, normalize
        self.to_qkv = Linear(width, 3 * width)
        if normalize:
            self.q_rms_norm = HeadNorm(heads, width // heads)
            self.k_rms_norm = HeadNorm(heads, width // heads)
        self.to_out = Linear(width, width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Attention within each batch item."""
        queries, context = self.project(x)
        return self.to_out(attend(queries, context))

    def project(
        self, x: Float[Tensor, "*batch tokens width"]
    ) -> tuple[Float[Tensor, "*batch heads tokens channels"], KeysValues]:
        """Queries, keys and values of the tokens."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        if self.normalize:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        q, k, v = (part.transpose(-3, -2) for part in (q, k, v))
        return q, KeysValues(k, v)


class CrossAttention(nn.Module):
    """Attention of tokens to a context whose keys and values are computed once.

    Args:
        width: Channels of the queries.
        heads: Number of heads; divides the width.
        context_width: Channels of the context; the same as the queries' if not given.
        bias: Whether the projections to queries, keys and values have one.
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None, *, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Linear(width, width, bias=bias)
        self.to_kv = Linear(context_width or width, 2 * width, bias=bias)
        self.to_out = Linear(width, width)

    def keys_values(self, context: Float[Tensor, "*batch tokens context_width"]) -> KeysValues:
        """Keys and values of a context, to be used any number of times: head by head in memory.

        That order makes attention a quarter faster on a CPU (0.71 s against 0.94 s for 12288 queries of 4096 tokens).
        """
        keys, values = self.to_kv(context).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        return KeysValues(*(part.transpose(-3, -2).contiguous() for part in (keys, values)))

    def queries(self, x: Float[Tensor, "*batch tokens width"]) -> Float[Tensor, "*batch heads tokens channels"]:
        """Queries of the tokens."""
        return self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def forward(
        self, x: Float[Tensor, "*batch tokens width"], context: KeysValues
    ) -> Float[Tensor, "*#batch #tokens width"]:
        """Attention of each batch item to its context; what all tokens share comes with one row for all."""
        if context.values.shape[-2] == 1:
            return self.to_out(merge_heads(context.values))
        return self.to_out(attend(self.queries(x), context))

    def attend_per_frame(
        self, x: Float[Tensor, "batch frames tokens width"], context: KeysValues
    ) -> Float[Tensor, "#batch #frames #tokens width"]:
        """Attention of each frame to its own context, or of all frames to one.

        Args:
            x: Tokens.
            context: [batch, frames, heads, context tokens, channels]; one frame stands for all of them, and one token
                of one item for all.
        """
        if context.values.shape[-2] == 1:
            return self.to_out(merge_heads(context.values))
        if context.values.shape[1] == 1:
            # All frames ask one context: their queries are more queries to it, and it is not repeated.
            shared = KeysValues(*(part[:, 0] for part in context))
            return self(x.flatten(1, 2), shared).view(x.shape)
        return self(x.flatten(0, 1), KeysValues(*(part.flatten(0, 1) for part in context))).view(x.shape)
