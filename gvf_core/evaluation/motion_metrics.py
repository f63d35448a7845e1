"""How far a found motion is from the true one, measured on the surface of a mesh.

Everything is relative to the unmoved mesh: 1 is as good as doing nothing, 0 is the truth. Lengths are in the unit frame
of the rest pose, whose longest side is 1. Frame 0 is the rest pose, so that only later frames count.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from gvf_core.geometry import SurfacePoints, sample_surface
from gvf_core.geometry.rotations import rigid_motion
from gvf_core.rendering.camera import Camera
from gvf_core.rendering.mesh import rasterize_mesh

POINTS = 4096
"""Points on the surface, spread evenly by area."""
DEPTH_TOLERANCE = 0.01
"""A point counts as seen when it lies at most this far behind the visible surface, as for the Gaussians' colours."""
NEGLIGIBLE = 0.001
"""A ratio to a part of the true motion that is smaller (unit frame, on average) would measure noise: there is none."""
RIGID_STEPS = 30
"""Of reweighted least squares; the mean distance changes by less than 0.1 % after them."""
MIN_EDGE = 1e-5
"""Shorter edges have no length to speak of."""

Vertices = Float[np.ndarray, "frames vertices 3"]


@dataclass(frozen=True)
class MotionErrors:
    """How well a motion agrees with the true one.

    Attributes:
        ratio_all: Mean distance to the true positions over that of the unmoved mesh.
        ratio_visible: The same of the points that the video has shown: those seen in frame 0 or in the frame itself.
            None if these hardly move.
        ratio_in_plane: `ratio_all` of the parts of distances that are parallel to the image plane. None if the true
            ones are negligible.
        surface_error: The mean distance itself.
        unmoved_error: That of the unmoved mesh: how much the true motion moves.
        jerk: Mean length of the third difference of positions over time, per frame^3.
        true_jerk: That of the true motion.
        edge_distortion: Mean of |length / rest length - 1| over edges, weighted by rest length.
        true_edge_distortion: That of the true motion.
    """

    ratio_all: float
    ratio_visible: float | None
    ratio_in_plane: float | None
    surface_error: float
    unmoved_error: float
    jerk: float
    true_jerk: float
    edge_distortion: float
    true_edge_distortion: float


def motion_errors(
    moved: Vertices,
    truth: Vertices,
    triangles: Int32[np.ndarray, "triangles 3"],
    camera: Camera,
    rng: np.random.Generator,
    count: int = POINTS,
) -> MotionErrors:
    """Compare a motion with the true one.

    Args:
        moved: Vertices of the found motion.
        truth: Vertices of the true motion; frame 0 is the rest pose.
        triangles: Vertex indices.
        camera: Of the driving video.
        rng: Source of the points.
        count: Number of points on the surface.

    Raises:
        ValueError: The shapes differ, or the truth does not move.
    """
    if moved.shape != truth.shape:
        raise ValueError(f"the motion has the shape {moved.shape}, the truth {truth.shape}")
    moved, truth = moved.astype(np.float64), truth.astype(np.float64)
    points = sample_surface(truth[0], triangles, count, rng)
    found, true = points.positions(moved, triangles), points.positions(truth, triangles)
    wrong, still = (found - true)[1:], (true[:1] - true)[1:]
    unmoved_error = mean_length(still)
    if not unmoved_error > 0:
        raise ValueError("the true motion does not move")
    seen = shown_points(points, true, truth, triangles, camera)[1:]
    in_plane = camera.world_to_camera[:2, :3].T
    return MotionErrors(
        ratio_all=mean_length(wrong) / unmoved_error,
        ratio_visible=ratio(mean_length(wrong[seen]), mean_length(still[seen])),
        ratio_in_plane=ratio(mean_length(wrong @ in_plane), mean_length(still @ in_plane)),
        surface_error=mean_length(wrong),
        unmoved_error=unmoved_error,
        jerk=jerk(found),
        true_jerk=jerk(true),
        edge_distortion=edge_distortion(moved, truth[0], triangles),
        true_edge_distortion=edge_distortion(truth, truth[0], triangles),
    )


def ratio(error: float, unmoved: float) -> float | None:
    """An error over that of the unmoved mesh; None if that is `NEGLIGIBLE`."""
    return error / unmoved if unmoved >= NEGLIGIBLE else None


def mean_length(vectors: Float[np.ndarray, "*batch dimensions"]) -> float:
    """Of vectors; 0 if there are none."""
    return float(np.linalg.norm(vectors, axis=-1).mean()) if vectors.size else 0.0


