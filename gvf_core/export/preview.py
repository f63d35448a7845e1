"""A video to look at: the driving video beside the animated Gaussians."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from gvf_core.animation import Animation
from gvf_core.errors import FileNotWrittenError
from gvf_core.rendering import orbit_camera, rasterize

_ASIDE = 60.0
"""Degrees to the side of the video's view from which the Gaussians are shown a second time."""


def write_preview(
    path: Path,
    driving: UInt8[np.ndarray, "frames height width 4"],
    animation: Animation,
    view: tuple[float, float],
    size: int = 384,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write an MP4 of three columns: the driving video, the Gaussians from its view, and from the side.

    Args:
        path: File to write; it appears complete or not at all.
        driving: The used frames of the video, straight alpha.
        animation: What to show.
        view: Azimuth and elevation of the video's view in degrees.
        size: Width and height of a column in pixels.
        on_progress: Called with the fraction done; may raise to stop.

    Raises:
        FileNotWrittenError: For example because the disk is full.
    """
    cameras = [orbit_camera(view[0] + aside, view[1], size=size) for aside in (0.0, _ASIDE)]
    partial = path.with_name(path.name + ".partial")
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            # Some programs refuse rates like 29.97002997 that are no simple fraction.
            rate = Fraction(animation.fps).limit_denominator(1001)
            stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
            stream.width, stream.height, stream.pix_fmt = 3 * size, size, "yuv420p"
            for index, frame in enumerate(driving):
                on_progress(index / len(driving))
                with torch.inference_mode():
                    splats = animation.gaussians.activate(animation.variation.deltas[index])
                    drawn = [rasterize(splats, camera, background=(1.0, 1.0, 1.0)).color.numpy() for camera in cameras]
                pictures = [_fitted(frame, size), *(np.rint(255 * one.clip(0, 1)).astype(np.uint8) for one in drawn)]
                picture = av.VideoFrame.from_ndarray(np.concatenate(pictures, axis=1), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        partial.replace(path)
    except (OSError, av.error.FFmpegError) as error:
        raise FileNotWrittenError(
            f"The preview could not be written to {path} ({error}).", "Free some disk space or choose another place."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _fitted(frame: UInt8[np.ndarray, "height width 4"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A frame on white, as large as fits into a square."""
    height, width = frame.shape[:2]
    scale = size / max(height, width)
    alpha = frame[..., 3:].astype(np.float32) / 255
    color = frame[..., :3] * alpha + 255 * (1 - alpha)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(color, inner, interpolation=cv2.INTER_AREA)
    square = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - inner[1]) // 2, (size - inner[0]) // 2
    square[top : top + inner[1], left : left + inner[0]] = np.rint(small).astype(np.uint8)
    return square
