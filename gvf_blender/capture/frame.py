"""A moment at another frame than the artist's."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import bpy

from ..animated_values import kept_animated_values


def exact_frame(scene: bpy.types.Scene) -> float:
    """The current frame with its fraction, as `frame_set` takes it: before Time Stretching."""
    return scene.frame_current + scene.frame_subframe


@contextmanager
def at_frame(scene: bpy.types.Scene, frame: float | None) -> Iterator[None]:
    """A scene at a frame, and afterwards at its own again.

    A copy of the scene that shares the objects, with a frame of its own, would not do: the values of materials, which
    the objects share, stay those of the scene that is shown.

    Args:
        scene: The scene.
        frame: May have a fraction; None for the current one.
    """
    if frame is None or frame == exact_frame(scene):
        yield
        return
    own, fraction = scene.frame_current, scene.frame_subframe
    with kept_animated_values():
        scene.frame_set(math.floor(frame), subframe=frame % 1.0)
        try:
            yield
        finally:
            scene.frame_set(own, subframe=fraction)
