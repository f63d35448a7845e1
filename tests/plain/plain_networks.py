"""The networks written out step by step, without any of the shortcuts of `gvf_core.models`.

No keys and values are kept, static tokens are repeated for every frame, every frame projects its own queries, all in
float32. Slow and plain on purpose: tests compare results with it, and `gvf bench networks` times.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def norm(x: Tensor, weights: Weights | None = None, name: str = "", eps: float = 1e-6) -> Tensor:
    scale = (weights[f"{name}.weight"], weights[f"{name}.bias"]) if weights else (None, None)
    return F.layer_norm(x, x.shape[-1:], *scale, eps)


def heads_first(x: Tensor, heads: int) -> Tensor:
    """[batch, tokens, width] to [batch, heads, tokens, channels]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


def self_attention(weights: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    q, k, v = (heads_first(part, heads) for part in linear(weights, f"{name}.to_qkv", x).chunk(3, dim=-1))
    if f"{name}.q_rms_norm.gamma" in weights:
        q, k = (head_norm(part, weights[f"{name}.{which}_rms_norm.gamma"]) for part, which in ((q, "q"), (k, "k")))
    return linear(weights, f"{name}.to_out", attention(q, k, v))


def head_norm(x: Tensor, gamma: Tensor) -> Tensor:
    return x / x.square().sum(dim=-1, keepdim=True).sqrt() * gamma[:, None] * math.sqrt(x.shape[-1])


def cross_attention(weights: Weights, name: str, x: Tensor, context: Tensor, heads: int) -> Tensor:
    q = heads_first(linear(weights, f"{name}.to_q", x), heads)
    k, v = (heads_first(part, heads) for part in linear(weights, f"{name}.to_kv", context).chunk(2, dim=-1))
    return linear(weights, f"{name}.to_out", attention(q, k, v))


def sinusoids(x: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    phase = x[..., None] * frequencies.to(x)
    return phase.sin(), phase.cos()


def positions(xyz: Tensor, width: int) -> Tensor:
    count = width // 3 // 2
    frequencies = torch.tensor([10000.0 ** (-i / count) for i in range(count)])
    per_axis = [torch.cat(sinusoids(xyz[..., axis].float(), frequencies), dim=-1) for axis in range(3)]
    return F.pad(torch.cat(per_axis, dim=-1), (0, width - 6 * count))


def times(weights: Weights, t: Tensor) -> Tensor:
    frequencies = torch.tensor([math.exp(-math.log(10000) * i / 128) for i in range(128)])
    sine, cosine = sinusoids(t, frequencies)
    hidden = F.silu(linear(weights, "t_embedder.mlp.0", torch.cat([cosine, sine], dim=-1)))
    return linear(weights, "t_embedder.mlp.2", hidden)


def variation_dit(
    weights: Weights, heads: int, x: Tensor, t: Tensor, image_tokens: Tensor, static_tokens: Tensor, xyz: Tensor
) -> Tensor:
    """One evaluation of the variation DiT: x [b, t, n, c], image tokens [b, t, l, c], static tokens [b, s, c]."""
    batch, frames, latents, _ = x.shape
    width = weights["input_layer.weight"].shape[0]
    h = linear(weights, "input_layer", x) + positions(xyz, width)[:, None]
    emb = F.silu(times(weights, t))
    image = linear(weights, "image_cond_proj", image_tokens).flatten(0, 1)
    static = linear(weights, "static_cond_proj", static_tokens).repeat_interleave(frames, dim=0)
    block = 0
    while f"blocks.{block}.norm3.weight" in weights:
        name = f"blocks.{block}"
        modulation = linear(weights, f"{name}.adaLN_modulation.1", emb)[:, None, None].chunk(6, dim=-1)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation
        own = (norm(h) * (1 + scale) + shift).flatten(0, 1)
        h = h + gate * self_attention(weights, f"{name}.spatial_self_attn", own, heads).view(h.shape)

        shift, scale, gate = linear(weights, f"{name}.adaLN_modulation_temporal.1", emb)[:, None, None].chunk(3, -1)
        own = (norm(h) * (1 + scale) + shift).transpose(1, 2).flatten(0, 1)
        over_time = self_attention(weights, f"{name}.temporal_self_attn", own, heads)
        h = h + gate * over_time.view(batch, latents, frames, width).transpose(1, 2)

        for cross, affine, context in (("image", "norm3", image), ("static", "norm4", static)):
            own = norm(h, weights, f"{name}.{affine}").flatten(0, 1)
            h = h + cross_attention(weights, f"{name}.{cross}_cross_attn", own, context, heads).view(h.shape)

        hidden = linear(weights, f"{name}.mlp.mlp.0", norm(h) * (1 + mlp_scale) + mlp_shift)
        h = h + mlp_gate * linear(weights, f"{name}.mlp.mlp.2", F.gelu(hidden, approximate="tanh"))
        block += 1
    shift, scale = linear(weights, "final_layer.adaLN_modulation.1", emb)[:, None, None].chunk(2, dim=-1)
    return linear(weights, "final_layer.linear", norm(h) * (1 + scale) + shift)


def variation_vae_decode(weights: Weights, heads: int, latents: Tensor, gaussians: Tensor) -> Tensor:
    """Deltas [b, t, q, 14] of Gaussians [b, q, 14] from latents [b, t, n, c]."""
    frames = latents.shape[1]
    x = linear(weights, "proj", latents).flatten(0, 1)
    layer = 0
    while f"layers.{layer}.0.fn.to_q.weight" in weights:
        x = x + cross_attention(weights, f"layers.{layer}.0.fn", norm(x), norm(x), heads)
        value, gate = linear(weights, f"layers.{layer}.1.fn.net.0", norm(x)).chunk(2, dim=-1)
        x = x + linear(weights, f"layers.{layer}.1.fn.net.2", value * F.gelu(gate))
        layer += 1
    phases = [sinusoids(gaussians[..., axis].double(), weights["position_encoding.0.omega"]) for axis in range(3)]
    position = norm(torch.cat([part for phase in phases for part in phase], dim=-1).float(), eps=1e-5)
    embedded = norm(linear(weights, "gs_embedding.0", gaussians), eps=1e-5) + position
    queries = norm(embedded.repeat_interleave(frames, dim=0))
    out = cross_attention(weights, "decoder_cross_attn.fn", queries, norm(x), heads)
    return linear(weights, "to_outputs", out).unflatten(0, (-1, frames))


def windowed_attention(q: Tensor, k: Tensor, v: Tensor, coordinates: Tensor, window: int, shift: int) -> Tensor:
    """Attention of each voxel [n, heads, channels] to those of its window, by a mask over all pairs."""
    cell = torch.cat([coordinates[:, :1], (coordinates[:, 1:] + shift) // window], dim=1)
    same = (cell[:, None] == cell[None]).all(dim=-1)
    out = F.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in (q, k, v)), attn_mask=same)
    return out[0].transpose(0, 1).flatten(1)
