"""Made-up motion for meshes that have none: every motion is a function of the rest positions alone.

Vertices at one place stay at one place, so seams of a mesh do not open; frame 0 is the rest pose to the bit. Lengths
are in the unit frame (the asset is 1 long), z up.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int32
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from gvf_core.geometry.mesh import triangle_normals
from gvf_core.geometry.rotations import matrix_from_rotation_vector

FOLD_LIMIT = 0.8
"""Thickness times curvature beyond which a bent body would pass through itself."""
WELD = 1e-5
"""Vertices closer than this are one when parts are told apart."""
MOST_PARTS = 6
"""So many parts swing; smaller ones follow the nearest of them."""
JOINTS = (4, 9)
"""Least number of joints of a made-up skeleton, and one more than the most."""

Vertices = Float64[np.ndarray, "vertices 3"]
Triangles = Int32[np.ndarray, "triangles 3"]
Track = Float64[np.ndarray, " frames"]
Motion = Callable[[Vertices, Triangles, Float64[np.ndarray, " frames"], np.random.Generator], np.ndarray]


def procedural_motion(
    name: str,
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Triangles,
    frames: int,
    seed: int,
) -> Float32[np.ndarray, "frames vertices 3"]:
    """Move a mesh.

    Args:
        name: One of `MOTIONS`.
        vertices: At rest.
        triangles: Vertex indices.
        frames: Number of frames, at least two; a clip takes about a second.
        seed: Of everything that the motion leaves open: axes, amounts, rhythms.
    """
    rest = np.asarray(vertices, np.float64)
    moved = MOTIONS[name](rest, triangles, np.linspace(0, 1, frames), np.random.default_rng(seed)).astype(np.float32)
    moved[0] = vertices
    return moved


def bend(rest: Vertices, triangles: Triangles, time: Track, rng: np.random.Generator) -> np.ndarray:
    """The long axis becomes an arc of changing curvature; lengths along it are kept."""
    body = _body(rest, rng)
    curvature = min(rng.uniform(0.8, 1.8) / _length(body), FOLD_LIMIT / max(np.abs(body.across).max(), 1e-3))
    pivot = _pivot(body.along, rng)
    along, across = body.along - pivot, body.across
    angle = curvature * swing_of(time, rng)[:, None] * along
    # sin(a) / a and (1 - cos a) / a, which have limits where the curvature passes through 0.
    lengthwise = along * np.sinc(angle / np.pi) - across * np.sin(angle)
    sideways = across * np.cos(angle) + along * np.sin(angle / 2) * np.sinc(angle / 2 / np.pi)
    return _to_world(body, pivot + lengthwise, sideways, body.side)


def twist(rest: Vertices, triangles: Triangles, time: Track, rng: np.random.Generator) -> np.ndarray:
    """Cross-sections turn about the long axis, more and more along it; the volume is kept."""
    body = _body(rest, rng)
    place = (body.along - _pivot(body.along, rng)) / _length(body)
    angle = rng.uniform(1.0, 2.6) * swing_of(time, rng)[:, None] * place
    cos, sin = np.cos(angle), np.sin(angle)
    return _to_world(body, body.along, cos * body.across - sin * body.side, sin * body.across + cos * body.side)


def wave(rest: Vertices, triangles: Triangles, time: Track, rng: np.random.Generator) -> np.ndarray:
    """A wave runs along the body and swings it sideways, as a fish swims; the volume is kept."""
    body = _body(rest, rng)
    place = (body.along - body.along.min()) / _length(body)
    growing = (place - rng.uniform(0.0, 0.4)) * rng.choice([-1.0, 1.0])
    phase = 2 * np.pi * rng.uniform(0.6, 1.4) * place
    turns = 2 * np.pi * rng.uniform(0.7, 1.5) * time[:, None]
    amount = rng.uniform(0.08, 0.18) * _eased(time)[:, None]
    offset = amount * growing * (np.sin(phase - turns) - np.sin(phase))
    return _to_world(body, body.along, body.across + offset, body.side)


def squash(rest: Vertices, triangles: Triangles, time: Track, rng: np.random.Generator) -> np.ndarray:
    """Squash and stretch along an axis, about the ground or the middle; the volume is kept."""
    axis = int(rng.choice(3, p=[0.2, 0.2, 0.6]))
    fixed = _middle(rest)
    if rng.random() < 0.6:
        fixed[axis] = rest[:, axis].min()
    stretch = rng.uniform(0.2, 0.45) * swing_of(time, rng)
    factors = np.repeat(np.exp(-stretch / 2)[:, None], 3, axis=1)
    factors[:, axis] = np.exp(stretch)
    return fixed + factors[:, None] * (rest - fixed)


def swing(rest: Vertices, triangles: Triangles, time: Track, rng: np.random.Generator) -> np.ndarray:
    """Parts of the mesh swing about where they touch the largest one; a mesh in one piece swings its ends."""
    part = parts_of(rest, triangles)
    if part.max() == 0:
        return _swing_ends(rest, time, rng)
    moved = np.repeat(rest[None], len(time), axis=0)
    main = rest[part == 0]
    for index in range(1, int(part.max()) + 1):
        members = part == index
        distance, nearest = cKDTree(main).query(rest[members])
        hinge = main[nearest[distance.argmin()]]
        angles = rng.uniform(0.3, 0.9) * swing_of(time, rng)
        moved[:, members] = hinge + _turned(rest[members] - hinge, _direction(rng), angles[:, None])
    return moved


def rig(rest: Vertices, triangles: Triangles, time: Track, rng: np.random.Generator) -> np.ndarray:
    """A made-up skeleton: joints spread over the body, turning one after the other, skinned by distance to bones."""
    joints, parents = _skeleton(rest, rng)
    bones = np.arange(1, len(joints))
    heads, tails = joints[parents[bones]], joints[bones]
    spread = 0.35 * np.linalg.norm(tails - heads, axis=1).mean()
    distance = _distances_to_segments(rest, heads, tails)
    closeness = -((distance / max(spread, 1e-6)) ** 2) / 2
    weights = np.exp(closeness - closeness.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    matrices = np.tile(np.eye(4), (len(joints), len(time), 1, 1))
    for joint, head in zip(bones, heads, strict=True):
        local = np.tile(np.eye(4), (len(time), 1, 1))
        angles = rng.uniform(0.2, 0.7) * swing_of(time, rng)
        local[:, :3, :3] = matrix_from_rotation_vector(angles[:, None] * _direction(rng))
        local[:, :3, 3] = head - local[:, :3, :3] @ head
        matrices[joint] = matrices[parents[joint]] @ local
    homogeneous = np.concatenate([rest, np.ones((len(rest), 1))], axis=1)
    # One frame after the other: a matrix for every vertex and frame would fill the memory.
    poses = matrices[bones, :, :3].swapaxes(0, 1)
    return np.stack([np.einsum("vb,bij,vj->vi", weights, pose, homogeneous, optimize=True) for pose in poses])


MOTIONS: dict[str, Motion] = {
    "bend": bend,
    "twist": twist,
    "wave": wave,
    "squash": squash,
    "swing": swing,
    "rig": rig,
}


def swing_of(time: Track, rng: np.random.Generator) -> Track:
    """A rhythm: two harmonics of which the second is weaker, 0 at first, 1 at most.

    Args:
        time: 0..1 over the clip.
        rng: Draws frequencies (half a swing to one and a half in a clip) and phases.
    """
    frequency, phase = rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi, 2)
    share = rng.uniform(0.0, 0.4)
    fine = np.linspace(0, 1, 256)

    def raw(t: Track) -> Track:
        first = np.sin(2 * np.pi * frequency * t + phase[0]) - np.sin(phase[0])
        return first + share * (np.sin(4 * np.pi * frequency * t + phase[1]) - np.sin(phase[1]))

    return raw(time) / np.abs(raw(fine)).max()


def _eased(time: Track) -> Track:
    """From 0 to 1 over the first third, so that a running wave starts gently."""
    part = np.clip(3 * time, 0, 1)
    return part**2 * (3 - 2 * part)


class _Body(NamedTuple):
    """The rest pose in axes of its own: one along the body, two across it.

    Attributes:
        axes: Rows are the axes.
        middle: Of the box.
        along: Coordinate of every vertex on the first axis.
        across: On the second.
        side: On the third.
    """

    axes: Float64[np.ndarray, "3 3"]
    middle: Float64[np.ndarray, "3"]
    along: Float64[np.ndarray, " vertices"]
    across: Float64[np.ndarray, " vertices"]
    side: Float64[np.ndarray, " vertices"]


def _body(rest: Vertices, rng: np.random.Generator) -> _Body:
    """Mostly the longest side of the box is taken for the body's axis, sometimes another."""
    extent = np.ptp(rest, axis=0)
    likely = extent**3 + 1e-3 * extent.max() ** 3
    long = int(rng.choice(3, p=likely / likely.sum()))
    axes = np.eye(3)[[long, (long + 1) % 3, (long + 2) % 3]]
    axes = axes @ matrix_from_rotation_vector(rng.uniform(0, 2 * np.pi) * axes[0]).T
    middle = _middle(rest)
    return _Body(axes, middle, *((rest - middle) @ axes.T).T)


