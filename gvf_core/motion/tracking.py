"""Frame-by-frame tracking: predict the next pose, search from there, go on.

`GaussNewton` searches by steps: render, compare with the frame, step, repeat. `descent` holds another way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from jaxtyping import Float

from gvf_core.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.engine import DrivingView
from gvf_core.motion.gauss_newton import Observations, Prior, step
from gvf_core.motion.observe import REFERENCE_SCALE, Estimate, Observer, join
from gvf_core.motion.picture import Picture
from gvf_core.progress import Monitor
from gvf_core.side_by_side import side_by_side

MOMENTUM = 0.8
"""Share of the last motion that is extrapolated; never in depth, where errors explode."""
BEND_COST = 0.6
"""Mean bend of the links (unit frame) in units of picture difference (0..1): of explanations that are about as good,
the less crumpled one is taken. Found on four research clips: where descent bends the body most, it is wrong."""


class Search(Protocol):
    """A way to find the pose of one frame."""

    def pose_at(self, frame: int, predicted: Pose, monitor: Monitor) -> Pose:
        """The pose at a frame, searched from the one that motion so far predicts."""
        ...


def track(body: Body, views: Sequence[DrivingView], search: Search, monitor: Monitor) -> list[Pose]:
    """Poses of all frames; the first is the rest pose.

    Raises:
        Cancelled: The caller asked to stop.
    """
    poses = [body.rest]
    forward = views[0].camera.world_to_camera[2, :3]
    count = len(views[0].frames)
    for index in range(1, count):
        part = monitor.part((index - 1) / (count - 1), index / (count - 1))
        predicted = _predicted(poses[-1], poses[-2] if index > 1 else poses[-1], forward)
        poses.append(body.held(search.pose_at(index, body.held(predicted), part)))
        if monitor.on_preview is not None:
            monitor.on_preview(index, body.draw(poses[-1], views[0].camera))
    return poses


def _predicted(last: Pose, before: Pose, forward: Float[np.ndarray, "3"]) -> Pose:
    """The last pose carried on as it moved."""
    velocity = last.positions - before.positions
    velocity = velocity - (velocity @ forward)[:, None] * forward
    spin = MOMENTUM * rotation_vector_from_matrix(last.rotations @ before.rotations.transpose(0, 2, 1))
    return Pose(matrix_from_rotation_vector(spin) @ last.rotations, last.positions + MOMENTUM * velocity)


@dataclass(frozen=True)
class TrackingOptions:
    """Strengths of tracking, found by trial on animated assets with known motion; distances in the unit frame.

    Attributes:
        flow_rounds: Rounds guided by optical flow, from stiff to supple.
        blurs: Blur in pixels of each following photometric round.
        needed_rounds: After these, the first round that gains nothing is the last. On nine clips 21 % of the rounds are
            saved, and the lowest cost of a frame is .2 % higher.
        stiffness: Rigidity in the first flow round and from the last one on.
        bend_scale: Deviation of a link from rigidity at which it yields.
        turn_smoothness: Rotation differences along links, relative to rigidity.
        expected_weight: Pull to the extrapolated position.
        depth_weight: Pull to the rest depth; none with several views, which show depth.
    """

    flow_rounds: int = 4
    blurs: tuple[float, ...] = (4, 4, 2, 2, 1, 1)
    needed_rounds: int = 6
    stiffness: tuple[float, float] = (3.0, 0.1)
    bend_scale: float = 0.02
    turn_smoothness: float = 0.0002
    expected_weight: float = 0.002
    depth_weight: float = 0.01


@dataclass(frozen=True)
class Witness:
    """One view of the clip, and what compares poses with it."""

    view: DrivingView
    observer: Observer

    def picture(self, frame: int) -> Picture:
        """A frame, for comparison with drawn poses."""
        return Picture(self.view.frames[frame], self.observer.background)


class GaussNewton:
    """Steps by flow, then by colours, with silhouettes and uncovered parts all along.

    Args:
        body: The asset.
        witnesses: The clip.
        options: Strengths.
    """

    def __init__(self, body: Body, witnesses: Sequence[Witness], options: TrackingOptions) -> None:
        self._body, self._witnesses, self._options = body, witnesses, options
        away = body.graph.nodes - witnesses[0].view.camera.position
        self._ray = away / np.linalg.norm(away, axis=1, keepdims=True)

    def pose_at(self, frame: int, predicted: Pose, monitor: Monitor) -> Pose:
        """See `Search`."""
        options, pose = self._options, predicted
        frames = [witness.picture(frame) for witness in self._witnesses]
        rounds = options.flow_rounds + len(options.blurs)
        estimates = self._draw(pose)
        best, least = pose, self._cost(pose, estimates, frames)
        for turn in range(rounds):
            monitor(turn / rounds)
            observations = self._observe(turn, estimates, frames)
            prior = self._prior(turn, predicted.positions)
            pose = self._body.held(step(self._body.graph, self._body.vertices, pose, observations, prior))
            estimates = self._draw(pose)
            cost = self._cost(pose, estimates, frames)
            # Steps follow flow and contours, not the difference itself, and may lead away from it.
            if cost < least:
                best, least = pose, cost
            elif turn >= options.needed_rounds:
                break
        return best

    def _draw(self, pose: Pose) -> list[Estimate]:
        return list(side_by_side(lambda witness: witness.observer.draw(pose), self._witnesses))

    def _cost(self, pose: Pose, estimates: list[Estimate], frames: list[Picture]) -> float:
        differences = [estimate.picture.difference(seen) for estimate, seen in zip(estimates, frames, strict=True)]
        return float(np.mean(differences)) + BEND_COST * self._body.bend(pose)

    def _observe(self, turn: int, estimates: list[Estimate], frames: list[Picture]) -> Observations:
        """What all views say in one round."""
        options, pieces = self._options, []
        for witness, estimate, picture in zip(self._witnesses, estimates, frames, strict=True):
            observer = witness.observer
            if turn < options.flow_rounds:
                pieces.append(partial(observer.flow, estimate, picture))
            else:
                blur = options.blurs[turn - options.flow_rounds]
                pieces.append(partial(observer.photometric, estimate, picture, blur))
            pieces += [partial(look, estimate, picture) for look in (observer.silhouette, observer.coverage)]
        return join(*side_by_side(lambda piece: piece(), pieces))

    def _prior(self, turn: int, expected: Float[np.ndarray, "nodes 3"]) -> Prior:
        """The options as weights against pixels."""
        options, unit = self._options, REFERENCE_SCALE**2
        high, low = options.stiffness
        stiffness = high * (low / high) ** min(1.0, turn / max(1, options.flow_rounds - 1))
        return Prior(
            rigidity=stiffness * unit,
            rigidity_scale=options.bend_scale,
            turn_smoothness=options.turn_smoothness * stiffness * unit,
            expected=expected,
            expected_weight=options.expected_weight * unit,
            ray=self._ray,
            depth_weight=options.depth_weight * unit if len(self._witnesses) == 1 else 0.0,
        )
