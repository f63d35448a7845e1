"""The driving video: decoding and cutting out."""

from gvf_core.video.crop import crop_for_networks, crop_square
from gvf_core.video.decode import DrivingVideo, read_video
from gvf_core.video.matting import cut_out

__all__ = ["DrivingVideo", "crop_for_networks", "crop_square", "cut_out", "read_video"]
