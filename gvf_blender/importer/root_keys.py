"""Keys of the root: how an object goes over the ground, on its Delta Location.

The artist's own location stays free to be moved and keyed, and exporters write both together as one translation.
"""

import bpy
import numpy as np

from ..core.sentence import Sentence
from ..datablocks import user_count
from .compat import bags_of, fcurves_of

_PATH = "delta_location"
# What the curves are found by wherever the artist puts their action; others of their kind may be there, too.
_GROUP = "Root on Object"
# On the object: its own delta location. On an action: it was made for the root.
_ROOT = "gvf_root"
# The root goes on by the location; what turns or scales the object would turn and scale its way.
_CHANGING = ("rotation_", "scale", "delta_")
# What a curve does to time; it also happens to the root.
_TIMING = ("CYCLES", "STEPPED")
# Of a loop: each goes on from where the last one ended, which no stored frame shows.
_DRIFTING = "REPEAT_OFFSET"
_LINEAR = 1


def has_root_keys(thing: bpy.types.Object) -> bool:
    """Whether `add_root_keys` moves an object."""
    return _ROOT in thing


def root_curves(thing: bpy.types.Object) -> list[bpy.types.FCurve]:
    """What moves the object as its root, in its action; none where there is no root."""
    return [curve for curve in fcurves_of(thing) if curve.data_path == _PATH] if _ROOT in thing else []


def obstacle_to_root_keys(thing: bpy.types.Object) -> Sentence | None:
    """Why an object cannot get keys of a root, as a sentence; None if it can."""
    animation = thing.animation_data
    curves = [curve for bag in bags_of(thing) for curve in bag.fcurves]
    curves += animation.drivers if animation is not None else ()
    if any(curve.data_path.startswith(_CHANGING) for curve in curves) or any(not one.mute for one in thing.constraints):
        text = "{name} has keys, drivers or constraints that turn or scale it, or move its Delta Location: remove them."
        return Sentence(text, name=thing.name)
    # A saved override would forget what stood in place of the keys.
    is_its_own = thing.is_editable and thing.override_library is None
    if not is_its_own or (animation is not None and not is_own_action(animation)):
        return not_its_own(thing)
    if _is_mixed(animation):
        return not_as_keyed(thing)
    return None


def plays_as_keyed(owner: bpy.types.ID, curve: bpy.types.FCurve) -> bool:
    """Whether nothing but time changes what the keys of a curve say, and nothing follows them but loops."""
    heard = [modifier for modifier in curve.modifiers if not modifier.mute]
    changes = any(
        modifier.type not in _TIMING
        or (modifier.type == "CYCLES" and _DRIFTING in (modifier.mode_before, modifier.mode_after))
        for modifier in heard
    )
    return not (changes or curve.mute or curve.extrapolation != "CONSTANT" or _is_mixed(owner.animation_data))


def is_own_action(animation: bpy.types.AnimData) -> bool:
    """Whether an action can be changed and animates nothing else; also if there is none yet."""
    action = animation.action
    if animation.use_tweak_mode or action is None:
        return not animation.use_tweak_mode
    if not hasattr(action, "slots"):
        return action.is_editable and user_count(action) == 1
    slot = animation.action_slot
    return action.is_editable and (slot is None or len(slot.users()) == 1)


def not_its_own(thing: bpy.types.Object) -> Sentence:
    """That something of an object belongs to others, too."""
    text = "{name} or its action is linked, shared with another object or being tweaked: give it one of its own."
    return Sentence(text, name=thing.name)


def not_as_keyed(thing: bpy.types.Object) -> Sentence:
    """That an object does not play what its keys say."""
    text = "The keys of {name} are muted, extrapolated, changed by modifiers or mixed with NLA strips: undo that."
    return Sentence(text, name=thing.name)


def add_root_keys(thing: bpy.types.Object, times: np.ndarray, way: np.ndarray, timing: bpy.types.FCurve) -> None:
    """Let keys move an object, on top of the location that it has; `obstacle_to_root_keys` must be None.

    Args:
        thing: The object.
        times: Scene frames [K].
        way: Relative to where it stands, in the coordinates of its parent [K, 3].
        timing: A curve whose loops and steps the root has, too.
    """
    own = tuple(thing.delta_location)
    animation = thing.animation_data_create()
    if animation.action is None:
        # One of our own: from 4.4 on the keys would otherwise join the action of the object's shape keys.
        animation.action = bpy.data.actions.new(f"{thing.name} root")
        animation.action[_ROOT] = True
    thing.keyframe_insert(_PATH, frame=times[0], group=_GROUP)
    thing[_ROOT] = own
    for curve in root_curves(thing):
        points = curve.keyframe_points
        points.add(len(times) - len(points))
        values = way[:, curve.array_index] + own[curve.array_index]
        points.foreach_set("co", np.column_stack([times, values]).ravel())
        points.foreach_set("interpolation", [_LINEAR] * len(times))
        for source in timing.modifiers:
            if source.type in _TIMING:
                _copy_settings(source, curve.modifiers.new(source.type))
        curve.update()


def remove_root_keys(thing: bpy.types.Object) -> None:
    """Take the keys of the root away, wherever the artist has put them; the object stands where it stood."""
    own = thing.pop(_ROOT, None)
    if own is None:
        return
    for bag in bags_of(thing):
        for curve in [curve for curve in bag.fcurves if curve.data_path == _PATH and _is_of_root(curve)]:
            bag.fcurves.remove(curve)
        # Blender 4.2 keeps empty ones.
        for group in [group for group in bag.groups if group.name == _GROUP and not group.channels]:
            bag.groups.remove(group)
    thing.delta_location = own
    animation = thing.animation_data
    action = animation.action if animation is not None else None
    if action is not None and _ROOT in action and not fcurves_of(thing):
        animation.action = None
        if action.users == 0:
            bpy.data.actions.remove(action)
        if not animation.drivers and not animation.nla_tracks:
            thing.animation_data_clear()


def _is_of_root(curve: bpy.types.FCurve) -> bool:
    return curve.group is not None and curve.group.name == _GROUP


def _is_mixed(animation: bpy.types.AnimData | None) -> bool:
    """Whether NLA tracks, if there are any, let the action above them not play in full."""
    if animation is None or not animation.nla_tracks:
        return False
    how = animation.action_influence, animation.action_blend_type, animation.action_extrapolation
    return how != (1.0, "REPLACE", "HOLD") or any(track.is_solo for track in animation.nla_tracks)


def _copy_settings(source: bpy.types.FModifier, target: bpy.types.FModifier) -> None:
    for each in source.bl_rna.properties:
        if not each.is_readonly:
            setattr(target, each.identifier, getattr(source, each.identifier))
