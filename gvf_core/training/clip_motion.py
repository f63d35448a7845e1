"""The motion of a clip as it is trained on: one unit frame for all frames, points of the surface, and what is unfit."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Float32, Int32

from gvf_core.geometry.mesh import SurfacePoints, sample_surface, triangle_normals
from gvf_core.training.clip_record import POINTS

LEAST_MOTION = 0.005
"""Mean displacement of the surface (unit frame) below which a clip counts as still, unless a part of it moves."""
LIVELY_PART, LIVELY_MOTION = 0.05, 0.02
"""So much of the surface moves so far on average: a face that talks, 0.003 on average over the head."""
SLOW_MOTION = 0.01
"""Below it the official data take frames from the whole clip instead of consecutive ones (CONVENTIONS, section 9)."""
LEAST_SIZE = 0.25
"""Longest side of frame 0 in the unit frame; an asset that travels farther would be a speck in every picture."""
MOST_GROWTH = 4.0
"""Surface in a frame over that of frame 0; beyond it the mesh explodes."""
LONGEST_STEP = 0.25
"""Mean displacement from frame to frame; beyond it the asset jumps rather than moves."""
MOST_VERTICES = 250_000
"""Beyond it the clips of one asset would fill gigabytes of memory."""
SAME = 0.003
"""Largest difference between the signatures of two clips that count as one."""


class RefusalKind(StrEnum):
    """Why a clip or an asset is left out."""

    SHORT = "too short"
    STILL = "hardly moves"
    FAR = "travels too far"
    EXPLODING = "explodes"
    JUMPING = "jumps"
    DUPLICATE = "duplicate in its family"
    LARGE = "too large"
    UNREADABLE = "cannot be read"
    INVISIBLE = "not to be seen"


@dataclass(frozen=True)
class Refusal:
    """A clip or an asset that is left out.

    Attributes:
        kind: For counting.
        sentence: For people, with the figure.
    """

    kind: RefusalKind
    sentence: str


@dataclass(frozen=True)
class MovingSurface:
    """A mesh in motion.

    Attributes:
        vertices: Unit frame: the box around all frames is centred, its longest side 1, z up.
        triangles: Vertex indices.
        points: At fixed places of the triangles, in random order.
    """

    vertices: Float32[np.ndarray, "frames vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    points: Float32[np.ndarray, "frames points 3"]

    @property
    def motion(self) -> float:
        """Mean distance of the surface points from where they are in frame 0, over the other frames."""
        return float(np.linalg.norm(self.points[1:] - self.points[0], axis=-1).mean())

    @property
    def lively_motion(self) -> float:
        """The same distance, which `LIVELY_PART` of the points exceed."""
        distance = np.linalg.norm(self.points[1:] - self.points[0], axis=-1).mean(axis=0)
        return float(np.quantile(distance, 1 - LIVELY_PART))


def moving_surface(
    vertices: Float[np.ndarray, "frames vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    rng: np.random.Generator,
    points: int = POINTS,
) -> MovingSurface:
    """Normalise a motion and choose its surface points, evenly spread by area in frame 0.

    Args:
        vertices: In any frame with z up.
        triangles: Vertex indices.
        rng: Of the choice and order of the points.
        points: How many.

    Raises:
        ValueError: The surface has no area in frame 0.
    """
    united = in_union_frame(vertices, triangles)
    surface = sample_surface(united[0], triangles, points, rng)
    order = rng.permutation(points)
    surface = SurfacePoints(surface.triangle[order], surface.barycentric[order])
    # Frame by frame: the corners of all frames at once would take 24 times the memory.
    moved = np.stack([surface.positions(frame, triangles).astype(np.float32) for frame in united])
    return MovingSurface(united, triangles, moved)


def in_union_frame(
    vertices: Float[np.ndarray, "frames vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> Float32[np.ndarray, "frames vertices 3"]:
    """Centre the box around the surface in all frames and make its longest side 1."""
    used = np.unique(triangles)
    low, high = vertices[:, used].min(axis=(0, 1)), vertices[:, used].max(axis=(0, 1))
    middle, size = (low.astype(np.float64) + high) / 2, max(float((high - low).max()), 1e-12)
    return ((vertices - middle) / size).astype(np.float32)


def unfit(surface: MovingSurface) -> Refusal | None:
    """Why a motion is not to be trained on; None if it is."""
    size = float(np.ptp(surface.points[0], axis=0).max())
    if size < LEAST_SIZE:
        return Refusal(
            RefusalKind.FAR, f"It travels or grows until frame 0 is {size:.2f} of the whole; {LEAST_SIZE} is the least."
        )
    areas = np.array([triangle_normals(frame, surface.triangles)[1].sum() for frame in surface.vertices])
    growth = float(areas.max() / max(areas[0], 1e-12))
    if growth > MOST_GROWTH:
        return Refusal(RefusalKind.EXPLODING, f"Its surface grows to {growth:.1f} times; {MOST_GROWTH:g} is the most.")
    step = float(np.linalg.norm(np.diff(surface.points, axis=0), axis=-1).mean(axis=1).max())
    if step > LONGEST_STEP:
        return Refusal(
            RefusalKind.JUMPING, f"It moves by {step:.2f} of its size from frame to frame; {LONGEST_STEP} is the most."
        )
    if surface.motion < LEAST_MOTION and surface.lively_motion < LIVELY_MOTION:
        return Refusal(
            RefusalKind.STILL,
            f"Its surface moves by {surface.motion:.4f} on average, {LIVELY_PART:.0%} of it by "
            f"{surface.lively_motion:.3f}; {LEAST_MOTION} or {LIVELY_MOTION} is the least.",
        )
    return None


def signature(surface: MovingSurface) -> Float32[np.ndarray, "frames 10"]:
    """Where the surface is and how it spreads in each frame, and how far it is from frame 0: alike for like clips.

    Independent of which points were chosen but for about 0.001, so that copies of a mesh are recognised.
    """
    points = surface.points.astype(np.float64)
    centred = points - points.mean(axis=1, keepdims=True)
    spread = np.einsum("tpi,tpj->tij", centred, centred) / points.shape[1]
    # A length again, so that all numbers are compared alike.
    spread /= max(float(np.sqrt(np.trace(spread[0]))), 1e-9)
    distance = np.linalg.norm(points - points[0], axis=-1).mean(axis=1, keepdims=True)
    upper = np.triu_indices(3)
    return np.concatenate([points.mean(axis=1), spread[:, *upper], distance], axis=1).astype(np.float32)


def duplicate_of(
    own: Float32[np.ndarray, "frames 10"], others: Iterable[tuple[str, Float32[np.ndarray, "frames 10"]]]
) -> str | None:
    """Name of the first other clip that shows the same thing moving in the same way; None if there is none."""
    for name, other in others:
        if own.shape == other.shape and np.abs(own - other).max() < SAME:
            return name
    return None
