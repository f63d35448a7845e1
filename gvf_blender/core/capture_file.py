"""Writing capture files: the asset's geometry and its unlit views. The format is described in docs/formats.md."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .safetensors_file import write_tensors

_FORMAT = "gvf-capture"
_VERSION = "1"


def write_capture(
    path: Path,
    *,
    vertices: np.ndarray,
    triangles: np.ndarray,
    object_id: np.ndarray,
    objects: Sequence[str],
    world_from_unit: np.ndarray,
    world_to_camera: np.ndarray,
    intrinsics: np.ndarray,
    pngs: Sequence[bytes],
    movable: np.ndarray | None = None,
) -> None:
    """Write one capture; the file appears complete or not at all.

    Args:
        path: File to write.
        vertices: [V, 3] in the unit frame, objects one after another.
        triangles: [F, 3] indices into `vertices`.
        object_id: [V] index into `objects`.
        objects: Names of the captured objects.
        world_from_unit: [4, 4] from the unit frame to the scene, metres.
        world_to_camera: [C, 4, 4] from the unit frame to OpenCV cameras.
        intrinsics: [C, 4] fx, fy, cx, cy as fractions of the image's width and height.
        pngs: C PNG files: RGBA, 8 bit, sRGB, straight alpha, unlit.
        movable: [V] how far each vertex may follow the motion, 0..1; None where all may.

    Raises:
        FileError: The file cannot be written, for example because the disk is full.
    """
    if not len(pngs) == len(world_to_camera) == len(intrinsics):
        raise ValueError(f"{len(pngs)} views, {len(world_to_camera)} cameras and {len(intrinsics)} intrinsics")
    if len(object_id) != len(vertices):
        raise ValueError(f"{len(object_id)} object ids for {len(vertices)} vertices")
    tensors: dict[str, np.ndarray] = {
        "vertices": np.asarray(vertices, np.float32),
        "triangles": np.asarray(triangles, np.int32),
        "object_id": np.asarray(object_id, np.int32),
        "world_from_unit": np.asarray(world_from_unit, np.float64),
        "world_to_camera": np.asarray(world_to_camera, np.float32),
        "intrinsics": np.asarray(intrinsics, np.float32),
        "png": np.frombuffer(b"".join(pngs), np.uint8),
        "png_offsets": np.cumsum([0, *map(len, pngs)], dtype=np.int64),
    }
    if movable is not None:
        if len(movable) != len(vertices):
            raise ValueError(f"{len(movable)} weights for {len(vertices)} vertices")
        tensors["movable"] = np.asarray(movable, np.float32)
    write_tensors(path, tensors, {"format": _FORMAT, "version": _VERSION, "objects": json.dumps(list(objects))})
