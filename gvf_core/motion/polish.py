"""Photometric polish: all frames of a clip together, by gradients through the rasterizer."""

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from gvf_core.geometry.rotations import matrix_from_rotation_vector
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.engine import DrivingView
from gvf_core.motion.picture_loss import LossWeights, PictureLoss, rotation_matrices
from gvf_core.progress import Monitor
from gvf_core.side_by_side import side_by_side


@dataclass(frozen=True)
class PolishOptions:
    """Strengths of the polish; lengths are in the unit frame.

    Attributes:
        iterations: Sweeps over all frames.
        turn_rate: Adam step for rotations, radians.
        move_rate: Adam step for positions.
        weights: Of what is compared at one frame.
        depth: Squared distance from the anchor of each node along the camera's axis, times its weight.
        plane: The same across the axis.
        acceleration: Squared second difference of node positions over time.
        seconds: No new sweep begins when another one would end later than this.
    """

    iterations: int = 20
    turn_rate: float = 0.02
    move_rate: float = 0.003
    weights: LossWeights = field(default_factory=LossWeights)
    depth: float = 0.02
    plane: float = 0.1
    acceleration: float = 0.5
    seconds: float = math.inf


@dataclass(frozen=True)
class Anchors:
    """Where nodes should stay as far as the pictures say nothing else.

    Attributes:
        positions: In the unit frame.
        depth_weight: How much this counts along the axis of the first view's camera.
        plane_weight: How much it counts across.
    """

    positions: Float[np.ndarray, "frames nodes 3"]
    depth_weight: Float[np.ndarray, "frames nodes"]
    plane_weight: Float[np.ndarray, "frames nodes"]


def polish(
    body: Body,
    views: Sequence[DrivingView],
    poses: list[Pose],
    options: PolishOptions,
    monitor: Monitor,
    anchors: Anchors | None = None,
) -> list[Pose]:
    """Improve tracked poses; the first frame stays at rest.

    Args:
        body: The asset.
        views: The clip.
        poses: Where to begin.
        options: Weights of the loss.
        monitor: Takes the progress.
        anchors: What nodes are drawn to; if not given, to the depth at which they begin.

    Raises:
        Cancelled: The caller asked to stop.
    """
    losses = PictureLoss(body, views, options.weights)
    base = torch.from_numpy(np.stack([pose.rotations for pose in poses])).float()
    start = torch.from_numpy(np.stack([pose.positions for pose in poses])).float()
    turn = torch.zeros(start.shape[0], start.shape[1], 3, requires_grad=True)
    move = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam(
        [{"params": [turn], "lr": options.turn_rate}, {"params": [move], "lr": options.move_rate}]
    )
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - 0.8 * step / options.iterations)
    forward = torch.from_numpy(views[0].camera.world_to_camera[2, :3]).float()
    if anchors is None:
        everywhere = np.ones(start.shape[:2])
        anchors = Anchors(start.numpy(), everywhere, 0 * everywhere)
    anchored = torch.from_numpy(np.asarray(anchors.positions)).float()
    along, across = (torch.from_numpy(w).float() for w in (anchors.depth_weight, anchors.plane_weight))
    count = len(poses) - 1
    movable = torch.from_numpy(body.movable).float()[:, None]
    begin = time.perf_counter()

    def gradients(index: int) -> tuple[torch.Tensor, ...]:
        """Of the loss at one frame, by its rotations and its positions."""
        spin, place = (values[index].detach().requires_grad_(True) for values in (turn, move))
        loss = losses(rotation_matrices(spin) @ base[index], place, index)
        away = place - anchored[index]
        depth = away @ forward
        plane = away.square().sum(-1) - depth.square()
        loss = loss + options.depth * (along[index] * depth.square()).mean()
        loss = loss + options.plane * (across[index] * plane).mean()
        return torch.autograd.grad(loss, (spin, place))

    for iteration in range(options.iterations):
        elapsed = time.perf_counter() - begin
        if elapsed + elapsed / max(1, iteration) > options.seconds:
            break
        optimizer.zero_grad()
        acceleration = move[2:] - 2 * move[1:-1] + move[:-2]
        (options.acceleration * acceleration.square().sum(-1).mean() * count).backward()
        turn.grad = torch.zeros_like(turn)
        assert move.grad is not None
        # Closed here, not when it is forgotten: an interruption then would be lost.
        with closing(side_by_side(gradients, range(1, len(poses)))) as found:
            for index, (of_turn, of_move) in enumerate(found, start=1):
                monitor((iteration + (index - 1) / count) / options.iterations)
                turn.grad[index] += of_turn
                move.grad[index] += of_move
        for parameter in (turn, move):
            assert parameter.grad is not None
            parameter.grad[0] = 0
            parameter.grad *= movable > 0
        optimizer.step()
        decay.step()
    rotations = matrix_from_rotation_vector(turn.detach().double().numpy()) @ base.double().numpy()
    moved = move.detach().double().numpy()
    return [poses[0], *(Pose(rotations[i], moved[i]) for i in range(1, len(poses)))]
