"""Importing an animation: splat object, point-cloud object, and motion on the source objects."""

from gvf_blender.importer.animation_import import PROVENANCE_PROPERTY, Imported, ImportOptions, import_animation
from gvf_blender.importer.motion import remove_motion
from gvf_blender.importer.transparency import lacks_transparent_bounces, raise_transparent_bounces

__all__ = [
    "PROVENANCE_PROPERTY",
    "ImportOptions",
    "Imported",
    "import_animation",
    "lacks_transparent_bounces",
    "raise_transparent_bounces",
    "remove_motion",
]
