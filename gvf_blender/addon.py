"""Registration: everything that Blender has to know about, in order, and its exact reverse."""

import atexit

import bpy

from . import (
    job_list,
    managed_server,
    object_properties,
    operators,
    preferences,
    properties,
    scene_defaults,
    server_installation,
    server_watch,
    translations,
    ui,
    video_check,
    video_facts,
)
from .ui import import_menu

_CLASSES = (*operators.CLASSES, *ui.CLASSES)


def register() -> None:
    """Register properties, preferences, operators and panels, and listen to undo and file load."""
    translations.register()
    properties.register()
    object_properties.register()
    preferences.register()
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    import_menu.register()
    video_facts.register()
    job_list.register()
    scene_defaults.register()
    # The bpy module; `bpy.app.module`, which says so, is missing in Blender 4.2.
    if not bpy.app.binary_path:
        # That of Blender 4.5 hangs at the end of Python while properties with callbacks are registered.
        atexit.register(unregister)


def unregister() -> None:
    """Cancel running jobs and undo `register`."""
    atexit.unregister(unregister)
    video_check.unregister()
    server_watch.unregister()
    scene_defaults.unregister()
    job_list.unregister()
    managed_server.unregister()
    server_installation.unregister()
    video_facts.unregister()
    import_menu.unregister()
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
    preferences.unregister()
    object_properties.unregister()
    properties.unregister()
    translations.unregister()
