"""The captured asset: geometry in the unit frame and unlit views of it. File format in docs/formats.md."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8
from PIL import Image

from gvf_core.errors import CaptureError, FileFormatError, RenderError
from gvf_core.rendering.camera import Camera
from gvf_core.tensorfile import read_tensors

MAX_VIEW_PIXELS = 4096 * 4096
MAX_CAPTURE_PIXELS = 2**28
"""All views together: 1 GB; small PNG files can unpack to any amount."""
CAPTURE_AGAIN = "Capture the asset in Blender again."


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
    tensors, metadata = read_tensors(
        path,
        file_format="gvf-capture",
        expected={
            "vertices": ("F32", (None, 3)),
            "triangles": ("I32", (None, 3)),
            "object_id": ("I32", (None,)),
            "world_from_unit": ("F64", (4, 4)),
            "world_to_camera": ("F32", (None, 4, 4)),
            "intrinsics": ("F32", (None, 4)),
            "png": ("U8", (None,)),
            "png_offsets": ("I64", (None,)),
        },
        optional={"movable": ("F32", (None,))},
    )
    vertices, triangles, object_id = tensors["vertices"], tensors["triangles"], tensors["object_id"]
    try:
        objects = json.loads(metadata["objects"])
    except (KeyError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path.name} does not list its objects.", CAPTURE_AGAIN) from error
    if not isinstance(objects, list) or not all(isinstance(name, str) for name in objects):
        raise FileFormatError(f"The objects of {path.name} are not a list of names.", CAPTURE_AGAIN)
    if len(triangles) == 0:
        raise CaptureError("The captured mesh has no faces.", "Select a mesh object that has faces.")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise CaptureError(f"A triangle refers to a vertex outside 0..{len(vertices) - 1}.", CAPTURE_AGAIN)
    if len(object_id) != len(vertices) or object_id.min() < 0 or object_id.max() >= len(objects):
        raise CaptureError("The object ids do not match the vertices and the object list.", CAPTURE_AGAIN)
    for name in ("vertices", "world_from_unit", "world_to_camera", "intrinsics"):
        if not np.isfinite(tensors[name]).all():
            raise CaptureError(f"{name} holds values that are not finite.", "Check the mesh for broken vertices.")
    if np.abs(vertices).max() > 1.0:
        raise CaptureError(
            f"A vertex lies {np.abs(vertices).max():.3g} from the centre, outside the unit frame.", CAPTURE_AGAIN
        )
    movable = tensors.get("movable")
    if movable is not None and (len(movable) != len(vertices) or not ((movable >= 0) & (movable <= 1)).all()):
        raise CaptureError("The weights of what may move are not one number from 0 to 1 per vertex.", CAPTURE_AGAIN)
    return Capture(
        vertices=vertices,
        triangles=triangles,
        object_id=object_id,
        objects=tuple(objects),
        world_from_unit=tensors["world_from_unit"],
        views=_decode_views(path, tensors),
        movable=movable,
    )


def _decode_views(path: Path, tensors: dict[str, np.ndarray]) -> tuple[View, ...]:
    matrices, intrinsics = tensors["world_to_camera"], tensors["intrinsics"]
    png, offsets = tensors["png"], tensors["png_offsets"]
    count = len(matrices)
    if count == 0:
        raise CaptureError("The capture holds no views.", CAPTURE_AGAIN)
    if len(intrinsics) != count or len(offsets) != count + 1:
        raise FileFormatError(
            f"{path.name} holds {count} cameras, {len(intrinsics)} intrinsics and {len(offsets) - 1} pictures.",
            CAPTURE_AGAIN,
        )
    if offsets[0] != 0 or offsets[-1] != len(png) or (np.diff(offsets) <= 0).any():
        raise FileFormatError(f"The picture offsets of {path.name} are not increasing.", CAPTURE_AGAIN)
    views: list[View] = []
    pixels = 0
    for index in range(count):
        try:
            with Image.open(io.BytesIO(png[offsets[index] : offsets[index + 1]].tobytes()), formats=["PNG"]) as image:
                pixels += image.width * image.height
                if image.width * image.height > MAX_VIEW_PIXELS or pixels > MAX_CAPTURE_PIXELS:
                    raise FileFormatError(
                        f"Picture {index} of {path.name} has {image.width} x {image.height} pixels, "
                        f"all up to it have {pixels}; {MAX_VIEW_PIXELS} and {MAX_CAPTURE_PIXELS} are allowed.",
                        "Capture smaller or fewer views.",
                    )
                rgba = np.asarray(image.convert("RGBA"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise FileFormatError(f"Picture {index} of {path.name} is not a readable PNG.", CAPTURE_AGAIN) from error
        height, width = rgba.shape[:2]
        fx, fy, cx, cy = intrinsics[index].tolist()
        try:
            camera = Camera(matrices[index].astype(np.float64), (fx, fy, cx, cy), width, height)
        except RenderError as error:
            raise CaptureError(
                f"Camera {index} of the capture cannot be used. {error.message}", CAPTURE_AGAIN
            ) from error
        views.append(View(camera, rgba))
    return tuple(views)
