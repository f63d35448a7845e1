"""A start for the variation VAE from which it already interpolates: for small networks and few steps.

The network can do what equation 4 does. A latent token sits at a canonical Gaussian and knows how the surface moves
there; if its mean carries position and displacement, and the decoder's attention looks for the nearest tokens, then
every Gaussian gets the displacement of those around it. From random weights a network finds that after tens of
thousands of steps. Here the linear layers on that path are fitted to it by least squares on random numbers, one after
the other, and all others begin by adding nothing. Everything is trained afterwards.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.models.variation_vae import AttentionAndFeedForward, VariationVae

SHARPNESS = (200.0, 400.0, 800.0, 1600.0)
"""Of the heads in turn: tokens count with exp(-sharpness distance^2), 0.6 as much 0.05 to 0.018 away. 128 tokens lie
0.05 to 0.1 apart on an asset whose longest side is 1; twice or half as sharp was no better on animated assets."""
_POSITION, _SQUARE, _DISPLACEMENT = slice(0, 3), 3, slice(4, 7)
"""Channels of a latent token."""
_POSITION_SCALE, _SQUARE_SCALE, _DISPLACEMENT_SCALE = 3.5, 5.0, 10.0
"""Bring the channels to a deviation of about 1: assets reach to 0.5, displacements are about 0.1."""
_LOG_VARIANCE = -8.0
"""Of the latents: a deviation of 0.018, or 0.002 of displacement."""
_SAMPLES = 4096
_DISPLACEMENT_GAIN, _LATENT_GAIN = 0.3, 0.02
"""In front of norms."""
_SMALL = 0.02
"""Displacements below this are fitted as well as those of this length, longer ones in proportion to their length."""


@torch.no_grad()
def start_interpolating(vae: VariationVae, generator: torch.Generator) -> None:
    """Set the weights of a new network.

    Args:
        vae: At least 7 latent channels, and heads of at least 4 channels.
        generator: Of the random numbers that layers are fitted on.
    """
    positions = torch.rand(_SAMPLES, 3, generator=generator) - 0.5
    magnitude = 10 ** (1.5 * torch.rand(_SAMPLES, 1, generator=generator) - 2)
    displacements = magnitude * torch.randn(_SAMPLES, 3, generator=generator)
    wanted = torch.zeros(_SAMPLES, vae.params.latent_channels)
    wanted[:, _POSITION] = _POSITION_SCALE * positions
    wanted[:, _SQUARE] = _SQUARE_SCALE * _square(positions)
    wanted[:, _DISPLACEMENT] = _DISPLACEMENT_SCALE * displacements
    _start_encoder(vae, positions, displacements, wanted, generator)
    latents = wanted + torch.randn(wanted.shape, generator=generator) * torch.tensor(_LOG_VARIANCE / 2).exp()
    _start_decoder(vae, latents, positions, displacements, generator)


def _start_encoder(
    vae: VariationVae, positions: Tensor, displacements: Tensor, wanted: Tensor, generator: torch.Generator
) -> None:
    """Tokens are the embeddings of their displacement and position; the mean reads both off."""
    embedding = cast(nn.Linear, vae.input_embedding[0])
    # Small beside the constant part, so that the norm behind it keeps the length of a displacement.
    embedding.weight.normal_(std=_DISPLACEMENT_GAIN, generator=generator)
    embedding.bias.normal_(generator=generator)
    _add_nothing(vae.cross_attend_blocks)
    tokens = vae.input_embedding(displacements) + vae.position_encoding(positions)
    solution = _least_squares(_with_one(tokens), wanted)
    moved = wanted[:, _DISPLACEMENT]
    solution[:, _DISPLACEMENT] = _least_squares(_with_one(tokens), moved, _importance(displacements))
    vae.mean_fc.weight.copy_(solution[:-1].T)
    vae.mean_fc.bias.copy_(solution[-1])
    vae.logvar_fc.weight.zero_()
    vae.logvar_fc.bias.fill_(_LOG_VARIANCE)


def _start_decoder(
    vae: VariationVae, latents: Tensor, positions: Tensor, displacements: Tensor, generator: torch.Generator
) -> None:
    """Attention to the nearest tokens, whose displacements are the answer."""
    vae.proj.weight.normal_(std=_LATENT_GAIN, generator=generator)
    vae.proj.bias.normal_(generator=generator)
    for layer in vae.layers:
        _add_nothing(cast(AttentionAndFeedForward, layer))
    embedding = cast(nn.Linear, vae.gs_embedding[0])
    embedding.weight.normal_(std=0.02, generator=generator)
    embedding.bias.normal_(generator=generator)

    attention = vae.decoder_cross_attn
    keys_from = attention.norm(vae.proj(latents))
    vectors = _random_gaussians(positions, generator)
    queries_from = attention.norm(vae.gs_embedding(vectors) + vae.position_encoding(positions))
    heads, channels = vae.params.heads, vae.params.width // vae.params.heads
    to_query = _least_squares(queries_from, _with_one(positions)).T
    to_key = _least_squares(keys_from, torch.cat([2 * positions, -_square(positions)[:, None]], dim=1)).T
    to_value = _least_squares(keys_from, displacements, _importance(displacements)).T
    keys, values = attention.fn.to_kv.weight.chunk(2)
    vae.to_outputs.bias.zero_()
    attention.fn.to_out.weight.copy_(torch.eye(vae.params.width))
    attention.fn.to_out.bias.zero_()
    for head in range(heads):
        first = head * channels
        # Half of the sharpness to either side; attention divides the products by the root of the channels.
        factor = (SHARPNESS[head % len(SHARPNESS)] * channels**0.5) ** 0.5
        attention.fn.to_q.weight[first : first + 4] = factor * to_query
        keys[first : first + 4] = factor * to_key
        values[first : first + 3] = to_value
        vae.to_outputs.weight[:3, first : first + 3] = torch.eye(3) / heads


def _add_nothing(layer: AttentionAndFeedForward) -> None:
    attention, feed_forward = layer
    for last in (attention.fn.to_out, feed_forward.fn.net[-1]):  # type: ignore[union-attr, index]
        last.weight.zero_()  # type: ignore[union-attr, operator]
        last.bias.zero_()  # type: ignore[union-attr, operator]


def _random_gaussians(positions: Tensor, generator: torch.Generator) -> Float[Tensor, "samples 14"]:
    """Activated vectors at these positions: colours, opacities, scales and rotations as they occur."""
    count = len(positions)
    quaternions = torch.randn(count, 4, generator=generator) + torch.tensor([2.0, 0, 0, 0])
    parts = (
        positions,
        torch.randn(count, 3, generator=generator),
        torch.rand(count, 1, generator=generator),
        0.001 + 0.02 * torch.rand(count, 3, generator=generator),
        nn.functional.normalize(quaternions, dim=1),
    )
    return torch.cat(parts, dim=1)


def _square(positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
    return positions.square().sum(dim=1)


def _with_one(values: Float[Tensor, "samples channels"]) -> Float[Tensor, "samples more"]:
    return torch.cat([values, torch.ones(len(values), 1)], dim=1)


def _importance(displacements: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 1"]:
    return 1 / (displacements.norm(dim=1, keepdim=True) + _SMALL)


def _least_squares(
    given: Float[Tensor, "samples m"], wanted: Float[Tensor, "samples n"], importance: Tensor | None = None
) -> Float[Tensor, "m n"]:
    """Weights with the least squared error, kept small where the given values say the same twice."""
    a, b = given.double(), wanted.double()
    if importance is not None:
        a, b = a * importance, b * importance
    ridge = 1e-9 * a.square().sum() * torch.eye(a.shape[1], dtype=torch.float64)
    return torch.linalg.solve(a.T @ a + ridge, a.T @ b).float()
