"""Clip files: where the vertices of an animated asset are. The format is described in docs/evaluation.md."""

import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

from gvf_core.errors import FileFormatError
from gvf_core.tensorfile import read_tensors

_READ_AGAIN = "Read the clip again."


@dataclass(frozen=True)
class AssetClip:
    """An asset in its own motion.

    Attributes:
        asset: Name of the file it comes from.
        clip: Name of the clip.
        vertices: In the unit frame of frame 0, which is the rest pose; later frames may leave the cube.
        triangles: Vertex indices, the same in all frames.
        object_id: Index into `objects` per vertex.
        objects: Names of the objects.
        world_from_unit: From the unit frame to the scene, metres.
        fps: Frames per second.
        pictures: Lit pictures of the frames, sRGB and straight alpha, if there are any.
    """

    asset: str
    clip: str
    vertices: Float32[np.ndarray, "frames vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    object_id: Int32[np.ndarray, " vertices"]
    objects: tuple[str, ...]
    world_from_unit: Float[np.ndarray, "4 4"]
    fps: float
    pictures: UInt8[np.ndarray, "frames height width 4"] | None = None


def load_clip(path: Path) -> AssetClip:
    """Read a clip file that `gvf_core.blender.assets.read_clips` wrote.

    Raises:
        FileFormatError: It is none.
    """
    tensors, metadata = read_tensors(
        path,
        file_format="gvf-clip",
        expected={
            "vertices": ("F32", (None, None, 3)),
            "triangles": ("I32", (None, 3)),
            "object_id": ("I32", (None,)),
            "world_from_unit": ("F64", (4, 4)),
            "scene_frames": ("F64", (None,)),
        },
    )
    try:
        return AssetClip(
            asset=metadata["asset"],
            clip=metadata["clip"],
            vertices=tensors["vertices"],
            triangles=tensors["triangles"],
            object_id=tensors["object_id"],
            objects=tuple(json.loads(metadata["objects"])),
            world_from_unit=tensors["world_from_unit"],
            fps=float(metadata["fps"]),
            pictures=_pictures(path),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise FileFormatError(f"{path.name} does not say what it holds ({error!r}).", _READ_AGAIN) from error


def _pictures(path: Path) -> UInt8[np.ndarray, "frames height width 4"] | None:
    try:
        tensors = load_file(path)
        if "png" not in tensors:
            return None
        png, ends = tensors["png"].tobytes(), tensors["png_offsets"].tolist()
        files = [png[begin:end] for begin, end in itertools.pairwise(ends)]
        return np.stack([np.asarray(Image.open(io.BytesIO(file), formats=["PNG"]).convert("RGBA")) for file in files])
    except (OSError, SafetensorError, KeyError) as error:
        raise FileFormatError(f"The pictures of {path.name} cannot be read ({error}).", _READ_AGAIN) from error
