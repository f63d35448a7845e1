"""Driving videos: decode and cut out, told without torch; `gvf_core.video.crop` needs it."""

from gvf_core.video.decode import DrivingVideo, read_video
from gvf_core.video.matting import cut_out

__all__ = ["DrivingVideo", "cut_out", "read_video"]
