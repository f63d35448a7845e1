"""Values that animation sets in the artist's file, the same after a look at other frames.

Where Blender evaluates a scene at another frame, it writes what is animated there back into objects, poses and
materials, also those that other scenes share: a pose that is set but not keyed would be lost.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy

from .datablocks import datablocks
from .importer.compat import bags_of

LOGGER = logging.getLogger(__name__)

_ATTRIBUTE = re.compile(r"(?:(?P<owner>.+)\.)?(?P<name>\w+)")
_PROPERTY = re.compile(r'(?P<owner>.*)\["(?P<name>(?:[^"\\]|\\.)*)"\]')


@contextmanager
def kept_animated_values() -> Iterator[None]:
    """What is animated has the same values after the block, whatever was evaluated in it."""
    before = [(owner, path, _read(owner, path)) for owner in _animated() for path in _paths(owner)]
    try:
        yield
    finally:
        for owner, path, value in before:
            try:
                if value is not None and _read(owner, path) != value:
                    _write(owner, path, value)
            except (ReferenceError, AttributeError, TypeError, ValueError) as error:
                # Removed meanwhile, or set by nothing but its driver.
                LOGGER.debug("%s keeps no value: %s", path, error)


def _animated() -> Iterator[bpy.types.ID]:
    for datablock in datablocks():
        for each in (datablock, getattr(datablock, "node_tree", None)):
            if getattr(each, "animation_data", None) is not None:
                yield each


def _paths(owner: bpy.types.ID) -> set[str]:
    curves = [curve for bag in bags_of(owner) for curve in bag.fcurves]
    return {curve.data_path for curve in (*curves, *owner.animation_data.drivers)}


def _read(owner: bpy.types.ID, path: str) -> Any:
    """A copy of a value; None where there is none."""
    try:
        value = owner.path_resolve(path)
        return value if isinstance(value, int | float | str) else tuple(value)
    except (ValueError, TypeError):
        return None


def _write(owner: bpy.types.ID, path: str, value: Any) -> None:
    if found := _PROPERTY.fullmatch(path):
        holder = owner.path_resolve(found["owner"]) if found["owner"] else owner
        holder[bpy.utils.unescape_identifier(found["name"])] = value
    elif found := _ATTRIBUTE.fullmatch(path):
        setattr(owner.path_resolve(found["owner"]) if found["owner"] else owner, found["name"], value)
