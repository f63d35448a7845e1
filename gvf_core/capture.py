"""The captured asset: geometry in the unit frame and unlit views of it. File format in docs/formats.md."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8
from PIL import Image

from gvf_core.capture_format import CAPTURE_AGAIN, CaptureFile, read_capture_file, unreadable_picture
from gvf_core.errors import CaptureError, RenderError
from gvf_core.rendering.camera import Camera


@dataclass(frozen=True)
class View:
    """One unlit picture of the asset.

    Attributes:
        camera: Where it was taken from, in the unit frame.
        rgba: sRGB colour and straight alpha.
    """

    camera: Camera
    rgba: UInt8[np.ndarray, "height width 4"]


@dataclass(frozen=True)
class Capture:
    """An asset as Blender sees it at one frame.

    Attributes:
        vertices: Evaluated vertices in the unit frame ([-0.5, 0.5]^3, z up).
        triangles: Vertex indices.
        object_id: Index into `objects` per vertex.
        objects: Names of the captured objects.
        world_from_unit: From the unit frame to the scene, metres.
        views: Pictures from cameras around the asset.
        movable: How far each vertex may follow the motion, 0 (not at all) to 1; None where all may.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    object_id: Int32[np.ndarray, " vertices"]
    objects: tuple[str, ...]
    world_from_unit: Float[np.ndarray, "4 4"]
    views: tuple[View, ...]
    movable: Float32[np.ndarray, " vertices"] | None = None


def load_capture(path: Path) -> Capture:
    """Read and validate a capture file.

    Raises:
        FileFormatError: Not a capture file, or a tensor has the wrong type or shape.
        CaptureError: The geometry cannot be animated.
    """
    file = read_capture_file(path)
    return Capture(
        vertices=file.tensors["vertices"],
        triangles=file.tensors["triangles"],
        object_id=file.tensors["object_id"],
        objects=file.objects,
        world_from_unit=file.tensors["world_from_unit"],
        views=tuple(_decode_view(path, file, index) for index in range(len(file.pngs))),
        movable=file.tensors.get("movable"),
    )


def _decode_view(path: Path, file: CaptureFile, index: int) -> View:
    try:
        with Image.open(io.BytesIO(file.pngs[index]), formats=["PNG"]) as image:
            rgba = np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise unreadable_picture(path, index) from error
    height, width = rgba.shape[:2]
    fx, fy, cx, cy = file.tensors["intrinsics"][index].tolist()
    matrix = file.tensors["world_to_camera"][index].astype(np.float64)
    try:
        camera = Camera(matrix, (fx, fy, cx, cy), width, height)
    except RenderError as error:
        raise CaptureError(f"Camera {index} of the capture cannot be used. {error.message}", CAPTURE_AGAIN) from error
    return View(camera, rgba)
