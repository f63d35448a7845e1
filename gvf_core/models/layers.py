"""Layers that several networks share: linear maps, normalisation, feed-forward networks, compute types.

The residual stream of every network is float32, and so are its `torch.nn.Linear` layers. Layers of the types below
may run in another type (`set_compute_dtype`): they take the stream in the type of their weights and what they return
is added to the float32 stream. TRELLIS divides its networks the same way (`convert_to_fp16`).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

NORM_EPS = 1e-6


class LowPrecision(nn.Module):
    """Marks layers whose weights may be of another type than float32."""


class Linear(nn.Linear, LowPrecision):
    """A linear map that computes in the type of its weights."""

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """The map, in the type of the weights."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class ZeroLinear(nn.Linear):
    """A linear map that starts at zero: what it leads to does nothing before training."""


class SmallLinear(nn.Linear):
    """A linear map that starts with normally distributed weights of deviation 0.02."""


class Conv3d(nn.Conv3d, LowPrecision):
    """A dense convolution that computes in the type of its weights."""

    def forward(self, x: Float[Tensor, "batch in_channels x y z"]) -> Float[Tensor, "batch out_channels x2 y2 z2"]:
        """The convolution, in the type of the weights."""
        return super().forward(x.to(self.weight.dtype))


class LayerNorm(nn.LayerNorm):
    """Layer normalisation in float32, whatever comes in."""

    def __init__(self, width: int, *, affine: bool, eps: float = NORM_EPS) -> None:
        super().__init__(width, eps, elementwise_affine=affine)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """The normalised vectors, float32."""
        return super().forward(x.float())


class HeadNorm(nn.Module):
    """Root-mean-square normalisation of queries or keys with a scale per head and channel."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(heads, width))

    def forward(self, x: Float[Tensor, "*batch heads width"]) -> Float[Tensor, "*batch heads width"]:
        """normalise(x) * gamma * sqrt(width), which is x over its root mean square."""
        return (F.normalize(x.float(), dim=-1) * self.gamma * x.shape[-1] ** 0.5).to(x.dtype)


class FeedForward(nn.Module):
    """Linear, tanh-approximated GELU, linear. The nested name is the official one."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = int(width * ratio)
        self.mlp = nn.Sequential(Linear(width, hidden), nn.GELU(approximate="tanh"), Linear(hidden, width))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """The network at every token."""
        return self.mlp(x)


def modulation(width: int, chunks: int) -> nn.Sequential:
    """SiLU and a linear map from the time embedding to shifts, scales and gates (adaLN); starts at zero."""
    return nn.Sequential(nn.SiLU(), ZeroLinear(width, chunks * width))


def modulate(
    x: Float[Tensor, "*batch width"], shift: Float[Tensor, "*#batch width"], scale: Float[Tensor, "*#batch width"]
) -> Float[Tensor, "*batch width"]:
    """Adaptive layer normalisation: layer_norm(x) (1 + scale) + shift."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


def initialize(network: nn.Module) -> None:
    """Start values as in the official code: zero biases, Xavier-uniform weights unless the layer says otherwise."""
    for module in network.modules():
        if not isinstance(module, nn.Linear):
            continue
        if isinstance(module, ZeroLinear):
            nn.init.zeros_(module.weight)
        elif isinstance(module, SmallLinear):
            nn.init.normal_(module.weight, std=0.02)
        else:
            nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def set_compute_dtype(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the layers that may run in another type; the rest stays float32.

    Args:
        network: Any network of this package.
        dtype: float32, bfloat16 or float16.
    """
    for module in network.modules():
        if isinstance(module, LowPrecision):
            module.to(dtype)
