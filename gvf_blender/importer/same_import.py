"""Which objects of a scene one import made or moved: told by an id on each, whatever they are called by now.

Results of earlier versions have none and stand alone.
"""

import uuid
from collections.abc import Iterable, Sequence
from functools import partial

import bpy

from .notes import note, set_note
from .transaction import Transaction

_ID = "gvf_import"


def mark_import(transaction: Transaction, objects: Sequence[bpy.types.Object]) -> None:
    """Tell that objects come from one import, and from no earlier one.

    Args:
        transaction: Takes it back if the import fails later.
        objects: New results, and originals that got the motion.
    """
    mark = uuid.uuid4().hex
    for thing in objects:
        transaction.on_failure(partial(set_note, thing, _ID, note(thing, _ID)))
        set_note(thing, _ID, mark)


def forget_import(thing: bpy.types.Object) -> None:
    """Tell that an object no longer belongs to an import."""
    set_note(thing, _ID, None)


def same_import(thing: bpy.types.Object, objects: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """An object, and those of others that come from the same import; fit for drawing."""
    mark = note(thing, _ID)
    if mark is None:
        return [thing]
    return [thing, *(other for other in objects if note(other, _ID) == mark and other != thing)]


def is_apart(thing: bpy.types.Object) -> bool:
    """Whether the artist has taken an object out of what its import made, by *Whole Result*."""
    # Results can be imported where the extension is not registered.
    return not getattr(getattr(thing, "gvf", None), "play_together", True)
