"""A motion of its own for an object that shares it with its copies, as Blender's duplicates do."""

from collections.abc import Iterable

import bpy

from ..datablocks import user_count
from .compat import assign_action
from .modifier_motion import find_modifier_motion
from .retiming import playback_of
from .root_keys import is_own_action
from .same_import import is_apart, same_import
from .shape_key_motion import find_shape_key_motion


def changed_together(thing: bpy.types.Object, objects: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """An object, and those of its import that are changed with it; what is apart shares no motion with them then.

    Args:
        thing: The object; alone if it is apart itself.
        objects: Where the others are.
    """
    for other in same_import(thing, bpy.data.objects):
        if is_apart(other):
            _make_motion_own(other)
    return [thing] if is_apart(thing) else [other for other in same_import(thing, objects) if not is_apart(other)]


def _make_motion_own(thing: bpy.types.Object) -> None:
    """Let an object play by keys that nothing else plays by, so that either can be timed without the other.

    A linked object stays as it is, and so does a mesh in Edit Mode. Positions that a modifier plays stay shared.
    """
    if not thing.is_editable:
        return
    for modifier in find_modifier_motion(thing):
        if user_count(modifier.node_group) > 1:
            modifier.node_group = modifier.node_group.copy()
    has_keys = thing.type == "MESH" and find_shape_key_motion(thing) is not None
    if has_keys and user_count(thing.data) > 1 and not thing.data.is_editmode:
        thing.data = thing.data.copy()
    playback = playback_of(thing)
    if playback is not None:
        _make_action_own(playback.owner)
        if playback.root:
            _make_action_own(thing)


def _make_action_own(owner: bpy.types.ID) -> None:
    animation = owner.animation_data
    if not animation.use_tweak_mode and not is_own_action(animation):
        assign_action(owner, animation.action.copy())
