"""Capturing an asset: evaluated geometry in the unit frame and unlit views of it."""

from ..core.sources import SourceObject
from .session import CaptureOptions, CaptureResult, CaptureSession, capture

__all__ = ["CaptureOptions", "CaptureResult", "CaptureSession", "SourceObject", "capture"]
