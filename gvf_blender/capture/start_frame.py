"""The picture that an image-to-video tool starts from: the asset alone, unlit, before a plain background.

The camera is the one that the server assumes for a video with a given view: it looks at the middle of the asset from
azimuth and elevation, and the lens is shifted so that the asset stands in the middle of the picture.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import bpy
import numpy as np

from ..artist_render import refuse_beside_render
from ..core.drafts import drafts_of
from ..core.errors import FileError, SettingsError
from .folder import temporary_folder
from .geometry import evaluated_pieces, world_from_unit
from .scene import Lens, UnlitScene
from .scratch import Scratch
from .selection import surface_objects

# How much of the width or height the asset fills at most; the motion needs some room.
_FILLED = 0.7
# The server's own limits of the camera's distance.
_NEAREST, _FARTHEST = 1.2, 20.0
# Blender's own limits of a picture's sides; what lies outside it would bring inside, and say nothing.
_SMALLEST, _LARGEST = 4, 65536


@dataclass(frozen=True)
class VideoView:
    """From where a video sees the asset, in degrees.

    Attributes:
        azimuth: 0 is Blender's front view, 90 the right one.
        elevation: Above the horizon, within (-90, 90).
        fov: Across the larger side of the frame.
    """

    azimuth: float = 0.0
    elevation: float = 0.0
    fov: float = 49.1


@dataclass(frozen=True)
class StartFrameOptions:
    """How the picture is rendered.

    Attributes:
        width: Pixels.
        height: Pixels.
        background: Colour behind the asset, sRGB, 0..1.
        samples: Cycles samples per pixel.
    """

    width: int = 1024
    height: int = 1024
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    samples: int = 16

    def __post_init__(self) -> None:
        """Check size and colour.

        Raises:
            SettingsError: Something has the wrong type or lies outside its range.
        """
        for name in ("width", "height"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not _SMALLEST <= value <= _LARGEST:
                raise SettingsError(
                    f"The {name} of the start frame is {value!r}.",
                    f"Choose a whole number of pixels from {_SMALLEST} to {_LARGEST}.",
                )
        if not self._has_color():
            raise SettingsError(
                f"The background of the start frame is {self.background!r}.", "Choose three numbers from 0 to 1."
            )

    def _has_color(self) -> bool:
        try:
            parts = tuple(self.background)
        except TypeError:
            return False
        return len(parts) == 3 and all(isinstance(part, Real) and 0 <= part <= 1 for part in parts)


def render_start_frame(
    context: bpy.types.Context,
    objects: Sequence[bpy.types.Object],
    path: Path,
    view: VideoView,
    options: StartFrameOptions = StartFrameOptions(),
) -> Path:
    """Render the objects as they are at the current frame; an existing file is replaced, unless this fails.

    Args:
        context: Gives the view layer and the frame.
        objects: The selected objects, as for a capture.
        path: PNG file to write.
        view: From where.
        options: Size and background.

    Returns:
        `path`.

    Raises:
        SelectionError: The objects cannot be captured.
        RenderError: Blender cannot render here.
        FileError: The file cannot be written.
    """
    refuse_beside_render("rendered")
    if not path.parent.is_dir():
        raise FileError(f"There is no folder {path.parent} for the start frame.", "Choose an existing folder.")
    scratch = Scratch()
    folder: Path | None = None
    try:
        pieces = evaluated_pieces(context, surface_objects(context, objects), objects, scratch)
        unit_from_world = np.linalg.inv(world_from_unit(pieces))
        vertices = np.concatenate([piece.vertices for piece in pieces]) @ unit_from_world[:3, :3].T
        world_to_camera, lens = framing(vertices + unit_from_world[:3, 3], view, options.width, options.height)
        scene = UnlitScene(context, pieces, unit_from_world, options.width, options.samples, scratch)
        scene.look_through(lens)
        scene.stand_before(_linear(options.background), scratch)
        folder = temporary_folder()
        png = scene.render(world_to_camera, folder / "start.png")
    finally:
        scratch.remove()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    with drafts_of([path]) as (draft,):
        try:
            draft.write_bytes(png)
        except OSError as error:
            raise FileError(
                f"The start frame {path} could not be written ({error.strerror}).", "Choose another folder."
            ) from error
    return path


def framing(vertices: np.ndarray, view: VideoView, width: int, height: int) -> tuple[np.ndarray, Lens]:
    """Camera matrix and lens under which vertices stand in the middle of the picture.

    Args:
        vertices: In the unit frame, [V, 3].
        view: From where.
        width: Pixels.
        height: Pixels.

    Returns:
        World to OpenCV camera, float64 [4, 4], and the lens.
    """
    rotation = _towards_origin(view)
    in_camera = vertices @ rotation.T
    larger = max(width, height)
    focal = 0.5 * larger / math.tan(math.radians(view.fov) / 2)
    room = _FILLED * np.array([width, height])

    def bounds(distance: float) -> tuple[np.ndarray, np.ndarray]:
        pixels = focal * in_camera[:, :2] / (in_camera[:, 2:] + distance)
        return pixels.min(axis=0), pixels.max(axis=0)

    low, high = _NEAREST, _FARTHEST
    # Halving 40 times leaves less than a thousandth of a pixel.
    for _ in range(40):
        middle = (low + high) / 2
        first, last = bounds(middle)
        low, high = (low, middle) if (last - first <= room).all() else (middle, high)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[2, 3] = high
    first, last = bounds(high)
    center = (first + last) / 2 / larger
    return matrix, Lens(math.radians(view.fov), (float(center[0]), float(-center[1])), width, height)


def _towards_origin(view: VideoView) -> np.ndarray:
    azimuth, elevation = math.radians(view.azimuth), math.radians(view.elevation)
    right = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    forward = np.array(
        [
            -math.sin(azimuth) * math.cos(elevation),
            math.cos(azimuth) * math.cos(elevation),
            -math.sin(elevation),
        ]
    )
    return np.stack([right, np.cross(forward, right), forward])


def _linear(color: Sequence[float]) -> tuple[float, ...]:
    """From sRGB."""
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color)
