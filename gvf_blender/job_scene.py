"""The scene of a job: being in it, wherever the artist has gone meanwhile, and importing the job's result into it."""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bpy

from .core.errors import DefectError, GvfBlenderError, SelectionError
from .core.sources import SourceObject
from .importer import Imported, ImportOptions, import_animation
from .preferences import track_cache
from .request import OUTPUTS

LOGGER = logging.getLogger(__name__)


def import_result(
    path: Path, sources: Sequence[SourceObject], outputs: Collection[str], frame_start: int, scene_name: str
) -> Imported:
    """Import a downloaded result into the scene of its job, or into the current one if that is gone.

    Args:
        path: The animation file.
        sources: What was captured.
        outputs: Which of `OUTPUTS` to make.
        frame_start: Scene frame of the animation's first frame.
        scene_name: The scene of the job.

    Raises:
        GvfBlenderError: The import failed, or made nothing.
    """
    options = ImportOptions(
        **{name: name in outputs for name in OUTPUTS}, frame_start=frame_start, cache=track_cache(bpy.context)
    )
    try:
        with in_scene(scene_name):
            imported = import_animation(bpy.context, path, sources, options)
    except GvfBlenderError:
        raise
    except Exception as error:
        LOGGER.exception("The import of %s failed", path)
        raise DefectError("The result could not be imported", error) from error
    if imported.splats is None and imported.points is None and not imported.motion:
        raise SelectionError("Nothing was imported.", " ".join(imported.warnings))
    return imported


@contextmanager
def in_scene(name: str, strict: bool = False) -> Iterator[None]:
    """The job's scene as the current one, wherever the artist has gone meanwhile.

    Args:
        name: The scene's name.
        strict: Complain when it is gone instead of staying in the current one.
    """
    scene = bpy.data.scenes.get(name)
    if scene is None and strict:
        raise SelectionError(f"There is no scene {name!r} in this file any more.", "Select the objects again.")
    windows = bpy.context.window_manager.windows
    window = next((each for each in windows if each.scene == scene), next(iter(windows), None))
    # A timer has no window in its context, which the operators behind capture and import may ask for.
    override: dict[str, object] = {"window": window} if window is not None else {}
    if scene is not None and (window is None or window.scene != scene):
        override |= {"scene": scene, "view_layer": scene.view_layers[0]}
    with bpy.context.temp_override(**override):
        yield
