"""Whether an engine knows where it is wrong: the confidence that it gives each Gaussian, beside the true error."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from gvf_core.evaluation.motion_metrics import Vertices
from gvf_core.geometry import sample_surface

POINTS = 20_000
"""Points on the surface; a Gaussian's true way is that of the nearest one."""
PART = 0.25
"""Of all Gaussians in all frames, the most trusted and the most doubted ones."""


@dataclass(frozen=True)
class ConfidenceErrors:
    """What confidence tells of errors, over all Gaussians in all frames but the first. Ours.

    Attributes:
        confidence_rank: Spearman's rank correlation of confidence with nearness to the truth: 1 if the order is the
            same, 0 if confidence tells nothing. None where it, or the error, is the same everywhere.
        trusted_error: Mean error of the most trusted quarter over that of all.
        doubted_error: Mean error of the least trusted quarter over that of all.
    """

    confidence_rank: float | None
    trusted_error: float
    doubted_error: float


def confidence_errors(
    confidence: Float[np.ndarray, "frames gaussians"],
    means: Float[np.ndarray, "frames gaussians 3"],
    truth: Vertices,
    triangles: Int32[np.ndarray, "triangles 3"],
    rng: np.random.Generator,
    count: int = POINTS,
) -> ConfidenceErrors | None:
    """Compare confidence with errors.

    Args:
        confidence: 0..1.
        means: Centres of the Gaussians as they were found, unit frame.
        truth: Vertices of the true motion; frame 0 is the rest pose.
        triangles: Vertex indices.
        rng: Source of the points.
        count: Number of points on the surface.

    Returns:
        None where nothing is wrong.
    """
    points = sample_surface(truth[0].astype(np.float64), triangles, count, rng).positions(
        truth.astype(np.float64), triangles
    )
    _, nearest = cKDTree(points[0]).query(means[0])
    ways = points[1:, nearest] - points[0, nearest]
    error = np.linalg.norm(means[1:] - means[:1] - ways, axis=-1).ravel()
    trust = confidence[1:].ravel()
    if not error.any():
        return None
    rank = None
    if np.ptp(error) > 0 and np.ptp(trust) > 0:
        rank = float(spearmanr(trust, -error).statistic)
    # Among equals in confidence, chance decides which belong to a quarter.
    order = np.lexsort((rng.random(len(trust)), trust))
    part = max(1, round(PART * len(order)))
    return ConfidenceErrors(
        rank, float(error[order[-part:]].mean() / error.mean()), float(error[order[:part]].mean() / error.mean())
    )
