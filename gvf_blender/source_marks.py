"""Which object of the file was captured: told by a mark that outlives renaming, undo, saving and Blender itself.

While the file stays open the mark says which datablock was meant, so a copy that carries the mark as well is never
taken for the original, nor another object that has its name now. In a file that was opened since, the mark on the
object counts, and among its copies the name.

The mark is a property of `Object.gvf` and no custom property, which exporters would write into the artist's files; it
goes with the last job that needs it.
"""

import uuid
from collections.abc import Iterable
from dataclasses import replace

import bpy

from .core.sources import SourceObject

_SESSION = uuid.uuid4().hex[:8]

_needed: dict[str, frozenset[str]] = {}
"""The marks that a job of this session needs, by its id."""

_given: set[str] = set()
"""The marks that objects of the open file have got since it was opened."""


def marked(sources: Iterable[SourceObject]) -> tuple[SourceObject, ...]:
    """Mark what was just captured, so that `find_source` finds it whatever it is called by then."""
    return tuple(replace(source, mark=_mark(bpy.data.objects[source.name])) for source in sources)


def hold(job_id: str, sources: Iterable[SourceObject]) -> None:
    """Keep the marks for a job, until it says `release`, or `leave` them to another session."""
    _needed[job_id] = frozenset(source.mark for source in sources if source.mark)


def leave(job_id: str) -> None:
    """Keep the marks for whoever takes the job up."""
    _needed.pop(job_id, None)


def release(job_id: str) -> None:
    """Take away the marks of a job that nobody else of this session needs."""
    unneeded = _needed.pop(job_id, frozenset()).difference(*_needed.values())
    if unneeded:
        for thing in bpy.data.objects:
            if thing.is_editable and _written_mark(thing) in unneeded:
                thing.gvf.source_mark = ""


def after_file_load() -> None:
    """The objects that were marked are gone; those of another file may be the same ones as they were saved."""
    _given.clear()


def find_source(objects: Iterable[bpy.types.Object | None], source: SourceObject) -> bpy.types.Object | None:
    """What a captured object is now.

    Args:
        objects: Where to look.
        source: The object as it was captured.

    Returns:
        The very object if it was captured in this session and the file stayed open; else the one with its mark, of
        several the one with its name; else, where no mark can be expected, the one with its name.
    """
    # A view layer lists None for what was removed since its last update.
    objects = [thing for thing in objects if thing is not None]
    marked = [thing for thing in objects if source.mark and _written_mark(thing) == source.mark]
    candidates = (
        *(thing for thing in objects if _session_mark(thing) == source.mark),
        *(thing for thing in marked if thing.name == source.name),
        *marked,
        *(thing for thing in objects if thing.name == source.name and source.mark not in _given),
    )
    return next(iter(candidates), None)


def _mark(thing: bpy.types.Object) -> str:
    text = _session_mark(thing)
    # A linked object is found by the number alone, in this session.
    if thing.is_editable:
        thing.gvf.source_mark = text
        _given.add(text)
    return text


def _written_mark(thing: bpy.types.Object) -> str:
    # Results can be imported where the extension is not registered.
    return getattr(getattr(thing, "gvf", None), "source_mark", "")


def _session_mark(thing: bpy.types.Object) -> str:
    return f"{_SESSION}:{thing.session_uid}"
