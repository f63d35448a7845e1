"""How far drawn poses are from the frames and from rigid motion, differentiable in the poses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gvf_core.motion.body import Body, Pose
from gvf_core.motion.engine import DrivingView
from gvf_core.rendering import rasterize


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss; lengths are in the unit frame.

    Attributes:
        scales: Widths in pixels over which pictures are averaged before they are compared, and weights.
        rigidity: Squared deviation of links from rigid motion.
        smooth_turn: Squared difference of rotations along links.
    """

    scales: tuple[tuple[int, float], ...] = ((1, 1.0), (7, 2.0), (21, 2.0))
    rigidity: float = 30.0
    smooth_turn: float = 0.03


class PictureLoss:
    """The loss of a pose at one frame.

    Args:
        body: The asset.
        views: The clip, summed over the views.
        weights: Of the terms.
    """

    def __init__(self, body: Body, views: Sequence[DrivingView], weights: LossWeights) -> None:
        self._body, self._views, self._weights = body, views, weights
        self._targets = [
            [[pooled(torch.from_numpy(frame), width) for width, _ in weights.scales] for frame in view.frames]
            for view in views
        ]
        nodes = torch.from_numpy(body.graph.nodes).float()
        self._source, self._target = torch.from_numpy(body.graph.links.astype(np.int64)).T
        self._link = nodes[self._target] - nodes[self._source]
        self._matrix = body.point_matrix.astype(np.float32)
        self._transposed = self._matrix.T.tocsr()

    def __call__(
        self, rotations: Float[Tensor, "nodes 3 3"], positions: Float[Tensor, "nodes 3"], frame: int
    ) -> Tensor:
        """The loss; the pictures pull at positions and, through them, at rotations."""
        stacked = torch.cat([rotations.transpose(1, 2), positions[:, None]], dim=1).reshape(-1, 3)
        means = _ConstantProduct.apply(stacked, self._matrix, self._transposed)
        with torch.no_grad():
            splats = self._body.splats(Pose(rotations.double().numpy(), positions.double().numpy()))
        splats = splats._replace(means=means)
        loss = self._stiffness(rotations, positions)
        for view, targets in zip(self._views, self._targets, strict=True):
            picture = rasterize(splats, view.camera).premultiplied
            for (width, weight), target in zip(self._weights.scales, targets[frame], strict=True):
                loss = loss + weight * (pooled(picture, width) - target).abs().mean()
        return loss

    def _stiffness(self, rotations: Tensor, positions: Tensor) -> Tensor:
        """How much links bend and neighbours turn differently."""
        source = rotations.index_select(0, self._source)
        # Products and sums instead of batched 3x3 matrix products, which are several times slower on a CPU.
        rotated = (source * self._link[:, None, :]).sum(-1)
        bend = positions.index_select(0, self._target) - positions.index_select(0, self._source) - rotated
        turned = source - rotations.index_select(0, self._target)
        weights = self._weights
        return (
            weights.rigidity * bend.square().sum(-1).mean() + weights.smooth_turn * turned.square().sum((-1, -2)).mean()
        )


class _ConstantProduct(torch.autograd.Function):
    """A constant sparse matrix times a tensor; gathering with indices is ten times slower backwards."""

    @staticmethod
    def forward(ctx, dense, matrix, transposed):
        ctx.transposed = transposed
        return torch.from_numpy(matrix @ dense.detach().numpy())

    @staticmethod
    def backward(ctx, gradient):
        return torch.from_numpy(ctx.transposed @ gradient.contiguous().numpy()), None, None


def rotation_matrices(vector: Float[Tensor, "nodes 3"]) -> Float[Tensor, "nodes 3 3"]:
    """Rodrigues' formula; exact derivative at zero because the axis is not normalised."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)
    squared = vector.square().sum(-1).clamp_min(1e-12)[:, None, None]
    angle = squared.sqrt()
    return torch.eye(3) + torch.sin(angle) / angle * cross + (1 - torch.cos(angle)) / squared * (cross @ cross)


def pooled(picture: Float[Tensor, "height width 4"], width: int) -> Float[Tensor, "4 rows columns"]:
    """Means over overlapping squares of a picture with channels last, channels first in the result."""
    channels = picture.movedim(-1, 0)
    return channels if width == 1 else F.avg_pool2d(channels, width, stride=max(1, width // 3), padding=width // 2)
