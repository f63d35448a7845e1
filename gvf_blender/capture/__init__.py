"""Capturing an asset: evaluated geometry in the unit frame and unlit views of it."""

from ..core.sources import SourceObject
from .session import MAX_VIEWS, VIEW_PRESETS, CaptureOptions, CaptureResult, CaptureSession, capture

__all__ = ["MAX_VIEWS", "VIEW_PRESETS", "CaptureOptions", "CaptureResult", "CaptureSession", "SourceObject", "capture"]
