"""Errors of a found motion apart: of the root, which carries the whole asset, and of the deformation on top of it.

The root motion of a surface in a frame is the rigid motion that takes its rest pose nearest to it, by squared distance
over the area (Kabsch, 1976). Lengths are in the unit frame of the rest pose.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32

from gvf_core.evaluation.motion_metrics import mean_length, ratio
from gvf_core.geometry import sample_surface
from gvf_core.geometry.rotations import rigid_motion, rotation_vector_from_matrix

POINTS = 10_000
"""Points on the surface, spread evenly by area."""

Vertices = Float[np.ndarray, "frames vertices 3"]


@dataclass(frozen=True)
class RootErrors:
    """How far the two parts of a motion are from the true ones, over all frames but the first. Ours.

    Attributes:
        root_rotation_error: Mean angle between the rotations of the found and the true root, degrees.
        root_translation_error: Mean distance of the places that both roots give the surface's centre, over the diagonal
            of the rest pose's bounding box.
        deformation_error: Mean distance of the surface to the true one after each one's own root motion is undone.
        true_deformation: The same of the unmoved mesh: how much the truth deforms.
        ratio_deformation: The former over the latter; None where the truth hardly deforms.
    """

    root_rotation_error: float
    root_translation_error: float
    deformation_error: float
    true_deformation: float
    ratio_deformation: float | None


def root_errors(
    moved: Vertices,
    truth: Vertices,
    triangles: Int32[np.ndarray, "triangles 3"],
    rng: np.random.Generator,
    count: int = POINTS,
) -> RootErrors:
    """Compare root motion and deformation with the true ones.

    Args:
        moved: Vertices of the found motion.
        truth: Vertices of the true motion; frame 0 is the rest pose of both.
        triangles: Vertex indices.
        rng: Source of the points.
        count: Number of points on the surface.
    """
    points = sample_surface(truth[0].astype(np.float64), triangles, count, rng)
    found, true = (points.positions(side.astype(np.float64), triangles) for side in (moved, truth))
    rest = true[0]
    angles, shifts, wrong, still = [], [], [], []
    for found_frame, true_frame in zip(found[1:], true[1:], strict=True):
        (found_turn, found_bend), (true_turn, true_bend) = _parts(rest, found_frame), _parts(rest, true_frame)
        angles.append(np.linalg.norm(rotation_vector_from_matrix(found_turn @ true_turn.T)))
        # Both roots take the centre of the rest pose to that of the frame.
        shifts.append(np.linalg.norm(found_frame.mean(axis=0) - true_frame.mean(axis=0)))
        wrong.append(mean_length(found_bend - true_bend))
        still.append(mean_length(true_bend))
    error, deformation = float(np.mean(wrong)), float(np.mean(still))
    return RootErrors(
        root_rotation_error=float(np.degrees(np.mean(angles))),
        root_translation_error=float(np.mean(shifts) / np.linalg.norm(np.ptp(truth[0], axis=0))),
        deformation_error=error,
        true_deformation=deformation,
        ratio_deformation=ratio(error, deformation),
    )


def _parts(
    rest: Float[np.ndarray, "points 3"], moved: Float[np.ndarray, "points 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "points 3"]]:
    """The rotation of the root, and what is left of the way of each point when the root motion is undone."""
    rotation, shift = rigid_motion(rest, moved)
    return rotation, (moved - shift) @ rotation - rest
