"""Root on Object: the way over the ground as keys of the objects, while their meshes stay on the spot.

Together they move as they did: what the keys add, `set_in_place` has taken out. It is one choice for all of an import.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

import bpy
import numpy as np

from ..core.errors import SelectionError
from ..core.sentence import Sentence
from .in_place import is_shared, set_in_place, way_of
from .own_animation import with_parents
from .retiming import Playback, playback_of
from .root_keys import (
    add_root_keys,
    has_root_keys,
    not_as_keyed,
    not_its_own,
    obstacle_to_root_keys,
    plays_as_keyed,
    remove_root_keys,
)
from .same_import import same_import

# Of the way: by how much that of what hangs on an object may differ from the object's.
_SAME_WAY = 1e-4
# Parents that take what hangs on them along with their vertices, and these move as before.
_VERTICES = ("VERTEX", "VERTEX_3")


def can_have_root(thing: bpy.types.Object) -> bool:
    """Whether the import of an object moves a mesh, whose way can be on its object, or is."""
    return any(way_of(member) is not None or has_root_keys(member) for member in _members(thing))


def has_root(thing: bpy.types.Object, scene: bpy.types.Scene | None = None) -> bool:
    """Whether the way of an object's import is on the objects of a scene; None for the shown one."""
    return any(map(has_root_keys, _members(thing, scene)))


def is_carried(thing: bpy.types.Object) -> bool:
    """Whether the object goes the way of its import by keys, of its own or of what it hangs on."""
    members = _members(thing)
    return any(has_root_keys(one) for one in (thing, *_carriers(thing)) if one in members)


def obstacle_in_edit_mode(thing: bpy.types.Object, scene: bpy.types.Scene | None = None) -> Sentence | None:
    """Why the way of an import cannot be taken out or put back, as a sentence; None if it can. Fit for drawing."""
    return _editing(_members(thing, scene))


def obstacle_to_root(thing: bpy.types.Object, scene: bpy.types.Scene | None = None) -> Sentence | None:
    """Why the choice cannot be changed, as a sentence; None if it can. Fit for drawing."""
    if not thing.is_editable:
        return not_its_own(thing)
    members = _members(thing, scene)
    obstacle = _editing(members)
    if obstacle is not None or any(map(has_root_keys, members)):
        return obstacle
    moving = [member for member in members if way_of(member) is not None]
    obstacles = (_obstacle(member, members, moving) for member in members)
    return next((found for found in obstacles if found is not None), None)


def set_root(thing: bpy.types.Object, on: bool, scene: bpy.types.Scene | None = None) -> None:
    """Let objects of an import go its way by keys of their own, or let their vertices go it again.

    What hangs on one of them goes along, so that it stays on the spot, too. Nothing is keyed where `obstacle_to_root`
    tells a reason.

    Args:
        thing: One of the objects.
        on: Whether by keys.
        scene: Which has the others; None for the shown one.
    """
    if on == has_root(thing, scene) or (on and obstacle_to_root(thing, scene) is not None):
        return
    members = _members(thing, scene)
    moving = [member for member in members if way_of(member) is not None]
    for member in members:
        hangs = any(carrier in moving for carrier in _carriers(member))
        if not on:
            remove_root_keys(member)
        elif member in moving and not hangs:
            _add_keys(member)
        set_in_place(member, on and (hangs or member in moving))


def remove_root(thing: bpy.types.Object) -> None:
    """Take the root off an object whose motion goes, too; what hangs on it goes its own way again."""
    if has_root_keys(thing):
        remove_root_keys(thing)
        for member in _members(thing):
            if thing in _carriers(member):
                set_in_place(member, False)


@contextmanager
def without_root(context: bpy.types.Context, objects: Iterable[bpy.types.Object]) -> Iterator[None]:
    """Take the root of objects back, for good unless the block fails.

    Raises:
        SelectionError: An object of their imports is in Edit Mode.
    """
    scene = context.scene
    taken = [thing for thing in objects if has_root(thing, scene)]
    for thing in taken:
        if (obstacle := obstacle_in_edit_mode(thing, scene)) is not None:
            raise SelectionError(obstacle, "Then import again.")
    for thing in taken:
        set_root(thing, False, scene)
    if taken:
        context.view_layer.update()
    try:
        yield
    except BaseException:
        for thing in taken:
            set_root(thing, True, scene)
        raise


