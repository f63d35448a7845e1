"""Taking everything of one import out of the file again."""

from collections.abc import Iterable

import bpy

from .gaussians import FRAME_INPUT, modifier_with, shows_gaussians
from .motion import has_motion, remove_motion
from .same_import import same_import

COLLECTION_MARK = "gvf_results"
"""Property of a collection that an import made for its results."""


def has_result(thing: bpy.types.Object) -> bool:
    """Whether an object is splats or points, or an imported motion moves it."""
    return shows_gaussians(thing) or has_motion(thing)


def remove_result(thing: bpy.types.Object, objects: Iterable[bpy.types.Object]) -> list[str]:
    """Remove the splats and points of an object's import, with their collection, and the motion from the originals.

    An original is then as it was before the import. A file with tracks stays on disk.

    Args:
        thing: One of the import; a result of an earlier version goes alone.
        objects: Where the others are.

    Returns:
        The names of what was removed or moves no more.
    """
    members = same_import(thing, objects)
    names = [member.name for member in members if has_result(member)]
    results = [member for member in members if shows_gaussians(member)]
    for original in members:
        if original not in results and original.type == "MESH":
            remove_motion(original)
    collections = {found for result in results for found in result.users_collection if COLLECTION_MARK in found}
    leftovers = [datablock for result in results for datablock in _made_for(result)]
    libraries = {result.data.library for result in results if result.data.library is not None}
    bpy.data.batch_remove(results)
    for collection in collections:
        if not collection.all_objects and not collection.children:
            bpy.data.collections.remove(collection)
    for datablock in leftovers:
        if datablock.users == 0:
            bpy.data.batch_remove([datablock])
    for library in libraries:
        # The tracks have a fake user in their file.
        if all(tracks.users == int(tracks.use_fake_user) for tracks in library.users_id):
            bpy.data.libraries.remove(library)
    return names


def _made_for(result: bpy.types.Object) -> list[bpy.types.ID]:
    """What a result is made of in this file, users before what they use, each once."""
    tree = modifier_with(result, FRAME_INPUT).node_group
    materials = [node.inputs["Material"].default_value for node in tree.nodes if "Material" in node.inputs]
    found = [result.data, tree, *materials, *result.data.materials]
    if result.animation_data is not None:
        found.append(result.animation_data.action)
    return [datablock for datablock in dict.fromkeys(found) if datablock is not None and datablock.library is None]
