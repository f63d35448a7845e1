"""Capturing an asset: evaluated geometry in the unit frame and unlit views of it."""

from gvf_blender.capture.session import CaptureOptions, CaptureResult, CaptureSession, capture
from gvf_blender.core.sources import SourceObject

__all__ = ["CaptureOptions", "CaptureResult", "CaptureSession", "SourceObject", "capture"]