def shown_points(
    points: SurfacePoints,
    positions: Float[np.ndarray, "frames points 3"],
    vertices: Vertices,
    triangles: Int32[np.ndarray, "triangles 3"],
    camera: Camera,
) -> Bool[np.ndarray, "frames points"]:
    """Whether a camera sees a point in frame 0 or in the frame itself.

    Args:
        points: On the surface.
        positions: Theirs.
        vertices: Of the mesh that hides them.
        triangles: Vertex indices.
        camera: Sees all frames.
    """
    seen = np.stack([_seen(place, mesh, triangles, camera) for place, mesh in zip(positions, vertices, strict=True)])
    return seen | seen[:1]


def jerk(positions: Float[np.ndarray, "frames points 3"]) -> float:
    """Mean length of the third difference over time; 0 for fewer than four frames. Ours.

    Motion of constant acceleration has none; beside that of the truth it tells trembling from motion that is missing.
    """
    return mean_length(np.diff(positions, n=3, axis=0)) if len(positions) > 3 else 0.0


def edge_distortion(
    vertices: Vertices, rest: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> float:
    """Mean of |length / rest length - 1| over the edges and the frames after the first, weighted by rest length. Ours.

    Beside that of the truth it tells whether a surface is torn or squeezed that only bends.
    """
    start, end = mesh_edges(triangles).T
    length = np.linalg.norm(rest[end] - rest[start], axis=-1)
    kept = length > MIN_EDGE
    if not kept.any() or len(vertices) < 2:
        return 0.0
    start, end, length = start[kept], end[kept], length[kept]
    # One frame at a time: all frames of a large mesh together would fill gigabytes.
    changes = [np.abs(np.linalg.norm(frame[end] - frame[start], axis=-1) - length).sum() for frame in vertices[1:]]
    return float(np.mean(changes) / length.sum())


def mesh_edges(triangles: Int32[np.ndarray, "triangles 3"]) -> Int[np.ndarray, "edges 2"]:
    """Every edge once."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def best_rigid_motion(
    truth: Vertices, triangles: Int32[np.ndarray, "triangles 3"], rng: np.random.Generator, count: int = POINTS
) -> Vertices:
    """The rest pose turned and moved as close to each true frame as a rigid body can be, by mean distance.

    Knows the truth, so it is no engine but a bound: what bending adds. Reweighted least squares, which minimises the
    sum of distances (Weiszfeld's algorithm) on points spread evenly by area.
    """
    points = sample_surface(truth[0], triangles, count, rng).positions(truth.astype(np.float64), triangles)
    frames = [truth[0].astype(np.float64)]
    for goal in points[1:]:
        rotation, shift = _best_rigid(points[0], goal)
        frames.append(truth[0] @ rotation.T + shift)
    return np.stack(frames)


def at_rest_depth(truth: Vertices, camera: Camera) -> Vertices:
    """The true motion as the camera shows it, without its depth: every point at its rest depth on its true ray.

    Knows the truth, hidden points included; what is missing is what one view does not show.
    """
    positions = truth.astype(np.float64)
    _, depth = camera.project(positions)
    return camera.position + (positions - camera.position) * (depth[:1] / depth)[..., None]


def _best_rigid(
    start: Float[np.ndarray, "points 3"], goal: Float[np.ndarray, "points 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    best = np.eye(3), np.zeros(3)
    least = mean_length(start - goal)
    weight = np.ones(len(start))
    for _ in range(RIGID_STEPS):
        rotation, shift = rigid_motion(start, goal, weight)
        distance = np.linalg.norm(start @ rotation.T + shift - goal, axis=-1)
        if distance.mean() < least:
            best, least = (rotation, shift), float(distance.mean())
        weight = 1 / np.maximum(distance, 1e-6)
    return best


def _seen(
    positions: Float[np.ndarray, "points 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    camera: Camera,
) -> Bool[np.ndarray, " points"]:
    pixel, depth = camera.project(positions)
    surface = rasterize_mesh(vertices, triangles, camera).depth
    # The farthest of the nine depths around: the surface runs through a pixel, and thin things hardly cover one.
    surface = cv2.dilate(np.where(np.isfinite(surface), surface, 0), np.ones((3, 3), np.uint8))
    column, row = np.floor(pixel.T).astype(int)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height) & (depth > 0)
    in_front = surface[row.clip(0, camera.height - 1), column.clip(0, camera.width - 1)] + DEPTH_TOLERANCE
    return inside & (depth <= in_front)
