"""A scene to work in that need not be the shown one."""

import bpy


class SceneContext:
    """Of Blender's context what capture and import read, for a scene that need not be the shown one.

    Not a `temp_override`, in which Blender may crash while a thread runs Python: see `core.stillness`.
    """

    def __init__(self, scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> None:
        self.scene = scene
        self.view_layer = view_layer

    def evaluated_depsgraph_get(self) -> bpy.types.Depsgraph:
        """The view layer as it is now, evaluated."""
        self.view_layer.update()
        return self.view_layer.depsgraph
