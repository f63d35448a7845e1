"""Frames of the driving video."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from gvf_core.errors import VideoError
from gvf_core.video_file import bound_pictures, open_video, unreadable_video, video_stream

MAX_PIXELS = 8192 * 8192
"""Larger pictures are refused."""
MAX_CLIP_PIXELS = 100_000_000
"""Larger clips are scaled down: 48 frames of 1920 x 1080, 1.6 GB once they are cut out."""
DEFAULT_FPS = 24.0
UNSTEADY = 0.5
"""Difference between two steps in time, in parts of the usual step, from which they count as different: files whose
times are whole milliseconds have some."""
SAME_RATE = 0.02
"""Difference between two rates, in parts, that counts as none."""
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that keep the alpha of WebM files, by the name of FFmpeg's own decoder, which drops it."""


@dataclass(frozen=True)
class DrivingVideo:
    """Decoded frames, upright and with square pixels.

    Attributes:
        frames: sRGB colour and straight alpha (255 where the file has no alpha).
        fps: Frames per second of the frames kept here, after the stride; their mean where it varies.
        has_alpha: Whether the file carries an alpha channel.
        is_steady: Whether the frames kept here are equally far apart.
    """

    frames: UInt8[np.ndarray, "frames height width 4"]
    fps: float
    has_alpha: bool
    is_steady: bool = True


def read_video(
    path: Path,
    start: int = 0,
    stride: int = 1,
    max_frames: int = 48,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> DrivingVideo:
    """Decode the frames start, start + stride, ... of any file that PyAV reads.

    Args:
        path: The file.
        start: First frame to keep.
        stride: Keep every n-th frame from there.
        max_frames: Keep at most this many.
        on_progress: Called with the fraction done before each frame; may raise to stop.

    Raises:
        VideoError: The file is missing, empty, not a video, too large, or has fewer than two usable frames.
    """
    if not path.is_file():
        raise VideoError(f"There is no video file {path.name}.", "Choose another video.")
    if path.stat().st_size == 0:
        raise VideoError(f"The video {path.name} is empty.", "Export or download it again.")
    frames: list[np.ndarray] = []
    times: list[float | None] = []
    size, alpha = None, False
    try:
        with open_video(path) as container:
            stream = video_stream(path, container)
            _check_size(path, stream.width, stream.height)
            bound_pictures(stream, MAX_PIXELS)
            rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
            kept = _kept_frames(stream.frames, start, stride, max_frames)
            for index, frame in enumerate(_decode(container, stream)):
                on_progress(min(1.0, index / (start + stride * kept)))
                _check_size(path, frame.width, frame.height)
                if index < start or (index - start) % stride:
                    continue
                if size is None:
                    size = (frame.width, frame.height)
                    alpha = any(component.is_alpha for component in frame.format.components)
                if (frame.width, frame.height) != size:
                    raise VideoError(f"The picture size changes within {path.name}.", "Export it again.")
                if len(frames) == kept:
                    # The file holds more frames than it says, as those in fragments do.
                    kept = max_frames
                picture = _picture(frame, stream.sample_aspect_ratio, MAX_CLIP_PIXELS / kept)
                if frames and frames[0].shape != picture.shape:
                    height, width = picture.shape[:2]
                    frames = [cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in frames]
                frames.append(picture)
                times.append(frame.time)
                if len(frames) == max_frames:
                    break
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise unreadable_video(path, error) from error
    if len(frames) < 2:
        raise VideoError(
            f"{path.name} has {'one usable frame' if frames else 'no usable frames'}; motion needs at least 2.",
            "Choose a longer video, or an earlier start frame and a smaller step.",
        )
    fps, is_steady = _timing(times, rate / stride)
    return DrivingVideo(np.stack(frames), fps, alpha, is_steady)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise VideoError(f"{path.name} has {width} x {height} pixels.", "Scale it down.")


def _timing(times: Sequence[float | None], usual: float) -> tuple[float, bool]:
    """Frames per second, and whether they are equally far apart, from when each of several frames is shown.

    Args:
        times: Seconds; None where the file does not say.
        usual: Rate of the whole file: it is exact where these frames have it but for the rounding of their times.
    """
    known = np.array([time for time in times if time is not None])
    steps = np.diff(known)
    if len(known) < len(times) or (steps <= 0).any():
        return usual, True
    fps = len(steps) / float(known[-1] - known[0])
    is_steady = bool(np.abs(steps - np.median(steps)).max() < UNSTEADY * np.median(steps))
    return usual if is_steady and abs(fps / usual - 1) < SAME_RATE else fps, is_steady


def _kept_frames(available: int, start: int, stride: int, max_frames: int) -> int:
    """How many frames will be kept at most; `available` is 0 where the file does not say."""
    return min(max_frames, max(1, math.ceil((available - start) / stride))) if available else max_frames


def _decode(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    name = ALPHA_DECODERS.get(stream.codec_context.name) if stream.metadata.get("alpha_mode") == "1" else None
    if name not in av.codecs_available:
        stream.thread_type = "AUTO"
        yield from container.decode(stream)
        return
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(name, "r"))
    decoder.options = stream.codec_context.options
    for packet in container.demux(stream):
        yield from decoder.decode(packet)


def _picture(
    frame: av.VideoFrame, pixel_aspect: Fraction | None, max_pixels: float
) -> UInt8[np.ndarray, "height width 4"]:
    """The frame as it is meant to be seen, with at most so many pixels."""
    width, height = frame.width * float(pixel_aspect or 1), frame.height
    shrink = min(1.0, math.sqrt(max_pixels / (width * height)))
    # Planar, because FFmpeg's fast way to packed RGBA leaves the last columns unwritten unless the width is a
    # multiple of 8 (seen with FFmpeg 8.0).
    picture = frame.to_ndarray(
        format="gbrap",
        width=max(1, round(width * shrink)),
        height=max(1, round(height * shrink)),
        interpolation="BICUBIC",
    )
    return np.rot90(picture, round(frame.rotation / 90))
