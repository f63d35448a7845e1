"""The autoencoder between variation fields and compact latents (section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gvf_core.chunks import chunk_of
from gvf_core.geometry import farthest_points, interpolation_weights
from gvf_core.geometry.interpolation import DECAY, NEIGHBORS
from gvf_core.models.attention import CrossAttention, KeysValues, attend
from gvf_core.models.embedders import PointEmbedder
from gvf_core.models.layers import LayerNorm, Linear
from gvf_core.models.posterior import Posterior

GAUSSIAN_CHANNELS = 14
"""Of the activated vector that describes a Gaussian, and of the raw deltas of one (`VariationField`)."""
QUERY_CHUNK = 8192
"""Gaussians that are decoded at once; a frame of them takes 25 MB per float32 tensor at full size."""
EMBEDDING_NORM_EPS = 1e-5


@dataclass(frozen=True)
class VariationVaeParams:
    """Sizes of the variation VAE.

    Attributes:
        width: Channels of the transformer, divisible by 6 and by the number of heads.
        depth: Layers of the decoder.
        heads: Attention heads.
        latents: Latent tokens per frame.
        latent_channels: Channels of a latent token.
        neighbors: K of equation 3.
        decay: beta of equation 3.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    latents: int = 512
    latent_channels: int = 16
    neighbors: int = NEIGHBORS
    decay: float = DECAY


@dataclass(frozen=True)
class EncodedVariation:
    """A clip in latent space.

    Attributes:
        posterior: Distribution of the latents, [batch, frames, latents, channels].
        index: The canonical Gaussian at which each latent token sits, in order of selection.
        gaussians: Those Gaussians.
    """

    posterior: Posterior
    index: Int[Tensor, "batch latents"]
    gaussians: Float[Tensor, "batch latents 14"]


class VariationVae(nn.Module):
    """Encodes how points on a surface move, decodes how every Gaussian varies. Frames do not see each other."""

    def __init__(self, params: VariationVaeParams) -> None:
        super().__init__()
        self.params = params
        width, heads = params.width, params.heads
        self.cross_attend_blocks = AttentionAndFeedForward(width, heads)
        self.input_embedding = nn.Sequential(nn.Linear(3, width), _embedding_norm(width))
        self.gs_embedding = nn.Sequential(nn.Linear(GAUSSIAN_CHANNELS, width), _embedding_norm(width))
        self.position_encoding = nn.Sequential(PointEmbedder(width), _embedding_norm(width))
        self.layers = nn.ModuleList(AttentionAndFeedForward(width, heads) for _ in range(params.depth))
        self.decoder_cross_attn = PreNormAttention(width, heads)
        self.to_outputs = nn.Linear(width, GAUSSIAN_CHANNELS)
        self.proj = nn.Linear(params.latent_channels, width)
        self.mean_fc = nn.Linear(width, params.latent_channels)
        self.logvar_fc = nn.Linear(width, params.latent_channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.to_outputs.weight)

    def encode(
        self,
        gaussians: Float[Tensor, "batch gaussians 14"],
        counts: Int[Tensor, " batch"],
        points: Float[Tensor, "batch points 3"],
        displacements: Float[Tensor, "batch frames points 3"],
        generator: torch.Generator | None = None,
        starts: Sequence[int] | None = None,
    ) -> EncodedVariation:
        """The latents of a clip (equations 3 to 5).

        Latent tokens sit at Gaussians far from each other; the displacement of the points around them is what they
        ask the displacements of all points with.

        Args:
            gaussians: Activated canonical Gaussians, padded (`pad_gaussians`).
            counts: How many of them are no padding; at least as many as there are latent tokens.
            points: Points on the surface in the canonical frame.
            displacements: How far each point is from there in every frame.
            generator: Draws the first selected Gaussian, as in official training; without it, it is the first one.
            starts: The first selected Gaussian of each item instead.

        Raises:
            ValueError: An item has fewer Gaussians than there are latent tokens, or both a generator and starts are
                given.
        """
        if generator is not None and starts is not None:
            raise ValueError("The first Gaussians are either drawn or given.")
        frames = displacements.shape[1]
        index, own = [], []
        for item, count in enumerate(counts.tolist()):
            xyz = gaussians[item, :count, :3]
            start = 0 if starts is None else starts[item]
            if generator is not None:
                start = int(torch.randint(count, (), generator=generator, device=generator.device))
            chosen = farthest_points(xyz, self.params.latents, start)
            index.append(chosen)
            weights = interpolation_weights(xyz[chosen], points[item], self.params.neighbors, self.params.decay)
            own.append(weights.apply(displacements[item]))
        selected = torch.stack([gaussians[item, chosen] for item, chosen in enumerate(index)])
        queries = self.input_embedding(torch.stack(own)) + self.position_encoding(selected[..., :3])[:, None]
        context = self.input_embedding(displacements) + self.position_encoding(points)[:, None]
        x = self.cross_attend_blocks(queries.flatten(0, 1), context.flatten(0, 1)).unflatten(0, (-1, frames))
        posterior = Posterior(self.mean_fc(x), self.logvar_fc(x).clamp(-30, 20))
        return EncodedVariation(posterior, torch.stack(index), selected)

    def decode(
        self,
        latents: Float[Tensor, "batch frames latents channels"],
        gaussians: Float[Tensor, "batch gaussians 14"],
        chunk: int = QUERY_CHUNK,
    ) -> Float[Tensor, "batch frames gaussians 14"]:
        """Raw deltas of every Gaussian in every frame, in the order of `VariationField` (equation 6).

        A chunk of Gaussians is projected to queries once and asks every frame in turn, so memory beyond the result is
        that of one chunk in one frame. The two linear maps behind the attention are one map: there is nothing between.

        Args:
            latents: Not standardised.
            gaussians: Activated canonical Gaussians; padding is decoded too.
            chunk: Gaussians at once; does not change the result.
        """
        contexts = self.latent_context(latents)
        attention = self.decoder_cross_attn.fn
        weight = self.to_outputs.weight @ attention.to_out.weight.float()
        bias = self.to_outputs.weight @ attention.to_out.bias.float() + self.to_outputs.bias
        chunks = []
        for part in gaussians.split(chunk_of(chunk), dim=1):
            queries = self.decoder_cross_attn.queries(self.gs_embedding(part) + self.position_encoding(part[..., :3]))
            frames = [attend(queries, context) for context in contexts]
            chunks.append(torch.stack([F.linear(frame.float(), weight, bias) for frame in frames], dim=1))
        return torch.cat(chunks, dim=2)

    def latent_context(self, latents: Float[Tensor, "batch frames latents channels"]) -> list[KeysValues]:
        """Keys and values of the decoded latents, frame by frame, [batch, heads, latents, channels] each."""
        batch, frames = latents.shape[:2]
        x = self.proj(latents.flatten(0, 1))
        for layer in self.layers:
            x = layer(x, x)
        context = self.decoder_cross_attn.keys_values(x)
        keys, values = (part.unflatten(0, (batch, frames)).unbind(1) for part in context)
        return [KeysValues(*frame) for frame in zip(keys, values, strict=True)]


