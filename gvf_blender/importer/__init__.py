"""Importing an animation: splat object, point-cloud object, and motion on the source objects; and still splats."""

from .animation_import import Imported, ImportOptions, import_animation
from .motion import has_motion, obstacle_to_removal, remove_motion
from .provenance import PROVENANCE_PROPERTY, provenance_of
from .result_removal import has_result, remove_result
from .splat_import import import_splats
from .track_cache import TrackCache
from .transparency import bounces_warning, lacks_transparent_bounces, raise_transparent_bounces

__all__ = [
    "PROVENANCE_PROPERTY",
    "ImportOptions",
    "Imported",
    "TrackCache",
    "bounces_warning",
    "has_motion",
    "has_result",
    "import_animation",
    "import_splats",
    "lacks_transparent_bounces",
    "obstacle_to_removal",
    "provenance_of",
    "raise_transparent_bounces",
    "remove_motion",
    "remove_result",
]
