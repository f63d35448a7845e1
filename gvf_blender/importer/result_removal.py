"""Taking everything of one import out of the file again."""

from collections.abc import Iterable, Sequence

import bpy

from ..artist_render import refuse_beside_render
from ..datablocks import user_count
from .gaussians import FRAME_INPUT, modifier_with, shows_gaussians
from .motion import has_motion, obstacle_to_removal, remove_motion
from .own_motion import changed_together
from .render_choice import restore_render
from .same_import import same_import

COLLECTION_MARK = "gvf_results"
"""Property of a collection that an import made for its results."""


def has_result(thing: bpy.types.Object) -> bool:
    """Whether an object is splats or points, or an imported motion moves it."""
    return shows_gaussians(thing) or has_motion(thing)


def remove_result(thing: bpy.types.Object, objects: Iterable[bpy.types.Object]) -> list[str]:
    """Remove the splats and points of an object's import, with their collection, and the motion from the originals.

    An original is then as it was before the import. A file with tracks stays on disk. Objects of the import with a time
    of their own stay, with all that they are made of.

    Args:
        thing: One of the import; alone if it has a time of its own or is of an earlier version.
        objects: Where the others are.

    Returns:
        The names of what was removed or moves no more; what is linked from another file stays.

    Raises:
        RenderError: The artist renders.
    """
    refuse_beside_render("removed")
    objects = list(objects)
    members = [one for one in changed_together(thing, objects) if obstacle_to_removal(one) is None]
    kept = [other for other in same_import(thing, objects) if other not in members and other.is_editable]
    names = [member.name for member in members if has_result(member)]
    results = [member for member in members if shows_gaussians(member)]
    for original in members:
        if original not in results and original.type == "MESH":
            remove_motion(original)
    collections = {found for result in results for found in result.users_collection if COLLECTION_MARK in found}
    leftovers = _made_for(results)
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
        if all(user_count(tracks) == 0 for tracks in library.users_id):
            bpy.data.libraries.remove(library)
    if not any(map(shows_gaussians, kept)):
        for original in kept:
            restore_render(original)
    return names


def _made_for(results: Sequence[bpy.types.Object]) -> list[bpy.types.ID]:
    """What results are made of in this file, users before what they use, each once."""
    trees = [modifier_with(result, FRAME_INPUT).node_group for result in results]
    nodes = [node for tree in trees for node in tree.nodes if "Material" in node.inputs]
    found = [*(result.data for result in results), *trees, *(node.inputs["Material"].default_value for node in nodes)]
    found += [material for result in results for material in result.data.materials]
    found += [result.animation_data.action for result in results if result.animation_data is not None]
    return [datablock for datablock in dict.fromkeys(found) if datablock is not None and datablock.library is None]
