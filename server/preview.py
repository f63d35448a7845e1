"""How the running job's newest frame looks: a small PNG file beside the unfinished result."""

import io
import logging
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

LOGGER = logging.getLogger(__name__)

MAX_PIXELS = 256
"""Of the larger side."""

INTERVAL_SECONDS = 0.3
"""Frames that come faster are left out: nobody could see each of them."""


class PreviewFile:
    """Keeps the newest picture in a file, which is complete or not there; called as `gvf_core.progress.OnPreview`.

    Args:
        path: The PNG file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0

    def __call__(self, frame: int, picture: Float32[np.ndarray, "height width 4"]) -> None:
        """Replace the file, unless that was done a moment ago.

        Args:
            frame: Number of the frame; unused, as frames come in order.
            picture: Premultiplied colour and alpha, 0..1.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + INTERVAL_SECONDS
        keep_picture(self._path, small_png(picture))


def keep_picture(path: Path, png: bytes) -> None:
    """Replace the picture of the newest frame; what cannot be written is no failure of the job."""
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(png)
        partial.replace(path)
    except OSError as error:  # a full disk costs the preview and not the job
        LOGGER.warning("the preview is not written: %s", error)


def small_png(picture: Float32[np.ndarray, "height width 4"]) -> bytes:
    """A PNG file with straight alpha of at most `MAX_PIXELS` a side.

    Args:
        picture: Premultiplied colour and alpha, 0..1.
    """
    alpha = picture[..., 3:]
    straight = np.concatenate([picture[..., :3] / np.maximum(alpha, 1e-6), alpha], axis=-1)
    image = Image.fromarray((np.clip(straight, 0, 1) * 255 + 0.5).astype(np.uint8), "RGBA")
    image.thumbnail((MAX_PIXELS, MAX_PIXELS))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
