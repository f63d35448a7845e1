"""Which objects a selection stands for: the meshes below a rig, collection instances, no helpers."""

import logging
from collections.abc import Sequence

import bpy

from ..core.errors import SelectionError
from ..importer.gaussians import shows_gaussians
from ..importer.render_choice import is_kept_out_of_renders

LOGGER = logging.getLogger(__name__)

# Types whose evaluated geometry Blender can turn into a mesh.
SURFACE_TYPES = frozenset({"MESH", "CURVE", "SURFACE", "FONT", "META"})
_PARENT_TYPES = frozenset({"EMPTY", "ARMATURE"})


def surface_objects(context: bpy.types.Context, selected: Sequence[bpy.types.Object]) -> list[bpy.types.Object]:
    """The objects to capture: those selected, and the visible ones below selected armatures and empties.

    Cameras, lights, results of earlier animations and the display shapes of bones, which the glTF importer leaves
    behind, are passed over as long as something else is selected.

    Args:
        context: Its view layer decides what is visible.
        selected: Objects in the user's order.

    Returns:
        Objects with a surface, and empties that instance a collection; each once.

    Raises:
        SelectionError: Nothing is selected, or nothing that has a surface, or a selected object is hidden.
    """
    if not selected:
        raise SelectionError("Nothing is selected.", "Select the mesh object to animate.")
    # A script may just have linked or hidden objects: the view layer learns of it when it is next updated.
    context.view_layer.update()
    shapes = _bone_shapes()
    found: dict[bpy.types.Object, None] = {}
    for thing in selected:
        if thing in shapes:
            LOGGER.info("%s is the display shape of a bone and is not captured.", thing.name)
        elif shows_gaussians(thing):
            LOGGER.info("%s is a result and is not captured.", thing.name)
        elif thing.type in SURFACE_TYPES or _instances_collection(thing):
            _require_visible(context, thing)
            found[thing] = None
        if thing.type in _PARENT_TYPES:
            found.update(dict.fromkeys(_visible_surfaces_below(context, thing, shapes)))
    if not found:
        raise _nothing_to_capture(selected[0], shapes)
    return list(found)


def _bone_shapes() -> set[bpy.types.Object]:
    return {
        bone.custom_shape
        for armature in bpy.data.objects
        if armature.type == "ARMATURE" and armature.pose
        for bone in armature.pose.bones
        if bone.custom_shape
    }


def _instances_collection(thing: bpy.types.Object) -> bool:
    return thing.type == "EMPTY" and thing.instance_type == "COLLECTION" and thing.instance_collection is not None


def _visible_surfaces_below(
    context: bpy.types.Context, parent: bpy.types.Object, shapes: set[bpy.types.Object]
) -> list[bpy.types.Object]:
    """What the artist sees below a rig: neither hidden parts, nor helpers that are kept out of renders, nor results."""
    members = set(context.view_layer.objects)
    return [
        child
        for child in parent.children_recursive
        if (child.type in SURFACE_TYPES or _instances_collection(child))
        and child in members
        and child.visible_get(view_layer=context.view_layer)
        and not is_kept_out_of_renders(child)
        and child not in shapes
        and not shows_gaussians(child)
    ]


def _require_visible(context: bpy.types.Context, thing: bpy.types.Object) -> None:
    layer = context.view_layer
    if thing not in set(layer.objects):
        raise SelectionError(
            f"'{thing.name}' is not in the view layer '{layer.name}'.",
            "Enable the check box of its collection in the Outliner.",
        )
    if not thing.visible_get(view_layer=layer):
        raise SelectionError(
            f"'{thing.name}' is hidden.", "Make it visible in the Outliner (the eye and screen icons)."
        )


def _nothing_to_capture(thing: bpy.types.Object, shapes: set[bpy.types.Object]) -> SelectionError:
    if thing in shapes:
        return SelectionError(f"'{thing.name}' is only the display shape of a bone.", "Select the mesh to animate.")
    if shows_gaussians(thing):
        return SelectionError(f"'{thing.name}' is a result.", "Select the original that it was made from.")
    if thing.type in _PARENT_TYPES:
        return SelectionError(
            f"There is no visible mesh below '{thing.name}'.", "Select the mesh object to animate, or show its meshes."
        )
    kind = thing.type.replace("_", " ").lower()
    return SelectionError(f"'{thing.name}' is a {kind}, not a mesh.", "Select the mesh object to animate.")
