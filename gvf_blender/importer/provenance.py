"""How an imported animation came about, as the file that it came from told: kept on what it made."""

import json
from typing import Any

import bpy

from . import modifier_motion, shape_key_motion

PROVENANCE_PROPERTY = "gvf_provenance"
GENERATED = "ai_generated_motion"
"""In the note of an exported file: whether its motion is ours."""


def provenance_of(thing: bpy.types.Object) -> dict[str, Any]:
    """The provenance of a result, or of the motion of an original; empty if it is neither.

    What an exported file noted about itself counts if it says that the motion is generated: a mesh that an artist moved
    has a note of who exported it, too. Properties that somebody edited count for nothing.
    """
    known = _noted(_read(thing.get(PROVENANCE_PROPERTY)))
    if known or thing.type != "MESH":
        return known
    for modifier in modifier_motion.find_modifier_motion(thing):
        return _part(_read(modifier.node_group[modifier_motion.MARKER]), "provenance")
    keys = shape_key_motion.find_shape_key_motion(thing)
    return {} if keys is None else _part(_read(keys[shape_key_motion.MARKER]), "provenance")


def exported_note(known: dict[str, Any]) -> dict[str, Any]:
    """What an exported file tells about a motion with a provenance; nothing if there is none."""
    if not known:
        return {}
    told = {
        "engine": known.get("engine"),
        "engine_version": known.get("version"),
        "seed": _part(known, "settings").get("seed"),
        "is_result": known.get("is_result"),
    }
    return {GENERATED: True, **{name: value for name, value in told.items() if value is not None}}


def _noted(known: dict[str, Any]) -> dict[str, Any]:
    """A provenance as it was before an export made a note of it."""
    if "generator" not in known:
        return known
    if known.get(GENERATED) is not True:
        return {}
    told = {name: known[name] for name in ("engine", "is_result") if name in known}
    return {**told, "version": known.get("engine_version"), "settings": {"seed": known.get("seed")}}


def _read(text: object) -> dict[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _part(known: dict[str, Any], name: str) -> dict[str, Any]:
    found = known.get(name)
    return found if isinstance(found, dict) else {}
