"""The tensors of a capture file, checked without torch and without unpacking pictures. Format in docs/formats.md."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gvf_core.errors import CaptureError, FileFormatError
from gvf_core.tensorfile import Expected, read_tensors

MAX_VIEW_PIXELS = 4096 * 4096
MAX_CAPTURE_PIXELS = 2**28
"""All views together: 1 GB; small PNG files can unpack to any amount."""
CAPTURE_AGAIN = "Capture the asset in Blender again."
SIMILARITY_TOLERANCE = 1e-4
"""As that of the extension, which refuses results that a sheared or empty frame would be of."""

_EXPECTED: Expected = {
    "vertices": ("F32", (None, 3)),
    "triangles": ("I32", (None, 3)),
    "object_id": ("I32", (None,)),
    "world_from_unit": ("F64", (4, 4)),
    "world_to_camera": ("F32", (None, 4, 4)),
    "intrinsics": ("F32", (None, 4)),
    "png": ("U8", (None,)),
    "png_offsets": ("I64", (None,)),
}


@dataclass(frozen=True)
class CaptureFile:
    """What a capture file holds.

    Attributes:
        tensors: By name.
        objects: Names of the captured objects.
        pngs: The pictures as they are in the file.
        pixels: Of all pictures together.
    """

    tensors: dict[str, np.ndarray]
    objects: tuple[str, ...]
    pngs: tuple[bytes, ...]
    pixels: int


def read_capture_file(path: Path) -> CaptureFile:
    """Read a capture file and check everything but the insides of its pictures.

    Raises:
        FileFormatError: Not a capture file, or a tensor has the wrong type or shape.
        CaptureError: The geometry cannot be animated.
    """
    tensors, metadata = read_tensors(path, "gvf-capture", _EXPECTED, {"movable": ("F32", (None,))})
    objects = _objects(path, metadata)
    _check_geometry(tensors, len(objects))
    pngs = _pngs(path, tensors)
    return CaptureFile(tensors, objects, pngs, _check_pixels(path, pngs))


def _objects(path: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    try:
        objects = json.loads(metadata["objects"])
    except (KeyError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path.name} does not list its objects.", CAPTURE_AGAIN) from error
    if not isinstance(objects, list) or not all(isinstance(name, str) for name in objects):
        raise FileFormatError(f"The objects of {path.name} are not a list of names.", CAPTURE_AGAIN)
    return tuple(objects)


def _check_geometry(tensors: dict[str, np.ndarray], objects: int) -> None:
    vertices, triangles, object_id = tensors["vertices"], tensors["triangles"], tensors["object_id"]
    if len(triangles) == 0:
        raise CaptureError("The captured mesh has no faces.", "Select a mesh object that has faces.")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise CaptureError(f"A triangle refers to a vertex outside 0..{len(vertices) - 1}.", CAPTURE_AGAIN)
    if len(object_id) != len(vertices) or object_id.min() < 0 or object_id.max() >= objects:
        raise CaptureError("The object ids do not match the vertices and the object list.", CAPTURE_AGAIN)
    for name in ("vertices", "world_from_unit", "world_to_camera", "intrinsics"):
        if not np.isfinite(tensors[name]).all():
            raise CaptureError(f"{name} holds values that are not finite.", "Check the mesh for broken vertices.")
    _check_placement(tensors["world_from_unit"])
    if np.abs(vertices).max() > 1.0:
        raise CaptureError(
            f"A vertex lies {np.abs(vertices).max():.3g} from the centre, outside the unit frame.", CAPTURE_AGAIN
        )
    movable = tensors.get("movable")
    if movable is not None and (len(movable) != len(vertices) or not ((movable >= 0) & (movable <= 1)).all()):
        raise CaptureError("The weights of what may move are not one number from 0 to 1 per vertex.", CAPTURE_AGAIN)


def _check_placement(world_from_unit: np.ndarray) -> None:
    linear = world_from_unit[:3, :3]
    scale = np.cbrt(max(np.linalg.det(linear), 0.0)) ** 2
    is_similarity = scale > 0 and np.allclose(linear.T @ linear, scale * np.eye(3), atol=SIMILARITY_TOLERANCE * scale)
    if not is_similarity or not np.array_equal(world_from_unit[3], (0, 0, 0, 1)):
        raise CaptureError("world_from_unit is not a rotation, one scale and a translation.", CAPTURE_AGAIN)


def _pngs(path: Path, tensors: dict[str, np.ndarray]) -> tuple[bytes, ...]:
    png, offsets = tensors["png"], tensors["png_offsets"]
    count = len(tensors["world_to_camera"])
    if count == 0:
        raise CaptureError("The capture holds no views.", CAPTURE_AGAIN)
    if len(tensors["intrinsics"]) != count or len(offsets) != count + 1:
        raise FileFormatError(
            f"{path.name} holds {count} cameras, {len(tensors['intrinsics'])} intrinsics and "
            f"{len(offsets) - 1} pictures.",
            CAPTURE_AGAIN,
        )
    if offsets[0] != 0 or offsets[-1] != len(png) or (np.diff(offsets) <= 0).any():
        raise FileFormatError(f"The picture offsets of {path.name} are not increasing.", CAPTURE_AGAIN)
    return tuple(png[offsets[index] : offsets[index + 1]].tobytes() for index in range(count))


def _check_pixels(path: Path, pngs: tuple[bytes, ...]) -> int:
    pixels = 0
    for index, png in enumerate(pngs):
        try:
            with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
                width, height = image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise unreadable_picture(path, index) from error
        pixels += width * height
        if width * height > MAX_VIEW_PIXELS or pixels > MAX_CAPTURE_PIXELS:
            raise FileFormatError(
                f"Picture {index} of {path.name} has {width} x {height} pixels, "
                f"all up to it have {pixels}; {MAX_VIEW_PIXELS} and {MAX_CAPTURE_PIXELS} are allowed.",
                "Capture smaller or fewer views.",
            )
    return pixels


def unreadable_picture(path: Path, index: int) -> FileFormatError:
    """A picture that cannot be unpacked."""
    return FileFormatError(f"Picture {index} of {path.name} is not a readable PNG.", CAPTURE_AGAIN)
