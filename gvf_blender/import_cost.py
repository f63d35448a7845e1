"""How large results get, said before they are imported or even computed."""

from pathlib import Path

import bpy

from . import server_watch
from .core.errors import FileError
from .core.import_size import NETWORK_GAUSSIANS, expected_size, file_size, in_words
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
    return Sentence("Takes {size} {where}", size=in_words(all_), where=_where(context, gaussians))


def cost_of_settings(context: bpy.types.Context, frames: int) -> Sentence | None:
    """A sentence about what the settings will make, at most; None if it is not worth telling.

    Args:
        context: Its scene's settings count.
        frames: How many frames of the video are used.
    """
    settings = context.scene.gvf
    results = len(settings.outputs & {"splats", "points"})
    fitted = expected_size(settings.gaussians, frames, results, settings.follow_colors)
    sampled = expected_size(NETWORK_GAUSSIANS, frames, results, colors_change=True)
    if settings.engine == "fit" or (settings.engine == "auto" and _has_no_weights(settings.weights)):
        sampled = 0
    most = sampled if settings.engine == "diffusion" else max(fitted, sampled)
    if most < _WORTH_TELLING:
        return None
    values = {"size": in_words(fitted), "most": in_words(most), "where": _where(context, most)}
    if settings.engine == "diffusion":
        return Sentence("Result: up to {most} {where}", **values)
    if most > fitted:
        return Sentence("Result: {size}, with Diffusion up to {most} {where}", **values)
    return Sentence("Result: {size} {where}", **values)


def _has_no_weights(name: str) -> bool:
    """Whether the server is known to have none that the engine Diffusion could use."""
    facts = server_watch.watch().report.facts
    return facts is not None and not facts.weights.get(name)


def _where(context: bpy.types.Context, size: int) -> Sentence:
    cache = track_cache(context)
    if cache is not None and size > cache.above:
        return Sentence("in memory, tracks in {folder}", folder=cache.folder)
    return Sentence("in memory and .blend file")
