"""What an exported file tells about itself, where its format has a field for that: what made it, and of what.

The note is a JSON object under the name `PROVENANCE_PROPERTY`. In Alembic and USD it is a property of the object, which
Blender's exporters write; the point cache has no field for it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import bpy

from ..importer import PROVENANCE_PROPERTY
from ..importer.provenance import exported_note, provenance_of
from ..version import extension_version


def provenance_note(thing: bpy.types.Object) -> dict[str, object]:
    """Which program exported an object, and where the motion is ours, that it is generated, and how."""
    generator = f"Gaussian Variation Fields for Blender, version {extension_version()}"
    return {"generator": generator, **exported_note(provenance_of(thing))}


@contextmanager
def noted_on(thing: bpy.types.Object) -> Iterator[None]:
    """While it is exported, the object has the note as a property; afterwards, what it had before."""
    before = thing.get(PROVENANCE_PROPERTY)
    if hasattr(before, "to_dict"):
        before = before.to_dict()  # A group goes when another value takes its place, and so does an array.
    elif hasattr(before, "to_list"):
        before = before.to_list()
    thing[PROVENANCE_PROPERTY] = json.dumps(provenance_note(thing))
    try:
        yield
    finally:
        if before is None:
            del thing[PROVENANCE_PROPERTY]
        else:
            thing[PROVENANCE_PROPERTY] = before
