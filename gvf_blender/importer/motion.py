"""Motion on the artist's own objects, and its removal."""

import bpy
import numpy as np

from ..artist_render import refuse_beside_render
from ..core.animation_file import Animation
from ..core.sentence import Sentence
from ..core.sources import SourceObject
from .gaussians import shows_gaussians
from .in_place import note_way, way_over_ground
from .keyframes import FrameMapping
from .modifier_motion import (
    MODIFIER_NAME,
    add_modifier_motion,
    find_modifier_motion,
    remove_modifier_motion,
)
from .own_animation import moves_on_its_own, with_parents
from .placement import is_invertible, transform_points
from .render_choice import restore_render
from .root import remove_root
from .root_keys import has_root_keys
from .same_import import forget_import
from .shape_key_motion import (
    add_shape_key_motion,
    can_carry_shape_keys,
    detach_shape_key_motion,
    find_shape_key_motion,
)
from .transaction import Transaction


def obstacle_to_motion(context: bpy.types.Context, source: SourceObject, found: bpy.types.Object | None) -> str | None:
    """Why the motion cannot be put onto a source object, as a sentence; None if it can.

    Args:
        context: Where the object is evaluated.
        source: The object as it was captured.
        found: The object as it is now; None if it is gone.
    """
    if source.is_instance:
        return f"{source.name} was captured as an instance, which cannot move on its own: make instances real for that."
    if found is None:
        return f"{source.name} is no longer in the scene, so its own motion was left out."
    if found.type != "MESH":
        return f"{found.name} is not a mesh object, so its own motion was left out: convert it to a mesh for that."
    if not found.is_editable:
        return f"{found.name} is linked from another file, so its own motion was left out: make it local for that."
    if found.mode == "SCULPT" and found.use_dynamic_topology_sculpting:
        return f"{found.name} is sculpted with Dyntopo, so its own motion was left out: end that and import again."
    if not is_invertible(np.asarray(source.matrix_world)):
        return f"{found.name} was captured with a scale of zero, so its own motion was left out."
    count = _evaluated_vertex_count(context, found)
    if count is not None and count != source.vertex_count:
        return (
            f"{found.name} now has {count} vertices, but {source.vertex_count} were captured, so its own motion "
            "was left out: capture it again."
        )
    return None


def add_motion(
    transaction: Transaction,
    mesh_object: bpy.types.Object,
    source: SourceObject,
    animation: Animation,
    mapping: FrameMapping,
) -> None:
    """Let an object follow the captured vertices, in place of an earlier motion of ours.

    Absolute shape keys where the captured vertices are the mesh's own, else a Geometry Nodes modifier. The
    positions of the base mesh never change.

    Args:
        transaction: Undoes everything if the import fails later.
        mesh_object: The object as it is now.
        source: The object as it was captured.
        animation: The motion.
        mapping: When it plays.
    """
    local_from_unit = np.linalg.inv(np.asarray(source.matrix_world, np.float64)) @ animation.world_from_unit
    vertices = animation.vertices[:, source.vertex_start : source.vertex_start + source.vertex_count]
    positions = transform_points(local_from_unit, vertices).astype(np.float32)
    way = way_over_ground(animation, np.asarray(source.matrix_world, np.float64))
    earlier = tuple(modifier.name for modifier in find_modifier_motion(mesh_object))
    use_shape_keys = can_carry_shape_keys(mesh_object, source.vertex_count, ignored_modifiers=earlier)
    transaction.on_success(lambda: _remove_modifiers(mesh_object, earlier))
    _detach_shape_keys(transaction, mesh_object)
    if use_shape_keys:
        transaction.on_failure(lambda: mesh_object.data.shape_keys and mesh_object.shape_key_clear())
        add_shape_key_motion(mesh_object, positions, mapping, animation.provenance)
        note_way(mesh_object.data.shape_keys, way, positions[0])
    else:
        known = {modifier.name for modifier in mesh_object.modifiers}
        transaction.on_failure(lambda: _remove_modifiers_except(mesh_object, known))
        added = add_modifier_motion(mesh_object, positions, mapping, animation.provenance)
        note_way(added.node_group, way, positions[0])


