"""Walking on the spot: taking the way over the ground out of a result, and putting it back.

The way is the mean of all Gaussians in x and y of the scene, relative to the first frame, for every kind of result.
Splats and points subtract it in their node trees; the motion of a mesh has it subtracted from its stored positions.
"""

from collections.abc import Iterator, Sequence

import bpy
import numpy as np

from ..core.animation_file import Animation
from ..datablocks import user_count
from .applied_transform import applied_since, note_points
from .gaussians import IN_PLACE_INPUT, modifier_with
from .modifier_motion import find_modifier_motion, make_positions_own, motion_attributes
from .nodes import modifier_input, set_modifier_input
from .shape_key_motion import find_shape_key_motion

_WAY, _IS_IN_PLACE = "gvf_way", "gvf_in_place"
_GUIDES, _PLACES = "gvf_way_guides", "gvf_way_places"


def way_over_ground(animation: Animation, matrix_world: np.ndarray) -> np.ndarray:
    """How far the animation has gone at every frame.

    Args:
        animation: The animation.
        matrix_world: Of the object in whose coordinates the way is wanted, [4, 4].

    Returns:
        float32 [T or 1, 3].
    """
    middle = animation.means.mean(axis=1, dtype=np.float64)
    world = (middle - middle[0]) @ animation.world_from_unit[:3, :3].T
    world[:, 2] = 0.0
    return (world @ np.linalg.inv(matrix_world[:3, :3]).T).astype(np.float32)


def note_way(owner: bpy.types.Key | bpy.types.NodeTree, way: np.ndarray, positions: np.ndarray) -> None:
    """Store the way of a motion with it, so that `set_in_place` can take it out.

    Args:
        owner: What the motion is in.
        way: As from `way_over_ground`.
        positions: Of the vertices at the first frame [V, 3]; *Object > Apply* changes them as it would the way.
    """
    owner[_WAY] = way.ravel().tolist()
    owner[_GUIDES], owner[_PLACES] = note_points(positions)


def can_be_in_place(thing: bpy.types.Object) -> bool:
    """Whether the object shows a result that `set_in_place` knows."""
    return modifier_with(thing, IN_PLACE_INPUT) is not None or any(_motions(thing))


def is_in_place(thing: bpy.types.Object) -> bool:
    """Whether the object's result stays on the spot."""
    shown = modifier_with(thing, IN_PLACE_INPUT)
    if shown is not None:
        return bool(modifier_input(shown, IN_PLACE_INPUT))
    return any(_IS_IN_PLACE in owner for owner, _ in _motions(thing))


def way_of(thing: bpy.types.Object) -> np.ndarray | None:
    """The way over the ground of the motion of a mesh, in its own coordinates [T or 1, 3]; None for anything else."""
    ways = [_way(*motion) for motion in _motions(thing)]
    # A modifier comes after shape keys, and decides.
    return ways[-1] if ways else None


def is_shared(thing: bpy.types.Object, members: Sequence[bpy.types.Object]) -> bool:
    """Whether objects besides the given ones show the motion of a mesh: what is taken out of it, they lack, too."""
    owners = [thing.data if isinstance(owner, bpy.types.Key) else owner for owner, _ in _motions(thing)]
    used = [member.data for member in members]
    used += [found.node_group for member in members for found in member.modifiers if found.type == "NODES"]
    return any(user_count(owner) > used.count(owner) for owner in owners)


def set_in_place(thing: bpy.types.Object, in_place: bool) -> None:
    """Let the object's result stay on the spot or go its way."""
    shown = modifier_with(thing, IN_PLACE_INPUT)
    if shown is not None:
        set_modifier_input(shown, IN_PLACE_INPUT, in_place)
    for owner, frames in _motions(thing):
        if (_IS_IN_PLACE in owner) != in_place:
            if isinstance(owner, bpy.types.NodeTree) and make_positions_own(owner):
                frames = _frames(owner)
            _shift(frames, _way(owner, frames).astype(np.float32) * (-1 if in_place else 1))
            if in_place:
                owner[_IS_IN_PLACE] = True
            else:
                del owner[_IS_IN_PLACE]
    thing.update_tag()


def _motions(thing: bpy.types.Object) -> Iterator[tuple[bpy.types.ID, list[tuple[bpy.types.bpy_prop_collection, str]]]]:
    """Motions of a mesh with what holds the positions of each frame, as (collection, property)."""
    if thing.type != "MESH":
        return
    keys = find_shape_key_motion(thing)
    if keys is not None and _WAY in keys:
        yield keys, [(block.points, "co") for block in keys.key_blocks[1:]]
    for modifier in find_modifier_motion(thing):
        if _WAY in modifier.node_group:
            yield modifier.node_group, _frames(modifier.node_group)


def _frames(tree: bpy.types.NodeTree) -> list[tuple[bpy.types.bpy_prop_collection, str]]:
    return [(attribute.data, "vector") for attribute in motion_attributes(tree)]


def _way(owner: bpy.types.ID, frames: list[tuple[bpy.types.bpy_prop_collection, str]]) -> np.ndarray:
    way = np.array(owner[_WAY], np.float64).reshape(-1, 3)
    # Results of earlier versions know no points.
    if _GUIDES not in owner or not frames:
        return way
    points, name = frames[0]
    indices = list(owner[_GUIDES])
    if max(indices) >= len(points):
        return way
    now = np.array([getattr(points[index], name) for index in indices], np.float64)
    return way @ applied_since(np.array(owner[_PLACES], np.float64).reshape(-1, 3), now).T


def _shift(frames: list[tuple[bpy.types.bpy_prop_collection, str]], offsets: np.ndarray) -> None:
    for (points, name), offset in zip(frames, np.broadcast_to(offsets, (len(frames), 3)), strict=True):
        values = np.empty((len(points), 3), np.float32)
        points.foreach_get(name, values.ravel())
        points.foreach_set(name, (values + offset).ravel())
        points.id_data.update_tag()
