"""The scene of a job, wherever the artist has gone meanwhile, and importing the job's result into it."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import bpy

from .core.errors import DefectError, GvfBlenderError, SelectionError
from .core.sources import SourceObject
from .importer import Imported, ImportOptions, import_animation
from .preferences import track_cache
from .request import OUTPUTS
from .scene_context import SceneContext

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
        imported = import_animation(scene_context(scene_name), path, sources, options)
    except GvfBlenderError:
        raise
    except Exception as error:
        LOGGER.exception("The import of %s failed", path)
        raise DefectError("The result could not be imported", error) from error
    if imported.splats is None and imported.points is None and not imported.motion:
        raise SelectionError("Nothing was imported.", " ".join(imported.warnings))
    return imported


def scene_context(name: str, strict: bool = False) -> SceneContext:
    """A job's scene, wherever the artist has gone meanwhile.

    Args:
        name: The scene's name.
        strict: Complain when it is gone instead of taking the shown one.

    Raises:
        SelectionError: It is gone.
    """
    scene = bpy.data.scenes.get(name)
    if scene is None and strict:
        raise SelectionError(f"There is no scene {name!r} in this file any more.", "Select the objects again.")
    windows = bpy.context.window_manager.windows
    # The view layer that the artist looks at may be another than the first one.
    window = next((each for each in windows if scene in (None, each.scene)), None)
    if window is not None:
        return SceneContext(window.scene, window.view_layer)
    scene = scene or bpy.context.scene
    return SceneContext(scene, scene.view_layers[0])