def _to_world(body: _Body, along: np.ndarray, across: np.ndarray, side: np.ndarray) -> np.ndarray:
    return np.stack(np.broadcast_arrays(along, across, side), axis=-1) @ body.axes + body.middle


def _pivot(along: np.ndarray, rng: np.random.Generator) -> float:
    """What stays where it is: one end or the middle."""
    return float((along.min(), along.mean())[int(rng.integers(2))])


def _middle(rest: Vertices) -> Float64[np.ndarray, "3"]:
    return (rest.min(axis=0) + rest.max(axis=0)) / 2


def _direction(rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _turned(
    vectors: Float64[np.ndarray, "vertices 3"], axis: Float64[np.ndarray, "3"], angles: Float64[np.ndarray, "frames n"]
) -> Float64[np.ndarray, "frames vertices 3"]:
    """Rodrigues' formula; n is the number of vertices, or 1 for one angle of all."""
    cos, sin = np.cos(angles)[..., None], np.sin(angles)[..., None]
    return cos * vectors + sin * np.cross(axis, vectors) + (1 - cos) * (vectors @ axis)[:, None] * axis


def _length(body: _Body) -> float:
    return max(float(np.ptp(body.along)), 1e-6)


def parts_of(rest: Vertices, triangles: Triangles) -> Int[np.ndarray, " vertices"]:
    """Part of every vertex: 0 for the one of the largest area and what follows it, then those that swing."""
    places = np.round(rest / WELD).astype(np.int64)
    _, weld = np.unique(places, axis=0, return_inverse=True)
    weld = weld.reshape(-1)
    corners = weld[triangles]
    pairs = np.concatenate([corners[:, :2], corners[:, 1:]])
    count = int(weld.max()) + 1
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    component = component[weld]
    _, areas = triangle_normals(rest, triangles)
    area = np.bincount(component[triangles[:, 0]], weights=areas, minlength=int(component.max()) + 1)
    order = np.argsort(-area, kind="stable")[: MOST_PARTS + 1]
    part = np.full(len(rest), -1)
    for index, number in enumerate(order):
        part[component == number] = index
    loose = part < 0
    if loose.any():
        # A whole small component follows what is nearest to its middle.
        tree, owners = cKDTree(rest[~loose]), part[~loose]
        for number in np.unique(component[loose]):
            members = component == number
            part[members] = owners[tree.query(rest[members].mean(axis=0))[1]]
    return part


def _swing_ends(rest: Vertices, time: Track, rng: np.random.Generator) -> np.ndarray:
    extent = np.ptp(rest, axis=0)
    axis = int(extent.argmax())
    place = (rest[:, axis] - rest[:, axis].min()) / max(extent[axis], 1e-9)
    moved = np.repeat(rest[None], len(time), axis=0)
    for end in (0, 1) if rng.random() < 0.5 else (int(rng.integers(2)),):
        depth, soft = rng.uniform(0.2, 0.4), 0.15
        part = np.clip(((1 - place if end == 0 else place) - (1 - depth - soft)) / soft, 0, 1)
        weight = part**2 * (3 - 2 * part)
        hinge = _middle(rest)
        hinge[axis] = rest[:, axis].min() + extent[axis] * (depth if end == 0 else 1 - depth)
        angles = rng.uniform(0.4, 0.9) * swing_of(time, rng)
        # Turns about the long axis itself would hardly show.
        around = _direction(rng) * np.where(np.arange(3) == axis, 0.3, 1.0)
        around /= np.linalg.norm(around)
        # Turned by part of the angle where the end begins: blended positions would be thinner there.
        moved = moved + _turned(rest - hinge, around, angles[:, None] * weight) - (rest - hinge)
    return moved


def _skeleton(rest: Vertices, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Joints [joints, 3] and the parent of each, parents first; joint 0, near the middle, is the root."""
    count = int(rng.integers(*JOINTS))
    joints = [rest.mean(axis=0)]
    distance = np.linalg.norm(rest - joints[0], axis=1)
    for _ in range(count - 1):
        # Farthest of a random half of the vertices: another skeleton for every seed.
        chosen = np.where(rng.random(len(rest)) < 0.5, distance, -1.0).argmax()
        joints.append(rest[chosen] + 0.25 * (joints[0] - rest[chosen]))
        distance = np.minimum(distance, np.linalg.norm(rest - rest[chosen], axis=1))
    places = np.array(joints)
    # Joints at one place would have no edge in the tree.
    tree = minimum_spanning_tree(cdist(places, places) + 1e-9).toarray()
    near = (tree + tree.T) > 0
    order, parents = [0], {0: 0}
    for joint in order:
        for other in np.flatnonzero(near[joint]).tolist():
            if other not in parents:
                parents[other] = joint
                order.append(other)
    new = {old: index for index, old in enumerate(order)}
    return places[order], np.array([new[parents[old]] for old in order])


def _distances_to_segments(points: Vertices, heads: np.ndarray, tails: np.ndarray) -> Float64[np.ndarray, "points n"]:
    spans = tails - heads
    squared = np.maximum((spans**2).sum(axis=1), 1e-12)
    along = np.clip(np.einsum("vbi,bi->vb", points[:, None] - heads, spans) / squared, 0, 1)
    return np.linalg.norm(points[:, None] - heads - along[..., None] * spans, axis=-1)
