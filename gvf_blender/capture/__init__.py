"""Capturing an asset: evaluated geometry in the unit frame and unlit views of it."""

from ..core.sources import SourceObject
from .frame import exact_frame
from .scratch import remove_leftovers
from .session import MAX_VIEWS, VIEW_PRESETS, CaptureOptions, CaptureResult, CaptureSession, capture
from .start_frame import StartFrameOptions, VideoView, render_start_frame

__all__ = [
    "MAX_VIEWS",
    "VIEW_PRESETS",
    "CaptureOptions",
    "CaptureResult",
    "CaptureSession",
    "SourceObject",
    "StartFrameOptions",
    "VideoView",
    "capture",
    "exact_frame",
    "remove_leftovers",
    "render_start_frame",
]
