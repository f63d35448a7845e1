"""Tracking by descent: each frame's pose follows the gradient of the picture's loss.

Better than Gauss-Newton steps where limbs are thin or cross each other, worse without texture; `fit` tries both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from gvf_core.geometry.rotations import matrix_from_rotation_vector
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.engine import DrivingView
from gvf_core.motion.picture_loss import LossWeights, PictureLoss, rotation_matrices
from gvf_core.progress import Monitor


@dataclass(frozen=True)
class DescentOptions:
    """Strengths, found by trial on animated assets with known motion; distances in the unit frame.

    Attributes:
        iterations: Adam steps a frame; their length falls to a fifth.
        turn_rate: First step for rotations, radians.
        move_rate: First step for positions.
        weights: Of what is compared. The widths are those for pictures of 128 pixels.
        depth: Squared distance from the rest depth along the camera's axis; none with several views, which show depth.
        expected: Squared distance from the extrapolated position.
    """

    iterations: int = 40
    turn_rate: float = 0.04
    move_rate: float = 0.006
    weights: LossWeights = field(default_factory=lambda: LossWeights(scales=((1, 1.0), (3, 2.0), (11, 2.0))))
    depth: float = 0.02
    expected: float = 0.01


class Descent:
    """Finds poses of one body in one clip.

    Args:
        body: The asset.
        views: The clip.
        options: Strengths.
    """

    def __init__(self, body: Body, views: Sequence[DrivingView], options: DescentOptions) -> None:
        self._options = options
        self._losses = PictureLoss(body, views, options.weights)
        self._rest = torch.from_numpy(body.graph.nodes).float()
        self._forward = torch.from_numpy(views[0].camera.world_to_camera[2, :3]).float()
        self._depth = options.depth if len(views) == 1 else 0.0

    def pose_at(self, frame: int, predicted: Pose, monitor: Monitor) -> Pose:
        """See `gvf_core.motion.tracking.Search`."""
        options = self._options
        base, expected = torch.from_numpy(predicted.rotations).float(), torch.from_numpy(predicted.positions).float()
        turn = torch.zeros_like(expected).requires_grad_(True)
        move = expected.clone().requires_grad_(True)
        optimizer = torch.optim.Adam(
            [{"params": [turn], "lr": options.turn_rate}, {"params": [move], "lr": options.move_rate}]
        )
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - 0.8 * step / options.iterations)
        for iteration in range(options.iterations):
            monitor(iteration / options.iterations)
            optimizer.zero_grad()
            loss = self._losses(rotation_matrices(turn) @ base, move, frame)
            loss = loss + self._depth * ((move - self._rest) @ self._forward).square().mean()
            loss = loss + options.expected * (move - expected).square().mean()
            loss.backward()
            optimizer.step()
            decay.step()
        rotation = matrix_from_rotation_vector(turn.detach().double().numpy()) @ predicted.rotations
        return Pose(rotation, move.detach().double().numpy())
