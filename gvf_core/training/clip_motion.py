"""The motion of a clip as it is trained on: one unit frame for all frames, points of the surface, and what is unfit."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Float32, Int32

from gvf_core.canonical.slat import STATIC_TOKENS
from gvf_core.geometry.mesh import SurfacePoints, sample_surface, triangle_normals
from gvf_core.geometry.voxels import RESOLUTION, active_voxels
from gvf_core.models.gaussian_head import GaussianHeadParams
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
LEAST_VOXELS = STATIC_TOKENS // GaussianHeadParams().per_voxel
"""That frame 0 fills: fewer give fewer Gaussians than the networks are told about, and are refused in use, too."""
MOST_VERTICES = 250_000
"""Beyond it the clips of one asset would fill gigabytes of memory."""
SAME_PLACE, SAME_FLOW, GRID = 0.004, 0.25, 4
"""Two clips count as one if mean and spread of their surfaces agree so closely (unit frame), and what moves in each
cell (so many along each axis) differs by less than this part of the motion. Another choice of points: 0.002 and 0.1."""


class RefusalKind(StrEnum):
    """Why a clip or an asset is left out."""

    SHORT = "too short"
    STILL = "hardly moves"
    FAR = "travels too far"
    EXPLODING = "explodes"
    JUMPING = "jumps"
    DUPLICATE = "duplicate in its family"
    LARGE = "too large"
    THIN = "too thin"
    UNREADABLE = "cannot be read"
    INVISIBLE = "not to be seen"
    PLAIN = "low aesthetic score"


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
    voxels = len(active_voxels(surface.vertices[0], surface.triangles))
    if voxels < LEAST_VOXELS:
        return Refusal(
            RefusalKind.THIN, f"It fills {voxels} of {RESOLUTION}^3 voxels in frame 0; {LEAST_VOXELS} is the least."
        )
    return None


@dataclass(frozen=True)
class Signature:
    """What a clip shows, nearly the same whichever points of the surface were chosen.

    Attributes:
        place: Mean and second moments of the surface, as lengths.
        flow: Displacement from frame 0, summed over each cell of a grid in the box of frame 0, per point of the whole.
        motion: Mean length of the displacement.
    """

    place: Float32[np.ndarray, "frames 9"]
    flow: Float32[np.ndarray, "frames cells 3"]
    motion: float

    def matches(self, other: "Signature") -> bool:
        """Whether both show the same thing moving in the same way."""
        if self.place.shape != other.place.shape or np.abs(self.place - other.place).max() > SAME_PLACE:
            return False
        apart = np.linalg.norm(self.flow - other.flow, axis=-1).sum(axis=1).mean()
        return bool(apart < SAME_FLOW * min(self.motion, other.motion))


def signature(points: Float32[np.ndarray, "frames points 3"]) -> Signature:
    """Of surface points in the unit frame of their clip."""
    count = points.shape[1]
    centred = points - points.mean(axis=1, keepdims=True)
    spread = np.einsum("tpi,tpj->tij", centred, centred) / count
    size = max(float(np.sqrt(np.trace(spread[0]))), 1e-9)
    place = np.concatenate([points.mean(axis=1), spread[:, *np.triu_indices(3)] / size], axis=1)
    low, high = points[0].min(axis=0), points[0].max(axis=0)
    cell = (GRID * (points[0] - low) / np.maximum(high - low, 1e-6)).astype(int).clip(0, GRID - 1)
    number = np.ravel_multi_index(tuple(cell.T), (GRID, GRID, GRID))
    moved = points - points[0]
    sums = [[np.bincount(number, frame[:, axis], GRID**3) for axis in range(3)] for frame in moved]
    flow = np.swapaxes(np.array(sums), 1, 2)
    motion = float(np.linalg.norm(moved[1:], axis=-1).mean())
    return Signature(place.astype(np.float32), (flow / count).astype(np.float32), motion)


def duplicate_of(own: Signature, others: Iterable[tuple[str, Signature]]) -> str | None:
    """Name of the first other clip that is the same; None if there is none."""
    return next((name for name, other in others if own.matches(other)), None)
