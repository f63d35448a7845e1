"""A small picture in memory that a panel can draw as an icon, replaced as newer ones come."""

import logging
from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np

from .core.png_file import HEADER_BYTES, picture_size

LOGGER = logging.getLogger(__name__)

MAX_SIDE = 1024
"""Of a picture that is worth decoding, in pixels: a server's has at most 400. 35 kB can hold 6000 x 6000, which keep
Blender's window waiting for 4 to 11 s and take 700 MB."""
MAX_BYTES = 4_000_000


class FramePicture:
    """How the newest frame of a job looks. For the main thread only.

    The pixels come from the file at once, because the file is gone soon, and without Blender's cache of thumbnails,
    which would keep each frame on the disk for good.
    """

    def __init__(self) -> None:
        self._previews: bpy.utils.previews.ImagePreviewCollection | None = None

    @property
    def icon(self) -> int:
        """Identifier of the icon; 0 while there is none. Fit for drawing."""
        if self._previews is None:
            return 0
        return next((preview.icon_id for preview in self._previews.values()), 0)

    def show(self, path: Path) -> None:
        """Take the picture of a file instead of the present one.

        A file that is gone already, or holds no small PNG picture, changes nothing: nobody needs it.
        """
        try:
            _check(path)
            size, pixels = _pixels(path)
        except (OSError, RuntimeError, ValueError) as error:
            LOGGER.info("The picture %s is not shown: %s", path.name, error)
            return
        if self._previews is None:
            self._previews = bpy.utils.previews.new()
        # A name of its own: Blender keeps the texture of an icon that it has drawn once.
        self._previews.clear()
        preview = self._previews.new(path.stem)
        preview.image_size = size
        preview.image_pixels_float.foreach_set(pixels)

    def clear(self) -> None:
        """Give the memory back."""
        if self._previews is not None:
            bpy.utils.previews.remove(self._previews)
            self._previews = None


def _check(path: Path) -> None:
    """Make sure that a file costs little to decode.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no PNG file, or too large.
    """
    with path.open("rb") as file:
        width, height = picture_size(file.read(HEADER_BYTES))
    size = path.stat().st_size
    if max(width, height) > MAX_SIDE or size > MAX_BYTES:
        raise ValueError(f"{width} x {height} pixels in {size:,} bytes are too many")


def _pixels(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Width and height of a picture, and its premultiplied RGBA values, with which Blender draws icons.

    Raises:
        RuntimeError: Blender cannot read it.
    """
    image = bpy.data.images.load(str(path))
    try:
        width, height = image.size
        if not width:
            raise RuntimeError("Blender cannot read it")
        pixels = np.empty((width * height, 4), np.float32)
        image.pixels.foreach_get(pixels.reshape(-1))
    finally:
        bpy.data.images.remove(image)
    pixels[:, :3] *= pixels[:, 3:]
    return (width, height), pixels.reshape(-1)