class AttentionAndFeedForward(nn.ModuleList):
    """A layer: attention to a context and a feed-forward network, each beside the identity.

    Attributes:
        drop_path: Part of the batch items for which attention or feed-forward network is left out in training, from
            torch's own random state; the official training has 0.1 in the decoder's layers.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__([PreNormAttention(width, heads), PreNormFeedForward(width)])
        self.drop_path = 0.0

    def forward(
        self, x: Float[Tensor, "batch tokens width"], context: Float[Tensor, "batch context width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """The layer; a context that is the tokens themselves makes it self attention."""
        attention, feed_forward = cast(PreNormAttention, self[0]), self[1]
        x = x + self._kept(attention(x, attention.keys_values(context)))
        return x + self._kept(feed_forward(x))

    def _kept(self, branch: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        if not self.training or not self.drop_path:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * kept / (1 - self.drop_path)


class PreNormAttention(nn.Module):
    """Cross attention of normalised tokens to a normalised context."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = LayerNorm(width, affine=False)
        self.fn = CrossAttention(width, heads, bias=False)

    def forward(self, x: Float[Tensor, "batch tokens width"], context: KeysValues) -> Tensor:
        """Attention, without the residual."""
        return self.fn(self.norm(x), context)

    def queries(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch heads tokens channels"]:
        """Queries of the tokens."""
        return self.fn.queries(self.norm(x))

    def keys_values(self, context: Float[Tensor, "batch tokens width"]) -> KeysValues:
        """Keys and values of the context."""
        return self.fn.keys_values(self.norm(context))


class PreNormFeedForward(nn.Module):
    """Normalisation, then linear, gated GELU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(width, affine=False)
        self.fn = GatedFeedForward(width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """The network at every token, without the residual."""
        return self.fn(self.norm(x))


class GatedFeedForward(nn.Module):
    """Linear to twice four times the width, half of it gated by the exact GELU of the other half, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Linear(width, 8 * width), GatedGelu(), Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """The network at every token."""
        return self.net(x)


class GatedGelu(nn.Module):
    """First half of the channels times the exact GELU of the second."""

    def forward(self, x: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch half"]:
        """Half as many channels."""
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)


def pad_gaussians(
    items: Sequence[Float[Tensor, "gaussians 14"]],
) -> tuple[Float[Tensor, "batch gaussians 14"], Int[Tensor, " batch"]]:
    """Activated Gaussians of several objects in one tensor, and how many each has.

    Padding is a Gaussian of zeros with the identity rotation, as officially.
    """
    counts = torch.tensor([len(item) for item in items])
    padding = items[0].new_zeros(int(counts.max()), GAUSSIAN_CHANNELS)
    padding[:, 10] = 1
    padded = torch.stack([torch.cat([item, padding[len(item) :]]) for item in items])
    return padded, counts


def _embedding_norm(width: int) -> LayerNorm:
    return LayerNorm(width, affine=False, eps=EMBEDDING_NORM_EPS)
