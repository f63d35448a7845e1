"""In which view layers new results show: in those that show their original, and as they show it."""

import bpy


def show_in_layers_of(original: bpy.types.Object, collection: bpy.types.Collection, scene: bpy.types.Scene) -> None:
    """Exclude a collection of the scene's root, or hold it out, wherever an object is.

    Args:
        original: An object of the scene.
        collection: A new collection.
        scene: Where both are.
    """
    for layer in scene.view_layers:
        place = layer.layer_collection.children[collection.name]
        place.exclude = original not in layer.objects.values()
        place.holdout = original.holdout_get(view_layer=layer)
        place.indirect_only = original.indirect_only_get(view_layer=layer)
