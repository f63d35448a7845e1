"""Which objects an animation file belongs to: what a capture of them would say now."""

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np

from .capture.geometry import evaluated_pieces, world_from_unit
from .capture.scratch import Scratch
from .capture.selection import surface_objects
from .capture.session import sources_of
from .core.animation_file import Animation
from .core.errors import FileError
from .core.sources import SourceObject

# Of the unit frame; what an asset opened twice may differ by.
_SAME_PLACE = 1e-4


def captured_sources(
    objects: Sequence[bpy.types.Object], title: str, animation: Animation, path: Path
) -> tuple[SourceObject, ...]:
    """What the vertices of the capture belong to: the capture made once more, without its views.

    Args:
        objects: What was captured.
        title: What they are called in messages.
        animation: The animation.
        path: Its file.

    Raises:
        FileError: The animation is not one of these objects as they are now.
    """
    scratch = Scratch()
    try:
        pieces = evaluated_pieces(bpy.context, surface_objects(bpy.context, objects), objects, scratch)
        sources, placement = sources_of(pieces), world_from_unit(pieces)
    finally:
        scratch.remove()
    count = sum(source.vertex_count for source in sources)
    again = "Capture again, and import with the same objects and frame."
    if count != animation.vertex_count:
        raise FileError(f"{path.name} moves {animation.vertex_count} vertices, but {title} has {count}.", again)
    if not np.allclose(placement, animation.world_from_unit, rtol=0, atol=_SAME_PLACE * placement[0, 0]):
        raise FileError(f"{title} is not as large, or not where it was, when {path.name} was made.", again)
    return sources
