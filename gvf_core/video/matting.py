"""Separating the moving thing from its background."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32

from gvf_core.errors import VideoError
from gvf_core.video.decode import DrivingVideo

BORDER = 0.03
"""Width of the frame's edge, as a fraction of the smaller side, that is taken to show the background."""
INNER, OUTER = 5.0, 14.0
"""Colour distances (CIE Lab units) at which the mask starts and is full; H.264 noise stays below the first."""
PLAIN = 12.0
"""A background whose border colours spread wider than this (Lab units, 90th percentile) is not plain."""
OPAQUE = 250
"""An alpha channel (0..255) that never falls below this is no mask."""
MIN_AREA = 0.001
"""Part of the first frame that the object must cover."""


def cut_out(
    video: DrivingVideo, on_progress: Callable[[float], None] = lambda fraction: None
) -> Float32[np.ndarray, "frames height width 4"]:
    """Colour premultiplied by alpha, and alpha, 0..1.

    Alpha comes from the file where it has some, else from the distance of each pixel's colour to
    the background, which must be plain.

    Args:
        video: Frames with straight alpha.
        on_progress: Called with the fraction done before each frame; may raise to stop.

    Raises:
        VideoError: The background is not plain, or the first frame shows nothing else.
    """
    has_mask = video.has_alpha and video.frames[..., 3].min() < OPAQUE
    background = np.zeros(3) if has_mask else _background_color(_unit(video.frames[0, ..., :3]))
    frames = np.empty(video.frames.shape, np.float32)
    for index, picture in enumerate(video.frames):
        on_progress(index / len(frames))
        frame = _unit(picture)
        if has_mask:
            frame[..., :3] *= frame[..., 3:]
            frames[index] = frame
        else:
            frames[index] = _key(frame[..., :3], background)
    area = float((frames[0, ..., 3] > 0.5).mean())
    if area < MIN_AREA:
        raise VideoError(
            "The first used frame of the video shows nothing in front of the background.",
            "Start at a frame in which the object is visible.",
        )
    return frames


def _background_color(frame: np.ndarray) -> np.ndarray:
    """Median colour of the border (sRGB, 0..1)."""
    width = max(2, round(BORDER * min(frame.shape[:2])))
    border = np.concatenate(
        [part.reshape(-1, 3) for part in (frame[:width], frame[-width:], frame[:, :width], frame[:, -width:])]
    )
    color = np.median(border, axis=0)
    spread = np.percentile(np.linalg.norm(_lab(border[None])[0] - _lab(color[None, None])[0], axis=1), 90)
    if spread > PLAIN:
        raise VideoError(
            f"The video's background is not plain: its colours spread over {spread:.0f} Lab units, above {PLAIN:.0f}.",
            "Use a video with one background colour or with an alpha channel.",
        )
    return color


def _key(frame: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Soft mask from the colour distance; colour with the background's share taken out, premultiplied."""
    distance = np.linalg.norm(_lab(frame) - _lab(background[None, None].astype(np.float32)), axis=2)
    alpha = np.clip((distance - INNER) / (OUTER - INNER), 0, 1)
    # Closing fills pinholes where the object happens to have the background's colour.
    alpha = np.maximum(alpha, cv2.morphologyEx(alpha, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)))
    color = np.clip(frame - (1 - alpha[..., None]) * background, 0, alpha[..., None])
    return np.concatenate([color, alpha[..., None]], axis=2).astype(np.float32)


def _unit(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255


def _lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2Lab)
