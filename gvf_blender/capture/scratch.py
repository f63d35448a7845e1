"""Temporary datablocks in the user's file, and their removal whatever happened in between.

They carry a mark instead of being kept in a list: an undo in the middle of a capture makes every Python
reference stale, and an undo after it can bring removed datablocks back. A mark survives both. They count as runtime
data, which Blender does not save.
"""

import logging
import uuid
import weakref
from typing import ClassVar, TypeVar

import bpy

LOGGER = logging.getLogger(__name__)

_MARK = "gvf_capture"
# Users before what they use: scenes, then objects, then data.
_COLLECTIONS = ("scenes", "objects", "meshes", "shape_keys", "cameras", "worlds", "materials", "node_groups")

Datablock = TypeVar("Datablock", bound=bpy.types.ID)


class Scratch:
    """The temporary datablocks of one capture."""

    _alive: ClassVar["weakref.WeakSet[Scratch]"] = weakref.WeakSet()

    def __init__(self) -> None:
        self._token = uuid.uuid4().hex
        self._found_render_result = bool(_render_results())
        remove_leftovers()
        Scratch._alive.add(self)

    def adopt(self, datablock: Datablock) -> Datablock:
        """Mark a new datablock as one to remove; returns it."""
        datablock[_MARK] = self._token
        datablock.is_runtime_data = True
        return datablock

    def remove(self) -> None:
        """Remove every adopted datablock; does nothing the second time."""
        Scratch._alive.discard(self)
        _remove_marked({self._token})
        if not self._found_render_result:
            # Blender's own picture of the last render; a file in which nothing was rendered yet has none.
            # An image editor may show it by now; its count of users is 1 without any user.
            users = bpy.data.user_map(subset=_render_results())
            bpy.data.batch_remove([image for image in _render_results() if not users[image]])


def remove_leftovers() -> None:
    """Remove what an undo brought back or a file was saved with, but nothing of a capture that runs."""
    alive = {scratch._token for scratch in Scratch._alive}
    found = {datablock[_MARK] for name in _COLLECTIONS for datablock in _marked(name)}
    if found - alive:
        LOGGER.info("Removing the remains of %d earlier captures.", len(found - alive))
        _remove_marked(found - alive)


def _render_results() -> list[bpy.types.Image]:
    return [image for image in bpy.data.images if image.type == "RENDER_RESULT"]


def _marked(collection: str) -> list[bpy.types.ID]:
    return [datablock for datablock in getattr(bpy.data, collection) if _MARK in datablock]


def _remove_marked(tokens: set[str]) -> None:
    for name in _COLLECTIONS:
        doomed = [datablock for datablock in _marked(name) if datablock[_MARK] in tokens]
        if name == "scenes":
            for scene in doomed:
                # Persistent data of Cycles outlives its scene unless it is switched off first.
                scene.render.use_persistent_data = False
                bpy.data.scenes.remove(scene)
        else:
            bpy.data.batch_remove(doomed)
