"""Frame-by-frame tracking: render, compare with the next frame, take Gauss-Newton steps, repeat."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from gvf_core.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.gauss_newton import Prior, step
from gvf_core.motion.observe import REFERENCE_SCALE, Observer, join
from gvf_core.progress import Monitor


@dataclass(frozen=True)
class TrackingOptions:
    """Strengths of tracking, found by trial on animated assets with known motion; distances in the unit frame.

    Attributes:
        flow_rounds: Rounds guided by optical flow, from stiff to supple.
        blurs: Blur in pixels of each following photometric round.
        stiffness: Rigidity in the first flow round and from the last one on.
        bend_scale: Deviation of a link from rigidity at which it yields.
        turn_smoothness: Rotation differences along links, relative to rigidity.
        expected_weight: Pull to the extrapolated position.
        momentum: Share of the last motion that is extrapolated; never in depth, where errors explode.
        depth_weight: Pull to the rest depth.
    """

    flow_rounds: int = 4
    blurs: tuple[float, ...] = (4, 4, 2, 2, 1, 1)
    stiffness: tuple[float, float] = (3.0, 0.3)
    bend_scale: float = 0.05
    turn_smoothness: float = 0.0002
    expected_weight: float = 0.002
    momentum: float = 0.8
    depth_weight: float = 0.01


def track(
    body: Body,
    observer: Observer,
    frames: Float32[np.ndarray, "frames height width 4"],
    options: TrackingOptions,
    monitor: Monitor,
) -> list[Pose]:
    """Poses of all frames; the first is the rest pose.

    Raises:
        Cancelled: The caller asked to stop.
    """
    poses = [body.rest]
    ray = view_rays(body.graph.nodes, observer)
    forward = observer.camera.world_to_camera[2, :3]
    for index in range(1, len(frames)):
        last, before = poses[-1], poses[-2] if index > 1 else poses[-1]
        velocity = last.positions - before.positions
        velocity -= (velocity @ forward)[:, None] * forward
        expected = last.positions + options.momentum * velocity
        spin = options.momentum * rotation_vector_from_matrix(last.rotations @ before.rotations.transpose(0, 2, 1))
        pose = Pose(matrix_from_rotation_vector(spin) @ last.rotations, expected)
        rounds = options.flow_rounds + len(options.blurs)
        for turn in range(rounds):
            monitor((index - 1 + turn / rounds) / (len(frames) - 1))
            estimate = observer.draw(pose)
            if turn < options.flow_rounds:
                near = observer.flow(estimate, frames[index])
                high, low = options.stiffness
                stiffness = high * (low / high) ** (turn / max(1, options.flow_rounds - 1))
            else:
                near = observer.photometric(estimate, frames[index], options.blurs[turn - options.flow_rounds])
                stiffness = options.stiffness[1]
            observations = join(
                near, observer.silhouette(estimate, frames[index]), observer.coverage(estimate, frames[index])
            )
            prior = make_prior(options, stiffness, expected, ray)
            pose = body.held(step(body.graph, body.vertices, pose, observations, prior))
        poses.append(pose)
    return poses


def make_prior(
    options: TrackingOptions,
    stiffness: float,
    expected: Float[np.ndarray, "nodes 3"],
    ray: Float[np.ndarray, "nodes 3"],
) -> Prior:
    """The options as weights against pixels."""
    unit = REFERENCE_SCALE**2
    return Prior(
        rigidity=stiffness * unit,
        rigidity_scale=options.bend_scale,
        turn_smoothness=options.turn_smoothness * stiffness * unit,
        expected=expected,
        expected_weight=options.expected_weight * unit,
        ray=ray,
        depth_weight=options.depth_weight * unit,
    )


def view_rays(points: Float[np.ndarray, "points 3"], observer: Observer) -> Float[np.ndarray, "points 3"]:
    """Unit vectors from the camera to the points."""
    ray = points - observer.camera.position
    return ray / np.linalg.norm(ray, axis=1, keepdims=True)
