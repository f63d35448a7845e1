"""A scene of our own for evaluating, exporting and reading back: the artist's scene, frame and selection stay."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import bpy

from ..animated_values import kept_animated_values
from ..core.stillness import stillness
from ..datablocks import datablocks
from ..scene_context import SceneContext

_NAME = "GVF export"
# The stage itself is removed apart, and no exporter or importer makes windows.
_RENDER = (
    *("fps", "fps_base", "resolution_x", "resolution_y", "resolution_percentage", "pixel_aspect_x", "pixel_aspect_y"),
    # Simplify takes subdivisions away, in the viewport, too.
    *("use_simplify", "simplify_subdivision"),
)
_KEPT = ("scenes", "screens", "workspaces", "window_managers")


@contextmanager
def stage(
    context: bpy.types.Context, objects: Sequence[bpy.types.Object], frames: Sequence[int], *, is_stretched: bool = True
) -> Iterator[bpy.types.Scene]:
    """A scene that shows only the given objects; what appears in the file meanwhile goes with it.

    Args:
        context: Its scene gives frame rate, units and what else changes how objects are shown.
        objects: What the scene shows; none for an empty one.
        frames: It stands at the first.
        is_stretched: Follows the scene's Time Stretching, which an exported file already does.
    """
    before = {datablock.as_pointer() for datablock in datablocks(*_KEPT)}
    scene = bpy.data.scenes.new(_NAME)
    own = context.scene
    for name in _RENDER:
        setattr(scene.render, name, getattr(own.render, name))
    scene.unit_settings.scale_length = own.unit_settings.scale_length
    # What drivers and node trees ask the shown scene for.
    _copy_properties(own, scene)
    _copy_properties(context.view_layer, scene.view_layers[0])
    scene.camera, scene.gravity, scene.use_gravity = own.camera, own.gravity, own.use_gravity
    scene.cursor.matrix = own.cursor.matrix
    scene.frame_start, scene.frame_end = own.frame_start, own.frame_end
    if is_stretched:
        scene.render.frame_map_old, scene.render.frame_map_new = own.render.frame_map_old, own.render.frame_map_new
    for thing in objects:
        scene.collection.objects.link(thing)
    with kept_animated_values():
        try:
            scene.frame_set(frames[0])
            yield scene
        finally:
            bpy.data.scenes.remove(scene)
            bpy.data.batch_remove([found for found in datablocks(*_KEPT) if found.as_pointer() not in before])


def _copy_properties(own: bpy.types.bpy_struct, other: bpy.types.bpy_struct) -> None:
    # Up to Blender 4.5 registered properties are among the custom ones.
    for name in set(own.keys()) - set(own.bl_rna.properties.keys()):
        other[name] = own[name]


def depsgraph_of(scene: bpy.types.Scene) -> bpy.types.Depsgraph:
    """A stage as it is now."""
    return SceneContext(scene, scene.view_layers[0]).evaluated_depsgraph_get()


@contextmanager
def operators_in(scene: bpy.types.Scene) -> Iterator[None]:
    """A stage as the current scene, for operators that work in no other."""
    shown = [(window, window.scene, window.view_layer) for window in bpy.context.window_manager.windows]
    try:
        with stillness(), bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
            yield
    finally:
        # Blender's glTF exporter shows what it exports.
        for window, own, view_layer in shown:
            if window.scene != own:
                window.scene = own
                window.view_layer = view_layer
