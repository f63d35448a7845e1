"""The preferences' defaults in scenes: taken over by those that nobody has set anything in, and on request.

Drawing may not write, so a new scene takes them a moment after a panel has shown it; the scenes of a file, when it is
opened.
"""

from collections.abc import Iterable

import bpy
from bpy.app.handlers import persistent

from .job_list import redraw_panels
from .overlay import place_overlay
from .preferences import addon_preferences
from .properties import SHARED_NAMES, copy_settings


def take_defaults(scenes: Iterable[bpy.types.Scene]) -> None:
    """Give untouched scenes what the preferences' defaults say; all others keep what they have."""
    preferences = addon_preferences(bpy.context)
    for scene in scenes if preferences is not None else ():
        if scene.is_editable and _is_untouched(scene):
            copy_settings(preferences.defaults, scene.gvf)


def take_defaults_soon(scene: bpy.types.Scene) -> None:
    """The same for one scene, soon after a panel shows it. Fit for drawing."""
    preferences = addon_preferences(bpy.context)
    if bpy.app.background or preferences is None or not any(map(preferences.defaults.is_property_set, SHARED_NAMES)):
        return
    if scene.is_editable and _is_untouched(scene) and not bpy.app.timers.is_registered(_take_shown):
        bpy.app.timers.register(_take_shown, first_interval=0.0)


def reset_settings(context: bpy.types.Context) -> None:
    """Set the scene to the defaults; the video and its place on the timeline stay."""
    settings, preferences = context.scene.gvf, addon_preferences(context)
    for name in (*SHARED_NAMES, "movable", "camera"):
        settings.property_unset(name)
    if preferences is not None:
        copy_settings(preferences.defaults, settings)
    place_overlay(context)


def _is_untouched(scene: bpy.types.Scene) -> bool:
    names = (known.identifier for known in scene.gvf.bl_rna.properties)
    return not any(scene.gvf.is_property_set(name) for name in names if name != "rna_type")


def _take_shown() -> None:
    take_defaults(bpy.data.scenes)
    redraw_panels()


@persistent
def _after_load(*_: object) -> None:
    take_defaults(bpy.data.scenes)


def register() -> None:
    """Listen to file load."""
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    """Undo `register`."""
    # As in `job_list`.
    if _after_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_after_load)
    if bpy.app.timers.is_registered(_take_shown):
        bpy.app.timers.unregister(_take_shown)
