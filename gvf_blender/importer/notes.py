"""What is noted on an original about its import, as custom properties.

A saved library override keeps the modifier of its motion, but no custom properties: its notes are on the tree of that
modifier, which is of the artist's file.
"""

from typing import Any

import bpy

from .modifier_motion import find_modifier_motion


def note(thing: bpy.types.Object, key: str) -> Any:
    """What is noted on an object under a name; None if nothing is. Fit for drawing."""
    return next((place[key] for place in _places(thing) if key in place), None)


def set_note(thing: bpy.types.Object, key: str, value: Any) -> None:
    """Note something on an object; None takes it away. What an override without a motion shall note is forgotten."""
    places = _places(thing)
    if value is not None:
        if places:
            places[0][key] = value
        return
    for place in places:
        # Copies of an override share a tree, and go on to need it.
        if place == thing or place.users == 1:
            place.pop(key, None)


def _places(thing: bpy.types.Object) -> list[bpy.types.ID]:
    """Where the notes of an object are, newest first."""
    if thing.override_library is None:
        return [thing]
    if thing.type != "MESH":
        return []
    trees = [modifier.node_group for modifier in find_modifier_motion(thing) if not modifier.is_override_data]
    return [tree for tree in reversed(trees) if tree.is_editable]
