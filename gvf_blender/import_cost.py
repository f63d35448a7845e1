"""How large results get, said before they are imported or even computed."""

from pathlib import Path

import bpy

from .core.errors import FileError
from .core.import_size import expected_size, file_size, in_words
from .core.sentence import Sentence
from .preferences import track_cache

_WORTH_TELLING = 100_000_000


def cost_of_file(context: bpy.types.Context, path: Path, results: int, motion: bool) -> Sentence:
    """A sentence about an animation file; what is wrong with it if it cannot be read.

    Args:
        context: Its preferences tell what is kept in a file of its own.
        path: The file; only its header is read.
        results: How many of splats and points are made.
        motion: Whether the original vertices move, too.
    """
    try:
        gaussians, all_ = file_size(path, results, motion=False), file_size(path, results, motion)
    except FileError as error:
        return error.text
    return Sentence("Takes {size} of memory, {where}", size=in_words(all_), where=_where(context, gaussians))


def cost_of_settings(context: bpy.types.Context, frames: int) -> Sentence | None:
    """A sentence about what the settings will make with the engine fit; None if it is not worth telling.

    Args:
        context: Its scene's settings count.
        frames: How many frames of the video are used.
    """
    settings = context.scene.gvf
    results = len(settings.outputs & {"splats", "points"})
    size = expected_size(settings.gaussians, frames, results)
    if settings.engine == "diffusion" or size < _WORTH_TELLING:
        return None
    text = "The result will take about {size} of memory, {where}"
    return Sentence(text, size=in_words(size), where=_where(context, size))


def _where(context: bpy.types.Context, size: int) -> Sentence:
    cache = track_cache(context)
    if cache is not None and size > cache.above:
        return Sentence("and its tracks a file in {folder}", folder=cache.folder)
    return Sentence("and as much of the .blend file")
