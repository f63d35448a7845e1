"""Which object of the file was captured: told by a mark that outlives renaming, undo, saving and Blender itself.

Within a Blender session the mark says which datablock was meant, so a copy that carries the mark as well is never taken
for the original. In a later session the mark on the object counts, and among its copies the name.
"""

import uuid
from collections.abc import Iterable
from dataclasses import replace

import bpy

from .core.sources import SourceObject

_PROPERTY = "gvf_source"
_SESSION = uuid.uuid4().hex[:8]


def marked(sources: Iterable[SourceObject]) -> tuple[SourceObject, ...]:
    """Mark what was just captured, so that `find_source` finds it whatever it is called by then."""
    return tuple(replace(source, mark=_mark(bpy.data.objects[source.name])) for source in sources)


def find_source(objects: Iterable[bpy.types.Object | None], source: SourceObject) -> bpy.types.Object | None:
    """What a captured object is now.

    Args:
        objects: Where to look.
        source: The object as it was captured.

    Returns:
        The very object if it was captured in this session and the file stayed open; else the one with its mark, of
        several the one with its name; else the one with its name.
    """
    # A view layer lists None for what was removed since its last update.
    objects = [thing for thing in objects if thing is not None]
    marked = [thing for thing in objects if source.mark and thing.get(_PROPERTY) == source.mark]
    candidates = (
        *(thing for thing in objects if _session_mark(thing) == source.mark),
        *(thing for thing in marked if thing.name == source.name),
        *marked,
        *(thing for thing in objects if thing.name == source.name),
    )
    return next(iter(candidates), None)


def _mark(thing: bpy.types.Object) -> str:
    text = _session_mark(thing)
    # A linked object is found by the number alone, in this session.
    if thing.is_editable:
        thing[_PROPERTY] = text
    return text


def _session_mark(thing: bpy.types.Object) -> str:
    return f"{_SESSION}:{thing.session_uid}"
