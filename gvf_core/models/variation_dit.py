"""The diffusion transformer that samples the latent of a variation field (section 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.attention import CrossAttention, KeysValues, SelfAttention
from gvf_core.models.embedders import TimestepEmbedder, position_embedding
from gvf_core.models.layers import FeedForward, LayerNorm, SmallLinear, ZeroLinear, initialize, modulate, modulation
from gvf_core.models.narrow_attention import NarrowContext, narrow_context, padded_channels


@dataclass(frozen=True)
class VariationDitParams:
    """Sizes of the variation DiT.

    Attributes:
        latent_channels: Channels of a latent token.
        width: Channels of the transformer.
        blocks: Number of blocks.
        heads: Attention heads.
        image_channels: Channels of an image token.
        static_channels: Channels of a static token: 14, an activated Gaussian.
        mlp_ratio: Hidden channels of the feed-forward networks over the width.
        qk_rms_norm: Normalise queries and keys of the self attention.
    """

    latent_channels: int = 16
    width: int = 512
    blocks: int = 12
    heads: int = 16
    image_channels: int = 1024
    static_channels: int = 14
    mlp_ratio: float = 4
    qk_rms_norm: bool = True


@dataclass(frozen=True)
class DitCondition:
    """Everything that steers one sample and does not depend on the noise level, ready for every block.

    Keys and values of the tokens are computed once per sample; the static ones once for all frames.

    Attributes:
        position: Embedding of the positions of the latent tokens.
        image: Keys and values per block, [batch, frames, heads, tokens, channels].
        static: The same with one frame for all, or the tokens as they are (see `narrow_attention`).
    """

    position: Float[Tensor, "batch latents width"]
    image: tuple[KeysValues, ...]
    static: tuple[KeysValues | NarrowContext, ...]


class VariationDit(nn.Module):
    """Predicts the velocity of noisy latents from the frames of a video and the canonical Gaussians.

    There is no embedding of time along the clip: frames are told apart by their image tokens alone, and any number of
    frames works with the same weights.
    """

    def __init__(self, params: VariationDitParams) -> None:
        super().__init__()
        self.params = params
        self.t_embedder = TimestepEmbedder(params.width)
        self.input_layer = nn.Linear(params.latent_channels, params.width)
        self.blocks = nn.ModuleList(VariationDitBlock(params) for _ in range(params.blocks))
        self.final_layer = FinalLayer(params.width, params.latent_channels)
        self.static_cond_proj = SmallLinear(params.static_channels, params.width)
        self.image_cond_proj = SmallLinear(params.image_channels, params.width)
        initialize(self)

    def forward(
        self,
        x: Float[Tensor, "batch frames latents channels"],
        t: Float[Tensor, " batch"],
        conditions: Sequence[DitCondition],
    ) -> Float[Tensor, "branches*batch frames latents channels"]:
        """Velocity of the noisy latents under each of the conditions, in one batch.

        Args:
            x: Noisy latents, standardised.
            t: Network time, 0 (clean) to about 999 (noise).
            conditions: One for each branch of the guidance; results follow one another in this order.
        """
        branches = len(conditions)
        embedded = self.input_layer(x.repeat(branches, 1, 1, 1))
        h = embedded + torch.cat([condition.position.expand(len(x), -1, -1) for condition in conditions])[:, None]
        emb = self.t_embedder(t).repeat(branches, 1)
        for index, block in enumerate(self.blocks):
            image = [condition.image[index] for condition in conditions]
            static = [condition.static[index] for condition in conditions]
            h = block(h, emb, image, static)
        return self.final_layer(h, emb)

    def condition(
        self,
        image_tokens: Float[Tensor, "batch frames tokens image_channels"],
        static_tokens: Float[Tensor, "batch gaussians static_channels"],
        positions: Float[Tensor, "batch latents 3"],
        *,
        narrow: bool | None = None,
    ) -> DitCondition:
        """What the tokens contribute to every step of a sample.

        Dropped tokens are zeros in the official code. Equal tokens have equal keys and values, and attention to them
        gives their value whatever the query; so one zero token of one frame and item stands for all of them.

        Args:
            image_tokens: DINOv2 patch tokens before its final norm, class token last, per frame.
            static_tokens: Standardised 14-vectors of the Gaussians.
            positions: Where the latent tokens sit, the canonical positions of their Gaussians.
            narrow: Attend to the static tokens without widening them: faster, and equal but for rounding. If not
                given, where that is less work and the network is not in training.
        """
        if narrow is None:
            narrow = padded_channels(self.params.static_channels) < self.params.width // self.params.heads
            narrow = narrow and static_tokens.shape[1] > 1 and not self.training
        blocks = [cast(VariationDitBlock, block) for block in self.blocks]
        image = self.image_cond_proj(image_tokens.float())
        static: tuple[KeysValues | NarrowContext, ...]
        if narrow:
            projection = self.static_cond_proj
            static = tuple(narrow_context(b.static_cross_attn, projection, static_tokens.float()) for b in blocks)
        else:
            widened = self.static_cond_proj(static_tokens.float())[:, None]
            static = tuple(block.static_cross_attn.keys_values(widened) for block in blocks)
        return DitCondition(
            position=position_embedding(positions, self.params.width),
            image=tuple(block.image_cross_attn.keys_values(image) for block in blocks),
            static=static,
        )


class VariationDitBlock(nn.Module):
    """Attention over latents, over frames, to the image, to the static tokens; a feed-forward network."""

    def __init__(self, params: VariationDitParams) -> None:
        super().__init__()
        width, heads = params.width, params.heads
        self.norm3 = LayerNorm(width, affine=True)
        self.norm4 = LayerNorm(width, affine=True)
        self.spatial_self_attn = SelfAttention(width, heads, normalize=params.qk_rms_norm)
        self.temporal_self_attn = SelfAttention(width, heads, normalize=params.qk_rms_norm)
        self.image_cross_attn = CrossAttention(width, heads)
        self.static_cross_attn = CrossAttention(width, heads)
        self.mlp = FeedForward(width, params.mlp_ratio)
        self.adaLN_modulation = modulation(width, 6)
        # Does not start at zero, unlike the other: so the official code has it.
        self.adaLN_modulation_temporal = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(
        self,
        x: Float[Tensor, "batch frames latents width"],
        emb: Float[Tensor, "batch width"],
        image: Sequence[KeysValues],
        static: Sequence[KeysValues | NarrowContext],
    ) -> Float[Tensor, "batch frames latents width"]:
        """One block; the batch holds the branches of the guidance one after another, each with its own tokens."""
        batch, frames, latents, _ = x.shape
        spatial = self.adaLN_modulation(emb)[:, None, None]
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = spatial.chunk(6, dim=-1)
        h = self.spatial_self_attn(modulate(x, shift, scale).flatten(0, 1))
        x = x + gate * h.view(batch, frames, latents, -1)

        shift, scale, gate = self.adaLN_modulation_temporal(emb)[:, None, None].chunk(3, dim=-1)
        h = self.temporal_self_attn(modulate(x, shift, scale).transpose(1, 2).flatten(0, 1).contiguous())
        x = x + gate * h.view(batch, latents, frames, -1).transpose(1, 2)

        x = x + _per_branch(self.image_cross_attn, self.norm3(x), image)
        x = x + _per_branch(self.static_cross_attn, self.norm4(x), static)
        return x + mlp_gate * self.mlp(modulate(x, mlp_shift, mlp_scale))


class FinalLayer(nn.Module):
    """Modulated layer normalisation and the map to latent channels."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = ZeroLinear(width, channels)
        self.adaLN_modulation = modulation(width, 2)

    def forward(
        self, x: Float[Tensor, "batch frames latents width"], emb: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch frames latents channels"]:
        """Latent channels of every token."""
        shift, scale = self.adaLN_modulation(emb)[:, None, None].chunk(2, dim=-1)
        return self.linear(modulate(x, shift, scale))


def _per_branch(
    attention: CrossAttention,
    x: Float[Tensor, "branches*batch frames tokens width"],
    contexts: Sequence[KeysValues | NarrowContext],
) -> Float[Tensor, "#branches*batch #frames #tokens width"]:
    """Attention of each branch of the guidance to its own context."""
    if len(contexts) > 1:
        parts = zip(x.chunk(len(contexts)), contexts, strict=True)
        return torch.cat([_per_branch(attention, part, [context]).expand(part.shape) for part, context in parts])
    (context,) = contexts
    if isinstance(context, NarrowContext):
        return context.attend(x.flatten(1, 2)).view(x.shape)
    return attention.attend_per_frame(x, context)
