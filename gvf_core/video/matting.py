"""Separating the moving thing from its background."""

from collections.abc import Callable
from importlib.util import find_spec

import cv2
import numpy as np
from jaxtyping import Float32

from gvf_core.errors import VideoError
from gvf_core.models.store import default_store
from gvf_core.settings import Matting
from gvf_core.video.decode import DrivingVideo
from gvf_core.video.rembg_matting import matte

BORDER = 0.03
"""Width of the frame's edge, as a fraction of the smaller side, that is taken to show the background."""
INNER, OUTER = 5.0, 14.0
"""Colour distances (CIE Lab units) at which the mask starts and is full; H.264 noise stays below the first."""
PLAIN = 12.0
"""A background whose border colours spread wider than this (Lab units, 90th percentile) is not plain."""
_NETWORK = "u2net"
OPAQUE = 250
"""An alpha channel (0..255) that never falls below this is no mask."""
MIN_AREA = 0.001
"""Part of the first frame that the object must cover."""


def cut_out(
    video: DrivingVideo, on_progress: Callable[[float], None] = lambda fraction: None, method: Matting = "auto"
) -> Float32[np.ndarray, "frames height width 4"]:
    """Colour premultiplied by alpha, and alpha, 0..1.

    Args:
        video: Frames with straight alpha.
        on_progress: Called with the fraction done before each frame; may raise to stop.
        method: "alpha" takes the file's, "plain" the distance of each pixel's colour to the background, which must be
            plain, "rembg" a network. "auto" takes the first of them that works.

    Raises:
        VideoError: The video does not suit the method, or the first frame shows nothing but background.
        SettingsError: rembg is asked for and not installed.
        WeightsError: The network of rembg is asked for and not installed.
    """
    has_mask = video.has_alpha and int(video.frames[..., 3].min()) < OPAQUE
    if method == "alpha" and not has_mask:
        raise VideoError(
            "The video has no alpha channel with a mask in it.", "Choose another way to cut the object out."
        )
    if method == "alpha" or (method == "auto" and has_mask):
        frames = _from_alpha(video.frames, on_progress)
    elif method == "rembg" or (method == "auto" and not _is_plain(video) and _network_is_installed()):
        frames = _from_network(video.frames, on_progress)
    else:
        background = _background_color(_unit(video.frames[0, ..., :3]))
        frames = _each(video.frames, lambda frame: _key(frame[..., :3], background), on_progress)
    area = float((frames[0, ..., 3] > 0.5).mean())
    if area < MIN_AREA:
        raise VideoError(
            "The first used frame of the video shows nothing in front of the background.",
            "Start at a frame in which the object is visible.",
        )
    return frames


def _each(
    pictures: np.ndarray, convert: Callable[[np.ndarray], np.ndarray], on_progress: Callable[[float], None]
) -> np.ndarray:
    """Every picture, in float, converted to premultiplied colour and alpha."""
    frames = np.empty(pictures.shape, np.float32)
    for index, picture in enumerate(pictures):
        on_progress(index / len(frames))
        frames[index] = convert(_unit(picture))
    return frames


def _from_alpha(pictures: np.ndarray, on_progress: Callable[[float], None]) -> np.ndarray:
    return _each(pictures, _premultiplied, on_progress)


def _premultiplied(frame: np.ndarray) -> np.ndarray:
    frame[..., :3] *= frame[..., 3:]
    return frame


def _network_is_installed() -> bool:
    """Whether both the package and its network are there."""
    return find_spec("rembg") is not None and default_store().find(_NETWORK) is not None


def _from_network(pictures: np.ndarray, on_progress: Callable[[float], None]) -> np.ndarray:
    alpha = matte(pictures[..., :3], default_store().weights_file(_NETWORK), on_progress)
    return _from_alpha(np.concatenate([pictures[..., :3], alpha[..., None]], axis=-1), lambda fraction: None)


def _is_plain(video: DrivingVideo) -> bool:
    try:
        _background_color(_unit(video.frames[0, ..., :3]))
    except VideoError:
        return False
    return True


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
            "Use a video with one background colour or with an alpha channel, or install rembg (docs/models.md).",
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
