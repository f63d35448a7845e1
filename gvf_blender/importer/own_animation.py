"""Whether an object as a whole already moves: by keys or drivers of its own or of what it hangs on."""

from collections.abc import Iterator

import bpy
import numpy as np

from .compat import bags_of
from .placement import is_invertible

_TRANSFORM = ("location", "rotation_", "scale", "delta_")


def moves_on_its_own(thing: bpy.types.Object) -> bool:
    """Whether keys, NLA strips or drivers change the place, rotation or scale of an object or of a parent.

    What deforms its mesh (armatures, shape keys) does not count, nor do constraints: they are as often still.
    """
    if any(path.startswith(_TRANSFORM) for path in animated_paths(thing)):
        return True
    if thing.parent is None:
        return False
    hangs_on_bone = thing.parent_type == "BONE" and any(animated_paths(thing.parent))
    return hangs_on_bone or moves_on_its_own(thing.parent)


def is_still(thing: bpy.types.Object) -> bool:
    """Whether an object stands where the artist put it, at every frame: nothing moves it, and no constraint may."""
    constraints = (each for one in with_parents(thing) for each in one.constraints)
    return not moves_on_its_own(thing) and all(each.mute for each in constraints)


def can_be_followed(thing: bpy.types.Object) -> bool:
    """Whether what hangs on an object stays where it is until the artist moves the object.

    Not if the object moves by itself, which its video may have shown already, or shows its children as instances.
    """
    return is_still(thing) and thing.instance_type == "NONE" and is_invertible(np.array(thing.matrix_world))


def with_parents(thing: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """An object, and all that it hangs on, the nearest first."""
    each: bpy.types.Object | None = thing
    while each is not None:
        yield each
        each = each.parent


def animated_paths(thing: bpy.types.Object) -> Iterator[str]:
    """What keys, NLA strips or drivers of an object itself change, unless they are muted."""
    curves = [curve for bag in bags_of(thing, muted=False) for curve in bag.fcurves]
    curves += thing.animation_data.drivers if thing.animation_data is not None else ()
    yield from (curve.data_path for curve in curves if not curve.mute)
