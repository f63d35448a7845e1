"""How the triangles of a mesh turn and stretch, so that flat Gaussians on them can follow."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32

LEAST_STRETCH, MOST_STRETCH = 0.05, 4.0
"""Beyond them a triangle is broken: a Gaussian that followed would vanish, or cover the picture."""


class TriangleMotion(NamedTuple):
    """What becomes of round spots on triangles.

    Attributes:
        axes: Rotations whose columns are the long and the short axis of the spot, and the normal.
        stretches: Length of the two axes in units of the radius at rest.
    """

    axes: Float[np.ndarray, "triangles 3 3"]
    stretches: Float[np.ndarray, "triangles 2"]


def triangle_motion(
    rest: Float[np.ndarray, "vertices 3"],
    moved: Float[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
) -> TriangleMotion:
    """Follow triangles from rest into a pose; on those that lose their area spots shrink where they are."""
    before, before_axes, good_before = _in_plane(rest, triangles)
    after, after_axes, good_after = _in_plane(moved, triangles)
    good = (good_before & good_after)[:, None, None]
    # The affine map of the plane takes a circle to an ellipse with these axes.
    change = np.where(good, after, np.eye(2)) @ np.linalg.inv(np.where(good, before, np.eye(2)))
    directions, stretches, _ = np.linalg.svd(change)
    directions[..., 1] *= np.linalg.det(directions)[:, None]
    flat = np.where(good, after_axes, before_axes)
    axes = np.concatenate([flat[..., :2] @ directions, flat[..., 2:]], axis=-1)
    lengths = stretches.clip(LEAST_STRETCH, MOST_STRETCH)
    return TriangleMotion(axes, np.where(good[..., 0], lengths, LEAST_STRETCH))


def _in_plane(
    vertices: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> tuple[Float[np.ndarray, "triangles 2 2"], Float[np.ndarray, "triangles 3 3"], Bool[np.ndarray, " triangles"]]:
    """The two edges of the first corner in the plane, that plane's axes and normal, and whether there is an area."""
    a, b, c = np.moveaxis(vertices[triangles].astype(np.float64), 1, 0)
    edge, normal = b - a, np.cross(b - a, c - a)
    edge_length, area = np.linalg.norm(edge, axis=1), np.linalg.norm(normal, axis=1)
    good = (edge_length > 1e-12) & (area > 1e-16)
    first = edge / np.where(good, edge_length, 1)[:, None]
    last = normal / np.where(good, area, 1)[:, None]
    axes = np.stack([first, np.cross(last, first), last], axis=-1)
    axes = np.where(good[:, None, None], axes, np.eye(3))
    edges = np.stack([edge, c - a], axis=-1)
    return axes[:, :, :2].transpose(0, 2, 1) @ edges, axes, good
