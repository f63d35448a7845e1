"""What the open file holds, and how often it is used."""

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


def user_count(datablock: bpy.types.ID) -> int:
    """How many use a datablock, without the fake user that only keeps it in the file."""
    return datablock.users - int(datablock.use_fake_user)
