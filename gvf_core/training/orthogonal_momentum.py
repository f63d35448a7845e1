"""Muon, an optimizer for matrices."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class OrthogonalMomentum(torch.optim.Optimizer):
    """Muon: momentum whose matrix is made orthogonal by a Newton-Schulz iteration (Jordan et al. 2024), in float32.

    torch's own computes in bfloat16, which CPUs without that type emulate.

    Args:
        parameters: Matrices, or groups of them.
        momentum: Decay of the mean gradient.
        weight_decay: Times the learning rate, per step.
    """

    def __init__(
        self, parameters: list[nn.Parameter] | list[dict[str, Any]], momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                mean = state.setdefault("momentum", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalize(parameter.grad.lerp(mean, group["momentum"]))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                # As large as a step of Adam (Liu et al. 2025, "Muon is scalable for LLM training").
                parameter.add_(update, alpha=-0.2 * math.sqrt(max(parameter.shape)) * group["lr"])


def orthogonalize(matrix: Float[Tensor, "rows columns"], iterations: int = 5) -> Float[Tensor, "rows columns"]:
    """Singular values brought near 1 by the quintic iteration of Muon."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp_min(1e-12)
    for _ in range(iterations):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
