"""Motion of a mesh as absolute shape keys: native, editable, exported by Blender's own exporters."""

import json
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from ..datablocks import user_count
from .compat import assign_action
from .keyframes import FrameMapping, key_playback

MARKER = "gvf_motion"
# On the keys: the object showed its active key alone, which would be the Basis now.
_SOLO = "gvf_solo"
# Parents of these types deform the mesh although no modifier shows it.
_DEFORMING_PARENTS = ("ARMATURE", "LATTICE")


def can_carry_shape_keys(mesh_object: bpy.types.Object, vertex_count: int, ignored_modifiers: tuple[str, ...]) -> bool:
    """Whether the captured vertices are the mesh's own, so that shape keys of it can hold their motion.

    Args:
        mesh_object: The object in question.
        vertex_count: Number of its captured vertices.
        ignored_modifiers: Names of modifiers that are about to be removed.
    """
    mesh = mesh_object.data
    has_modifiers = any(found.show_viewport and found.name not in ignored_modifiers for found in mesh_object.modifiers)
    return (
        mesh_object.override_library is None
        and mesh.library is None
        and user_count(mesh) == 1
        and len(mesh.vertices) == vertex_count
        and (mesh.shape_keys is None or find_shape_key_motion(mesh_object) is not None)
        and not has_modifiers
        and mesh_object.parent_type not in _DEFORMING_PARENTS
        and mesh_object.mode != "EDIT"
    )


def add_shape_key_motion(
    mesh_object: bpy.types.Object, positions: np.ndarray, mapping: FrameMapping, provenance: dict[str, Any]
) -> None:
    """Add one absolute key per frame after a Basis that keeps the mesh as it is, and key `eval_time`.

    Args:
        mesh_object: A mesh object without shape keys.
        positions: Object-local vertex positions [T, V, 3].
        mapping: When it plays.
        provenance: Stored with the keys.
    """
    mesh = mesh_object.data
    basis = np.empty((1, len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", basis.ravel())
    names = ["Basis", *(f"Frame {frame}" for frame in range(len(positions)))]
    keys = _write_keys(mesh_object, names, np.concatenate([basis, positions.astype(np.float32)]))
    keys[MARKER] = json.dumps({"keys": len(names), "provenance": provenance})
    # Key times are read back: Blender adds them up in float32.
    first, last = keys.key_blocks[1].frame, keys.key_blocks[-1].frame
    key_playback(keys, "eval_time", mapping, first, last, action_name=f"{mesh_object.name} motion")


def find_shape_key_motion(mesh_object: bpy.types.Object) -> bpy.types.Key | None:
    """The object's shape keys if they are a motion of ours to which the artist has added no key."""
    keys = mesh_object.data.shape_keys
    if keys is None or MARKER not in keys:
        return None
    return keys if len(keys.key_blocks) == json.loads(keys[MARKER])["keys"] else None


@dataclass(frozen=True, eq=False)
class ShapeKeyBackup:
    """Everything about a removed motion, to bring it back."""

    names: list[str]
    coordinates: np.ndarray
    properties: dict[str, Any]
    action: bpy.types.Action | None

    def restore(self, mesh_object: bpy.types.Object) -> None:
        """Put the motion back onto its object."""
        keys = _write_keys(mesh_object, self.names, self.coordinates)
        for name, value in self.properties.items():
            keys[name] = value
        if self.action is not None:
            assign_action(keys, self.action)

    def discard(self) -> None:
        """Delete the action, unless something else uses it."""
        if self.action is not None and self.action.users == 0:
            bpy.data.actions.remove(self.action)


def detach_shape_key_motion(mesh_object: bpy.types.Object, keys: bpy.types.Key) -> ShapeKeyBackup:
    """Remove our shape keys from an object; the mesh is then as before their import."""
    coordinates = np.empty((len(keys.key_blocks), len(mesh_object.data.vertices), 3), np.float32)
    for block, frame in zip(keys.key_blocks, coordinates, strict=True):
        block.points.foreach_get("co", frame.ravel())
    backup = ShapeKeyBackup(
        names=[block.name for block in keys.key_blocks],
        coordinates=coordinates,
        properties={name: value.to_list() if hasattr(value, "to_list") else value for name, value in keys.items()},
        action=keys.animation_data.action if keys.animation_data else None,
    )
    mesh_object.shape_key_clear()
    mesh_object.show_only_shape_key |= _SOLO in backup.properties
    return backup


def _write_keys(mesh_object: bpy.types.Object, names: list[str], coordinates: np.ndarray) -> bpy.types.Key:
    for name, frame in zip(names, coordinates, strict=True):
        block = mesh_object.shape_key_add(name=name, from_mix=False)
        block.points.foreach_set("co", np.ascontiguousarray(frame).ravel())
        block.interpolation = "KEY_LINEAR"
    keys = mesh_object.data.shape_keys
    keys.use_relative = False
    # The key that Edit Mode edits: the artist's own mesh, not a frame of the motion.
    mesh_object.active_shape_key_index = 0
    if mesh_object.show_only_shape_key:
        mesh_object.show_only_shape_key, keys[_SOLO] = False, True
    return keys
