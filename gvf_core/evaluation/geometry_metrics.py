"""How far moved surfaces are from true ones: with exact correspondence, and as papers without one measure it.

Both motions belong to the same mesh, so that every vertex and every surface point has its true place. Lengths are in
the unit frame of the rest pose, whose longest side is 1. `gvf_core.evaluation.motion_metrics` has the ratios to the
unmoved mesh, jerk and edge distortion.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32
from scipy.spatial import cKDTree

from gvf_core.geometry import sample_surface
from gvf_core.geometry.rotations import rigid_motion

POINTS = 10_000
"""Points on the surface, as many as ActionBench compares."""
_ALIGNED = 2_000
_ALIGNING_STEPS = 20
_SETTLED = 1e-7

Vertices = Float[np.ndarray, "frames vertices 3"]
Points = Float[np.ndarray, "points 3"]
Tracks = Float[np.ndarray, "frames points 3"]


@dataclass(frozen=True)
class GeometryErrors:
    """Distances of a motion to the true one.

    Attributes:
        vertex_error: As `vertex_error`.
        cd_3d: As `chamfer_3d`.
        cd_4d: As `chamfer_4d`.
        cd_m: As `chamfer_motion`.
        drift: As `drift`.
    """

    vertex_error: float
    cd_3d: float
    cd_4d: float
    cd_m: float
    drift: list[float]


def geometry_errors(
    moved: Vertices,
    truth: Vertices,
    triangles: Int32[np.ndarray, "triangles 3"],
    rng: np.random.Generator,
    count: int = POINTS,
) -> GeometryErrors:
    """Compare the vertices of a motion with those of the true one.

    Args:
        moved: Of the found motion.
        truth: Of the true motion; frame 0 is the rest pose.
        triangles: Vertex indices.
        rng: Source of the surface points.
        count: Number of surface points.
    """
    moved, truth = moved.astype(np.float64), truth.astype(np.float64)
    points = sample_surface(truth[0], triangles, count, rng)
    found, true = points.positions(moved, triangles), points.positions(truth, triangles)
    return GeometryErrors(
        vertex_error=vertex_error(moved, truth),
        cd_3d=chamfer_3d(found, true),
        cd_4d=chamfer_4d(found, true),
        cd_m=chamfer_motion(found, true),
        drift=drift(found, true),
    )


def vertex_error(moved: Vertices, truth: Vertices) -> float:
    """Mean distance of the vertices to their true places over the diagonal of the rest pose's bounding box.

    Over all frames but the first. Ours; vertices count as they are, however densely they lie. The measure does not
    depend on the size of the asset.
    """
    diagonal = float(np.linalg.norm(np.ptp(truth[0], axis=0)))
    return float(np.linalg.norm(moved[1:] - truth[1:], axis=-1).mean()) / diagonal


def drift(found: Tracks, true: Tracks) -> list[float]:
    """Mean distance of the surface points to their true places in each frame after the first. Ours.

    What grows over the frames is drift; what comes and goes with the motion is not.
    """
    return np.linalg.norm(found[1:] - true[1:], axis=-1).mean(axis=1).tolist()


def chamfer(found: Points, true: Points) -> float:
    """Mean distance of each point to the nearest of the other set, of both directions added; not squared.

    As in ActionBench (Sabathier et al., "ActionMesh", arXiv 2601.16148; `actionbench/chamfer.py`).
    """
    return float(cKDTree(found).query(true)[0].mean() + cKDTree(true).query(found)[0].mean())


def chamfer_4d(found: Tracks, true: Tracks) -> float:
    """CD-4D of ActionBench: `chamfer` in each frame after one alignment for the whole clip, mean over all frames.

    The alignment is left out: the mesh is given, and both motions are in its frame. Both sides have the same points of
    the surface, so that the truth has the distance 0; ActionBench draws them anew on each side, which adds the distance
    of points from their neighbours.
    """
    return float(np.mean([chamfer(*frame) for frame in zip(found, true, strict=True)]))


def chamfer_3d(found: Tracks, true: Tracks) -> float:
    """CD-3D of ActionBench: `chamfer` after an alignment in each frame: the shapes without their place.

    Aligned rigidly, by iterated closest points from where the mesh is; ActionBench also stretches along the axes.
    """
    return float(np.mean([_aligned_chamfer(*frame) for frame in zip(found, true, strict=True)]))


def chamfer_motion(found: Tracks, true: Tracks) -> float:
    """CD-M of ActionBench: mean distance of points that are paired in frame 0 and stay so, both directions added.

    A pair is a point and the nearest one of the other side. If both motions begin in the rest pose, the pairs are
    exact, and this is twice the mean distance over all frames.
    """
    _, to_found = cKDTree(found[0]).query(true[0])
    _, to_true = cKDTree(true[0]).query(found[0])
    forth, back = found[:, to_found] - true, true[:, to_true] - found
    return float(np.linalg.norm(forth, axis=-1).mean() + np.linalg.norm(back, axis=-1).mean())


def _aligned_chamfer(found: Points, true: Points) -> float:
    """The least distance of the shapes as they lie, and after iterated closest points (Besl and McKay, 1992)."""
    step = max(1, len(found) // _ALIGNED)
    tree, sample = cKDTree(true), found[::step]
    rotation, shift = np.eye(3), np.zeros(3)
    before = np.inf
    for _ in range(_ALIGNING_STEPS):
        distance, nearest = tree.query(sample @ rotation.T + shift)
        if before - distance.mean() < _SETTLED:
            break
        before = distance.mean()
        rotation, shift = rigid_motion(sample, true[nearest])
    return min(chamfer(found, true), chamfer(found @ rotation.T + shift, true))
