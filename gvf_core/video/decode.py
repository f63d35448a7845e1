"""Frames of the driving video."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from gvf_core.errors import VideoError

MAX_PIXELS = 8192 * 8192
DEFAULT_FPS = 24.0


@dataclass(frozen=True)
class DrivingVideo:
    """Decoded frames.

    Attributes:
        frames: sRGB colour and straight alpha (255 where the file has no alpha).
        fps: Frames per second of the frames kept here, after the stride.
        has_alpha: Whether the file carries an alpha channel.
    """

    frames: UInt8[np.ndarray, "frames height width 4"]
    fps: float
    has_alpha: bool


def read_video(path: Path, start: int = 0, stride: int = 1, max_frames: int = 48) -> DrivingVideo:
    """Decode the frames start, start + stride, ... of any file that PyAV reads.

    Raises:
        VideoError: The file is missing, empty, not a video, too large, or has fewer than two usable frames.
    """
    if not path.is_file():
        raise VideoError(f"There is no video file {path.name}.", "Choose another video.")
    if path.stat().st_size == 0:
        raise VideoError(f"The video {path.name} is empty.", "Export or download it again.")
    frames: list[np.ndarray] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path.name} has no video stream.", "Choose a file with moving pictures.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
            alpha = "a" in (stream.pix_fmt or "") and not (stream.pix_fmt or "").startswith("gray")
            for index, frame in enumerate(container.decode(stream)):
                if frame.width * frame.height > MAX_PIXELS:
                    raise VideoError(f"{path.name} has {frame.width} x {frame.height} pixels.", "Scale it down.")
                if index >= start and (index - start) % stride == 0:
                    picture = frame.to_ndarray(format="rgba")
                    if frames and picture.shape != frames[0].shape:
                        raise VideoError(f"The picture size changes within {path.name}.", "Export it again.")
                    frames.append(picture)
                if len(frames) == max_frames:
                    break
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path.name} is not a readable video ({error}).", "Convert it to H.264 MP4.") from error
    if len(frames) < 2:
        raise VideoError(
            f"{path.name} has {len(frames)} usable frames, motion needs at least 2.",
            "Choose a longer video, or an earlier start frame and a smaller step.",
        )
    return DrivingVideo(np.stack(frames), rate / stride, alpha)
