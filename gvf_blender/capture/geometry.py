"""Evaluated geometry of objects and their instances, and the unit frame around it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from ..core.errors import SelectionError
from ..material_slots import replace_materials, shown_materials
from .materials import UnlitMaterials
from .object_values import ObjectValues
from .scratch import Scratch

LOGGER = logging.getLogger(__name__)

# Tracks of this many vertices over 32 frames fill 768 MB; a scatter of instances reaches it quickly.
MAX_VERTICES = 2_000_000
# Relative to the distance from the origin: Blender's 32-bit matrices round by 1e-7 of it.
_SMALLEST_SIZE = 1e-6


@dataclass(frozen=True, eq=False)
class Piece:
    """One evaluated mesh at one place.

    Attributes:
        name: Name of the object that it belongs to.
        mesh: Temporary mesh with unlit materials; instances of the same geometry share it.
        matrix_world: Object to world, float64 [4, 4], metres.
        vertices: World positions, float64 [V, 3], metres.
        triangles: Indices into `vertices`, int32 [F, 3].
        is_instance: Comes from an instancer (collection instance, Geometry Nodes).
        values: What its materials read of the object.
        movable: How far each vertex may follow the motion, 0..1; None where all may.
    """

    name: str
    mesh: bpy.types.Mesh
    matrix_world: np.ndarray
    vertices: np.ndarray
    triangles: np.ndarray
    is_instance: bool
    values: ObjectValues
    movable: np.ndarray | None = None


def evaluated_pieces(
    context: bpy.types.Context,
    objects: Sequence[bpy.types.Object],
    selected: Sequence[bpy.types.Object],
    scratch: Scratch,
    movable: str = "",
) -> list[Piece]:
    """The geometry of objects and of their instances as the viewport shows it at the current frame.

    Args:
        context: Its view layer is evaluated.
        objects: What to capture; the pieces come in this order, an object before its instances.
        selected: Those among them that must have faces of their own; others without faces are left out.
        scratch: Owner of the temporary meshes and materials.
        movable: Name of the vertex group that says what may move; objects without it may move as a whole.

    Raises:
        SelectionError: There are no faces, or coordinates that are not finite, or too many vertices.
    """
    for thing in objects:
        if thing.mode == "EDIT":
            # The evaluated mesh lags behind the edit mesh until it is flushed, as leaving Edit mode would do.
            thing.update_from_editmode()
    order = {thing: index for index, thing in enumerate(objects)}
    reader = _MeshReader(context.evaluated_depsgraph_get(), scratch, movable)
    found: list[tuple[int, Piece]] = []
    total = 0
    for instance in reader.depsgraph.object_instances:
        owner = (instance.parent if instance.is_instance else instance.object).original
        # Curves and texts appear twice: as themselves, and as an "instance" that holds their mesh.
        if owner not in order or instance.object.type != "MESH" or not instance.show_self:
            continue
        # Everything of the instance is copied at once: it is invalid after this round of the loop.
        piece = reader.read(instance)
        if piece is None:
            continue
        total += len(piece.vertices)
        if total > MAX_VERTICES:
            raise SelectionError(
                f"The selection has more than {MAX_VERTICES:,} vertices ('{owner.name}' exceeds it).",
                "Select fewer objects, lower their subdivision or add a Decimate modifier.",
            )
        found.append((order[owner], piece))
    captured = {index for index, _ in found}
    for thing in selected:
        if thing in order and order[thing] not in captured:
            raise SelectionError(f"'{thing.name}' has no faces.", "Select a mesh object that has faces.")
    if not found:
        raise SelectionError(f"'{objects[0].name}' has no faces.", "Select a mesh object that has faces.")
    return [piece for _, piece in sorted(found, key=lambda entry: (entry[0], entry[1].is_instance))]


def world_from_unit(pieces: Sequence[Piece]) -> np.ndarray:
    """From the unit frame (longest side of the bounding box 1, its centre the origin) to the world, [4, 4].

    Raises:
        SelectionError: The pieces have no extent, their faces have no area, or they are too far away.
    """
    low = np.min([piece.vertices.min(axis=0) for piece in pieces], axis=0)
    high = np.max([piece.vertices.max(axis=0) for piece in pieces], axis=0)
    size = float((high - low).max())
    names = ", ".join(f"'{name}'" for name in list(dict.fromkeys(piece.name for piece in pieces))[:3])
    if not sum(_area(piece.vertices[piece.triangles]) for piece in pieces) > 1e-12 * size**2:
        raise SelectionError(f"{names}: the faces have no area (size {size:.3g} m).", "Check the scale of the object.")
    farthest = float(max(np.abs(low).max(), np.abs(high).max()))
    if size < _SMALLEST_SIZE * farthest:
        raise SelectionError(
            f"{names}: {size:.3g} m large but {farthest:.3g} m away from the origin, where Blender rounds too much.",
            "Move it closer to the origin.",
        )
    matrix = np.diag([size, size, size, 1.0])
    matrix[:3, 3] = (low + high) / 2.0
    return matrix


class _MeshReader:
    """Copies evaluated meshes; instances of one geometry share a copy."""

    def __init__(self, depsgraph: bpy.types.Depsgraph, scratch: Scratch, movable: str) -> None:
        self.depsgraph = depsgraph
        self._movable = movable
        self._scratch = scratch
        self._materials = UnlitMaterials(scratch)
        self._meshes: dict[tuple, tuple[bpy.types.Mesh, np.ndarray, np.ndarray]] = {}

    def read(self, instance: bpy.types.DepsgraphObjectInstance) -> Piece | None:
        evaluated = instance.object
        mesh, vertices, triangles = self._copy(evaluated)
        # Not asked from the evaluated mesh: in Edit mode that counts no faces until it is copied.
        if len(triangles) == 0:
            LOGGER.info("%s has no faces of its own.", evaluated.name)
            return None
        matrix = np.array(instance.matrix_world, np.float64)
        if not (np.isfinite(vertices).all() and np.isfinite(matrix).all()):
            raise SelectionError(
                f"'{evaluated.name}' has vertices or a transform with values that are not finite.",
                "Check its modifiers, drivers and scale.",
            )
        world = vertices @ matrix[:3, :3].T + matrix[:3, 3]
        weights = _group_weights(evaluated.original, mesh, self._movable) if self._movable else None
        values = ObjectValues.of(instance)
        return Piece(evaluated.original.name, mesh, matrix, world, triangles, _is_instance(instance), values, weights)

    def _copy(self, evaluated: bpy.types.Object) -> tuple[bpy.types.Mesh, np.ndarray, np.ndarray]:
        materials = shown_materials(evaluated)
        key = (evaluated.data.as_pointer(), tuple(material and material.original for material in materials))
        if key not in self._meshes:
            mesh = self._new_mesh(evaluated)
            self._scratch.adopt(mesh)
            replace_materials(mesh, [self._materials.unlit(material) for material in materials or [None]])
            self._meshes[key] = (mesh, *_mesh_arrays(mesh))
        return self._meshes[key]

    def _new_mesh(self, evaluated: bpy.types.Object) -> bpy.types.Mesh:
        whole = evaluated.original.evaluated_get(self.depsgraph)
        if evaluated.data == whole.data:
            # Also right where the graphics card subdivides and the evaluated mesh itself is still coarse.
            return bpy.data.meshes.new_from_object(whole, preserve_all_data_layers=True, depsgraph=self.depsgraph)
        # A part of what the object's Geometry Nodes made; new_from_object would return all of its own mesh instead.
        part = evaluated.data.copy()
        if part.shape_keys:
            # Inherited from the source mesh; they would deform the part a second time. Clearing only unlinks them.
            self._scratch.adopt(part.shape_keys)
            self._scratch.adopt(bpy.data.objects.new(part.name, part)).shape_key_clear()
        return part


def _is_instance(instance: bpy.types.DepsgraphObjectInstance) -> bool:
    if not instance.is_instance:
        return False
    # A curve or text shows its own surface as an "instance" of itself at its own place.
    owner = instance.parent
    shows_itself = instance.object.original == owner.original and instance.matrix_world == owner.matrix_world
    return owner.type == "MESH" or not shows_itself


def _mesh_arrays(mesh: bpy.types.Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float64 [V, 3] and triangles int32 [F, 3] in object coordinates."""
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    mesh.calc_loop_triangles()
    triangles = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    return vertices.reshape(-1, 3).astype(np.float64), triangles.reshape(-1, 3)


def _group_weights(owner: bpy.types.Object, mesh: bpy.types.Mesh, name: str) -> np.ndarray | None:
    """Weights of a vertex group, 0 where a vertex is not in it; None for an object without the group."""
    group = owner.vertex_groups.get(name)
    if group is None:
        return None
    weights = np.zeros(len(mesh.vertices), np.float32)
    for vertex in mesh.vertices:
        for element in vertex.groups:
            if element.group == group.index:
                weights[vertex.index] = element.weight
    return weights


def _area(corners: np.ndarray) -> float:
    edges = corners[:, 1:] - corners[:, :1]
    return float(np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1).sum() / 2.0)
