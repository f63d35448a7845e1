"""How an imported animation came about, as the file that it came from told: kept on what it made."""

import json
from typing import Any

import bpy

from . import modifier_motion, shape_key_motion

PROVENANCE_PROPERTY = "gvf_provenance"


def provenance_of(thing: bpy.types.Object) -> dict[str, Any]:
    """The provenance of a result, or of the motion of an original; empty if it is neither."""
    if PROVENANCE_PROPERTY in thing:
        return json.loads(thing[PROVENANCE_PROPERTY])
    if thing.type != "MESH":
        return {}
    for modifier in modifier_motion.find_modifier_motion(thing):
        return json.loads(modifier.node_group[modifier_motion.MARKER])["provenance"]
    keys = shape_key_motion.find_shape_key_motion(thing)
    return {} if keys is None else json.loads(keys[shape_key_motion.MARKER])["provenance"]
