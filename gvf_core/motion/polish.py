"""Photometric polish: all frames of a clip together, by gradients through the rasterizer."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from gvf_core.geometry.rotations import matrix_from_rotation_vector
from gvf_core.motion.body import Body, Pose
from gvf_core.progress import Monitor
from gvf_core.rendering import Camera, rasterize


@dataclass(frozen=True)
class PolishOptions:
    """Weights of the loss; lengths are in the unit frame.

    Attributes:
        iterations: Sweeps over all frames.
        turn_rate: Adam step for rotations, radians.
        move_rate: Adam step for positions.
        scales: Widths in pixels over which pictures are averaged before they are compared, and weights.
        rigidity: Squared deviation of links from rigid motion.
        smooth_turn: Squared difference of rotations along links.
        depth: Squared distance from where tracking put each node, along the camera's axis.
        acceleration: Squared second difference of node positions over time.
        seconds: No new sweep begins when another one would end later than this.
    """

    iterations: int = 20
    turn_rate: float = 0.02
    move_rate: float = 0.003
    scales: tuple[tuple[int, float], ...] = ((1, 1.0), (7, 2.0), (21, 2.0))
    rigidity: float = 30.0
    smooth_turn: float = 0.03
    depth: float = 0.02
    acceleration: float = 0.5
    seconds: float = math.inf


def polish(
    body: Body,
    camera: Camera,
    frames: Float32[np.ndarray, "frames height width 4"],
    poses: list[Pose],
    options: PolishOptions,
    monitor: Monitor,
) -> list[Pose]:
    """Improve tracked poses; the first frame stays at rest.

    Raises:
        Cancelled: The caller asked to stop.
    """
    drawing = _Drawing(body)
    base = torch.from_numpy(np.stack([pose.rotations for pose in poses])).float()
    start = torch.from_numpy(np.stack([pose.positions for pose in poses])).float()
    turn = torch.zeros(start.shape[0], start.shape[1], 3, requires_grad=True)
    move = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam(
        [{"params": [turn], "lr": options.turn_rate}, {"params": [move], "lr": options.move_rate}]
    )
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - 0.8 * step / options.iterations)
    targets = [[_pool(torch.from_numpy(frame), width) for width, _ in options.scales] for frame in frames]
    forward = torch.from_numpy(camera.world_to_camera[2, :3]).float()
    count = len(frames) - 1
    movable = torch.from_numpy(body.movable).float()[:, None]
    begin = time.perf_counter()
    for iteration in range(options.iterations):
        elapsed = time.perf_counter() - begin
        if elapsed + elapsed / max(1, iteration) > options.seconds:
            break
        optimizer.zero_grad()
        for index in range(1, len(frames)):
            monitor((iteration + (index - 1) / count) / options.iterations)
            rotations = _rotation_matrices(turn[index]) @ base[index]
            picture = drawing.picture(rotations, move[index], camera)
            loss = sum(
                weight * (_pool(picture, width) - target).abs().mean()
                for (width, weight), target in zip(options.scales, targets[index], strict=True)
            )
            loss = loss + drawing.stiffness(rotations, move[index], options)
            loss = loss + options.depth * ((move[index] - start[index]) @ forward).square().mean()
            loss.backward()
        acceleration = move[2:] - 2 * move[1:-1] + move[:-2]
        (options.acceleration * acceleration.square().sum(-1).mean() * count).backward()
        for parameter in (turn, move):
            assert parameter.grad is not None
            parameter.grad[0] = 0
            parameter.grad *= movable > 0
        optimizer.step()
        decay.step()
    rotations = matrix_from_rotation_vector(turn.detach().double().numpy()) @ base.double().numpy()
    moved = move.detach().double().numpy()
    return [poses[0], *(Pose(rotations[i], moved[i]) for i in range(1, len(poses)))]


class _Drawing:
    """The body's constants as tensors, and the two differentiable things done with them."""

    def __init__(self, body: Body) -> None:
        self._body = body
        nodes = torch.from_numpy(body.graph.nodes).float()
        self._source, self._target = torch.from_numpy(body.graph.links.astype(np.int64)).T
        self._link = nodes[self._target] - nodes[self._source]
        self._matrix = body.point_matrix.astype(np.float32)
        self._transposed = self._matrix.T.tocsr()

    def picture(self, rotations: Tensor, positions: Tensor, camera: Camera) -> Float[Tensor, "height width 4"]:
        """Picture of a pose, differentiable through the positions of the Gaussians."""
        stacked = torch.cat([rotations.transpose(1, 2), positions[:, None]], dim=1).reshape(-1, 3)
        means = _ConstantProduct.apply(stacked, self._matrix, self._transposed)
        with torch.no_grad():
            splats = self._body.splats(Pose(rotations.double().numpy(), positions.double().numpy()))
        picture = rasterize(splats._replace(means=means), camera)
        return torch.cat([picture.color, picture.alpha[..., None]], dim=-1)

    def stiffness(self, rotations: Tensor, positions: Tensor, options: PolishOptions) -> Tensor:
        """How much links bend and neighbours turn differently."""
        source = rotations.index_select(0, self._source)
        # Products and sums instead of batched 3x3 matrix products, which are several times slower on a CPU.
        rotated = (source * self._link[:, None, :]).sum(-1)
        bend = positions.index_select(0, self._target) - positions.index_select(0, self._source) - rotated
        turned = source - rotations.index_select(0, self._target)
        return (
            options.rigidity * bend.square().sum(-1).mean() + options.smooth_turn * turned.square().sum((-1, -2)).mean()
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


def _rotation_matrices(vector: Float[Tensor, "nodes 3"]) -> Float[Tensor, "nodes 3 3"]:
    """Rodrigues' formula; exact derivative at zero because the axis is not normalised."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)
    squared = vector.square().sum(-1).clamp_min(1e-12)[:, None, None]
    angle = squared.sqrt()
    return torch.eye(3) + torch.sin(angle) / angle * cross + (1 - torch.cos(angle)) / squared * (cross @ cross)


def _pool(picture: Tensor, width: int) -> Tensor:
    """Means over overlapping squares of a picture with channels last, channels first in the result."""
    channels = picture.movedim(-1, 0)
    return channels if width == 1 else F.avg_pool2d(channels, width, stride=max(1, width // 3), padding=width // 2)