def _editing(members: Iterable[bpy.types.Object]) -> Sentence | None:
    found = next((member for member in members if member.mode == "EDIT" and way_of(member) is not None), None)
    if found is None:
        return None
    return Sentence("{name} is in Edit Mode, which keeps the vertices where they are: leave it.", name=found.name)


def _obstacle(
    member: bpy.types.Object, members: Sequence[bpy.types.Object], moving: Sequence[bpy.types.Object]
) -> Sentence | None:
    carrier = next((one for one in _carriers(member) if one in moving), None)
    if carrier is None and member not in moving:
        return None
    playback = playback_of(member)
    if carrier is not None and not _goes_along(member, carrier):
        text = "{name} hangs on {parent}, but was turned, scaled or timed apart from it: clear its parent first."
        return Sentence(text, name=member.name, parent=carrier.name)
    if playback is None:
        text = "The motion of {name} has lost the keys that play it, so there is nothing to key the root to."
        return Sentence(text, name=member.name)
    if not plays_as_keyed(playback.owner, playback.curve):
        return not_as_keyed(member)
    if is_shared(member, members):
        return not_its_own(member)
    return obstacle_to_root_keys(member)


def _add_keys(thing: bpy.types.Object) -> None:
    playback, way = playback_of(thing), way_of(thing)
    times, moments = _timing(playback)
    linear = np.array(thing.matrix_basis, np.float64)[:3, :3]
    frames = np.arange(len(way))
    local = np.column_stack([np.interp(moments, frames, axis) for axis in way.T])
    add_root_keys(thing, times, local @ linear.T, playback.curve)


def _timing(playback: Playback) -> tuple[np.ndarray, np.ndarray]:
    """Scene frames, and which frames of the animation show there; every scene frame where the artist eased them."""
    curve, first = playback.curve, playback.curve.keyframe_points[0]
    steps = round(abs(curve.keyframe_points[-1].co.y - first.co.y) / playback.unit)
    if len(curve.keyframe_points) == 2 and first.interpolation == "LINEAR":
        times = np.linspace(playback.start, playback.end, max(steps, 1) + 1)
    else:
        times = np.union1d(np.arange(math.ceil(playback.start), playback.end), (playback.start, playback.end))
    heard = [modifier for modifier in curve.modifiers if not modifier.mute]
    for modifier in heard:
        modifier.mute = True
    values = np.array([curve.evaluate(time) for time in times])
    for modifier in heard:
        modifier.mute = False
    origin = playback.owner.key_blocks[1].frame if isinstance(playback.owner, bpy.types.Key) else 0.0
    return times, (values - origin) / playback.unit


def _members(thing: bpy.types.Object, scene: bpy.types.Scene | None = None) -> list[bpy.types.Object]:
    """The objects of the import that a scene has, and that can be changed; None for the shown scene."""
    found = same_import(thing, (scene or bpy.context.scene).objects)
    return [one for one in found if one == thing or one.is_editable]


def _carriers(thing: bpy.types.Object) -> list[bpy.types.Object]:
    """What takes an object along when it is moved, the nearest first."""
    hanging = takewhile(lambda one: one.parent is not None and one.parent_type not in _VERTICES, with_parents(thing))
    return [one.parent for one in hanging]


def _goes_along(thing: bpy.types.Object, carrier: bpy.types.Object) -> bool:
    """Whether an object goes the same way as what it hangs on, at the same time; of splats, their turn is unknown."""
    ways = [(each, way_of(each)) for each in (thing, carrier)]
    world = [way @ np.array(each.matrix_world, np.float64)[:3, :3].T for each, way in ways if way is not None]
    same_way = np.allclose(world[0], world[-1], rtol=0, atol=_SAME_WAY * max(np.abs(world[-1]).max(), 1e-6))
    return bool(same_way) and _timing_of(thing) == _timing_of(carrier)


def _timing_of(thing: bpy.types.Object) -> tuple[object, ...] | None:
    playback = playback_of(thing)
    if playback is None:
        return None
    points = playback.curve.keyframe_points
    keys = [(point.co.x, (point.co.y - points[0].co.y) / playback.unit, point.interpolation) for point in points]
    return playback.loop, playback.is_held, *((round(x, 3), round(y, 3), kind) for x, y, kind in keys)