def has_motion(thing: bpy.types.Object) -> bool:
    """Whether an imported motion moves an object."""
    return thing.type == "MESH" and (bool(find_modifier_motion(thing)) or find_shape_key_motion(thing) is not None)


def obstacle_to_removal(thing: bpy.types.Object) -> Sentence | None:
    """Why splats, points or a motion cannot be removed for good, as a sentence; None if they can. Fit for drawing."""
    is_linked = not thing.is_editable
    if thing.override_library is not None:
        is_linked |= shows_gaussians(thing) or any(found.is_override_data for found in find_modifier_motion(thing))
    keys = find_shape_key_motion(thing) if thing.type == "MESH" else None
    if not is_linked and (keys is None or keys.is_editable):
        return None
    text = "What was imported onto {name} is linked from another file and would come back with it: remove it there."
    return Sentence(text, name=thing.name)


def remove_motion(mesh_object: bpy.types.Object) -> bool:
    """Take an imported motion off an object, which is then as it was before the import.

    Shape keys to which the artist has added own ones are the artist's, and stay. A root of the object goes, and what
    hangs on it goes its own way again.

    Returns:
        Whether there was a motion.

    Raises:
        RenderError: The artist renders.
    """
    refuse_beside_render("removed")
    remove_root(mesh_object)
    # Before the modifiers go, which have the notes of a library override.
    restore_render(mesh_object)
    forget_import(mesh_object)
    modifiers = find_modifier_motion(mesh_object)
    for modifier in modifiers:
        remove_modifier_motion(mesh_object, modifier)
    keys = find_shape_key_motion(mesh_object)
    if keys is not None:
        detach_shape_key_motion(mesh_object, keys).discard()
    return bool(modifiers) or keys is not None


def own_movement(mesh_object: bpy.types.Object) -> Sentence | None:
    """A sentence if the object as a whole is animated already: the imported motion comes on top of that.

    A root is part of an imported motion, and the next import takes it back.
    """
    if any(map(has_root_keys, with_parents(mesh_object))) or not moves_on_its_own(mesh_object):
        return None
    return Sentence(
        "{name} is moved as a whole by an animation of its own or of a parent, which adds to the imported motion: mute "
        "that animation to see the imported motion alone.",
        name=mesh_object.name,
    )


def render_mismatch(mesh_object: bpy.types.Object) -> Sentence | None:
    """A sentence if modifiers make other vertices in a render than in the viewport, where they were captured."""
    for modifier in mesh_object.modifiers:
        levels = getattr(modifier, "levels", None), getattr(modifier, "render_levels", None)
        if modifier.show_viewport != modifier.show_render or levels[0] != levels[1]:
            return Sentence(
                "The modifier {modifier} of {name} differs between viewport and render: set both alike, or its motion "
                "may not show in renders.",
                modifier=modifier.name,
                name=mesh_object.name,
            )
    return None


def _detach_shape_keys(transaction: Transaction, mesh_object: bpy.types.Object) -> None:
    keys = find_shape_key_motion(mesh_object)
    # Edit Mode holds its own copy of the keys. They may stay: the modifier comes last and decides.
    if keys is None or mesh_object.mode == "EDIT":
        return
    backup = detach_shape_key_motion(mesh_object, keys)
    transaction.on_failure(lambda: backup.restore(mesh_object))
    transaction.on_success(backup.discard)


def _remove_modifiers(mesh_object: bpy.types.Object, names: tuple[str, ...]) -> None:
    for name in names:
        remove_modifier_motion(mesh_object, mesh_object.modifiers[name])
    for modifier in find_modifier_motion(mesh_object):
        modifier.name = MODIFIER_NAME


def _remove_modifiers_except(mesh_object: bpy.types.Object, names: set[str]) -> None:
    for modifier in [found for found in mesh_object.modifiers if found.name not in names]:
        mesh_object.modifiers.remove(modifier)


def _evaluated_vertex_count(context: bpy.types.Context, mesh_object: bpy.types.Object) -> int | None:
    """None if Blender does not evaluate the object because it is hidden or in Edit Mode."""
    if mesh_object.mode == "EDIT" or not mesh_object.visible_get(view_layer=context.view_layer):
        return None
    return len(mesh_object.evaluated_get(context.evaluated_depsgraph_get()).data.vertices)
