"""Making a mesh of a GLB file move by morph targets, one per frame, whose weights rise and fall one after another.

Blender's exporter can do that, too, but its time grows steeply with the number of frames: 4 s for 231 and 166 s for
1,151 of a mesh of 530 vertices, as every shape key is evaluated for every frame. It also has no normals of the shapes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .glb_file import GlbFile

_LINES_UP = 1e-6


@dataclass(frozen=True, eq=False)
class MorphMotion:
    """Where a mesh goes, in glTF's coordinates (y up).

    Attributes:
        positions: Of all vertices, relative to the node, [T, V, 3].
        names: Of the targets, which are all frames but the first, [T - 1].
        times: Seconds [T].
        places: Of the node [T, 3].
    """

    positions: np.ndarray
    names: tuple[str, ...]
    times: np.ndarray
    places: np.ndarray


def node_of(file: GlbFile, name: str) -> int:
    """The number of the node that has a name."""
    return next(index for index, node in enumerate(file.content["nodes"]) if node["name"] == name)


def take_attribute(file: GlbFile, node: int, name: str) -> np.ndarray:
    """Whole numbers that the vertices of a node's mesh have as an attribute [N]; all attributes of its kind go.

    Several vertices of the file come from one of the mesh, at seams and sharp edges; this way they tell which.

    Args:
        file: The file.
        node: Its mesh has no targets yet.
        name: Begins with an underscore, as all that the standard does not know.
    """
    found = []
    for primitive in _primitives(file, node):
        attributes = primitive["attributes"]
        found.append(np.rint(file.array(attributes[name])).astype(np.intp))
        for other in [other for other in attributes if other.startswith("_")]:
            file.remove_array(attributes.pop(other))
    return np.concatenate(found)


def add_morphs(file: GlbFile, node: int, sources: np.ndarray, motion: MorphMotion) -> None:
    """Add targets and an animation to a node that stands where it is in the first frame.

    Args:
        file: The file.
        node: The node.
        sources: Which vertex of the motion each vertex of the node's mesh is [N].
        motion: Where those go.
    """
    if not motion.names:
        return
    mesh = file.content["meshes"][file.content["nodes"][node]["mesh"]]
    primitives = _primitives(file, node)
    base, normals = (
        np.concatenate([file.array(primitive["attributes"][name]) for primitive in primitives])
        for name in ("POSITION", "NORMAL")
    )
    counts = [file.content["accessors"][primitive["attributes"]["POSITION"]]["count"] for primitive in primitives]
    starts = np.cumsum([0, *counts])
    triangles = [
        file.array(primitive["indices"]).astype(np.intp) + start
        for primitive, start in zip(primitives, starts, strict=False)
    ]
    shading = _Shading(sources, base, normals, np.concatenate(triangles).reshape(-1, 3))
    for primitive in primitives:
        primitive["targets"] = []
    for positions in motion.positions[1:]:
        moved = positions[sources]
        shift, turn = moved - base, shading.at(moved) - normals
        for primitive, start, count in zip(primitives, starts, counts, strict=False):
            part = slice(start, start + count)
            primitive["targets"].append({"POSITION": file.add_array(shift[part]), "NORMAL": file.add_array(turn[part])})
    mesh["weights"] = [0.0] * len(motion.names)
    mesh.setdefault("extras", {})["targetNames"] = list(motion.names)
    _animate(file, node, motion)


def _animate(file: GlbFile, node: int, motion: MorphMotion) -> None:
    """In the one animation for all nodes, as players show the first one only."""
    (animation,) = file.content.setdefault("animations", [{"name": "Animation", "samplers": [], "channels": []}])
    times = file.add_array(motion.times)
    tracks = {"weights": np.eye(len(motion.times), len(motion.names), -1, np.float32).ravel()}
    if np.ptp(motion.places, axis=0).any():
        tracks["translation"] = motion.places
    for path, values in tracks.items():
        animation["channels"].append({"sampler": len(animation["samplers"]), "target": {"node": node, "path": path}})
        animation["samplers"].append({"input": times, "output": file.add_array(values), "interpolation": "LINEAR"})


def _primitives(file: GlbFile, node: int) -> list[dict[str, Any]]:
    return file.content["meshes"][file.content["nodes"][node]["mesh"]]["primitives"]


class _Shading:
    """Normals of a mesh that is bent: each turns as the surface around it does, so sharp edges and custom ones stay."""

    def __init__(self, sources: np.ndarray, base: np.ndarray, normals: np.ndarray, triangles: np.ndarray) -> None:
        # A seam of the texture is none of the surface: what has the same vertex and normal is shaded together.
        _, together = np.unique(np.column_stack([sources, normals]), axis=0, return_inverse=True)
        self._together = together.reshape(-1)
        self._triangles = triangles
        self._normals = normals.astype(np.float64)
        self._before = self._surface(base)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """For vertices that have moved, [N, 3]."""
        return _turned(self._normals, self._before, self._surface(positions))

    def _surface(self, positions: np.ndarray) -> np.ndarray:
        """Unit vectors off the surface [N, 3]; zero where it has no area."""
        a, b, c = positions.astype(np.float64)[self._triangles].swapaxes(0, 1)
        faces = np.repeat(np.cross(b - a, c - a), 3, axis=0)
        corners = self._together[self._triangles.reshape(-1)]
        sums = np.stack([np.bincount(corners, part, self._together.max() + 1) for part in faces.T], axis=-1)
        lengths = np.linalg.norm(sums, axis=-1, keepdims=True)
        return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)[self._together]


def _turned(vectors: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Vectors turned the shortest way that takes other ones from one direction to another, by Rodrigues' formula."""
    axis = np.cross(before, after)
    cosine = (before * after).sum(axis=-1, keepdims=True)
    along = (axis * vectors).sum(axis=-1, keepdims=True)
    turned = cosine * vectors + np.cross(axis, vectors) + axis * along / np.maximum(1 + cosine, _LINES_UP)
    known = before.any(axis=-1, keepdims=True) & after.any(axis=-1, keepdims=True)
    # What grows from a point had no direction there.
    return np.where(known, turned, np.where(after.any(axis=-1, keepdims=True), after, vectors))
