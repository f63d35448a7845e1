"""A small picture in memory that a panel can draw as an icon, replaced as newer ones come."""

import contextlib
from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np


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
        """Take the picture of a file instead of the present one; a file that is gone already changes nothing."""
        with contextlib.suppress(RuntimeError):
            size, pixels = _pixels(path)
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


def _pixels(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Width and height of a picture, and its premultiplied RGBA values, with which Blender draws icons.

    Raises:
        RuntimeError: Blender cannot read it.
    """
    image = bpy.data.images.load(str(path))
    try:
        width, height = image.size
        pixels = np.empty((width * height, 4), np.float32)
        image.pixels.foreach_get(pixels.reshape(-1))
    finally:
        bpy.data.images.remove(image)
    pixels[:, :3] *= pixels[:, 3:]
    return (width, height), pixels.reshape(-1)
