"""All that the open file holds."""

from collections.abc import Iterator

import bpy


def datablocks(*without: str) -> Iterator[bpy.types.ID]:
    """The datablocks of the file.

    Args:
        without: Collections of `bpy.data` that are left out.
    """
    for entry in bpy.data.bl_rna.properties:
        if entry.type == "COLLECTION" and entry.identifier not in without:
            yield from getattr(bpy.data, entry.identifier)
