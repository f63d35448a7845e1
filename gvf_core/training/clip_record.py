"""A clip to train on, as one file: moving surface points, the mesh of frame 0, and pictures with their cameras."""

import hashlib
import io
import itertools
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image
from safetensors.numpy import save_file

from gvf_core.capture import View
from gvf_core.errors import FileFormatError, RenderError
from gvf_core.rendering.camera import Camera
from gvf_core.tensorfile import FORMAT_VERSION, Expected, read_tensors

FORMAT = "gvf-training-clip"
POINTS = 8192
"""Of the surface, as the official data set has them (CONVENTIONS of the official code, section 9)."""
_PREPARE_AGAIN = "Prepare it again: gvf train prepare"
_EXPECTED: Expected = {
    "points": ("F32", (None, None, 3)),
    "vertices": ("F32", (None, 3)),
    "triangles": ("I32", (None, 3)),
    "world_to_camera": ("F32", (None, 4, 4)),
    "intrinsics": ("F32", (None, 4)),
    "view_frame": ("I32", (None,)),
    "view_role": ("I32", (None,)),
    "png": ("U8", (None,)),
    "png_offsets": ("I64", (None,)),
}
_OPTIONAL: Expected = {"vertex_frames": ("F32", (None, None, 3))}


class ViewRole(IntEnum):
    """What a picture is for."""

    CANONICAL = 0
    """Of frame 0 from all around: features of the voxels, and what the static Gaussians are to look like."""
    CONDITION = 1
    """Of each frame from one camera: the driving video."""
    TARGET = 2
    """Of each frame from cameras of its own: what the moving Gaussians are to look like."""


@dataclass(frozen=True)
class ClipRecord:
    """A clip to train on.

    Attributes:
        name: Unique among the clips of a folder, also its file's name.
        family: Assets that share a body or a rig; the split into training and test goes by it.
        category: Kind of thing.
        origin: "asset" for a clip of the file itself, else the name of the procedural motion.
        fps: Frames per second.
        points: Of the surface, at fixed places of fixed triangles. Unit frame, z up: the box around all frames is
            centred and its longest side 1.
        vertices: Of frame 0, in the same frame.
        triangles: Vertex indices.
        cameras: OpenCV cameras of the pictures, in the same frame.
        view_frame: Frame that each picture shows.
        view_role: Its `ViewRole`.
        pngs: sRGB colour, unlit, and straight alpha; decoded by `view` because few are needed at a time.
        vertex_frames: The vertices in all frames, where they were kept.
    """

    name: str
    family: str
    category: str
    origin: str
    fps: float
    points: Float32[np.ndarray, "frames points 3"]
    vertices: Float32[np.ndarray, "vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    cameras: tuple[Camera, ...]
    view_frame: Int32[np.ndarray, " views"]
    view_role: Int32[np.ndarray, " views"]
    pngs: tuple[bytes, ...]
    vertex_frames: Float32[np.ndarray, "frames vertices 3"] | None = None

    @cached_property
    def digest(self) -> str:
        """Hash of what is learnt from: surface, mesh, pictures and cameras, whatever the clip is called.

        22 MB, the most that a clip has by default, take about 20 ms.
        """
        digest = hashlib.sha256(repr([camera.intrinsics for camera in self.cameras]).encode())
        poses = [camera.world_to_camera for camera in self.cameras]
        for values in (self.points, self.vertices, self.triangles, *poses, self.view_frame, self.view_role):
            digest.update(np.ascontiguousarray(values).tobytes())
        for png in self.pngs:
            digest.update(png)
        return digest.hexdigest()

    def views(self, role: ViewRole, frame: int | None = None) -> list[int]:
        """Indices of the pictures of a role, of one frame or of all, in the order of the file."""
        chosen = self.view_role == role
        if frame is not None:
            chosen = chosen & (self.view_frame == frame)
        return np.flatnonzero(chosen).tolist()

    def view(self, index: int) -> View:
        """A picture with its camera.

        Raises:
            FileFormatError: The picture cannot be decoded or has not the size of its camera.
        """
        camera = self.cameras[index]
        with _open(self.pngs[index], f"Picture {index} of {self.name}") as image:
            rgba: UInt8[np.ndarray, "height width 4"] = np.asarray(image.convert("RGBA"))
        return View(camera, rgba)


def write_clip(folder: Path, record: ClipRecord) -> Path:
    """Write the file of a clip, whole or not at all; returns where."""
    path = folder / f"{record.name}.safetensors"
    sizes = [len(png) for png in record.pngs]
    tensors: dict[str, np.ndarray] = {
        "points": np.ascontiguousarray(record.points, np.float32),
        "vertices": np.ascontiguousarray(record.vertices, np.float32),
        "triangles": np.ascontiguousarray(record.triangles, np.int32),
        "world_to_camera": np.stack([camera.world_to_camera for camera in record.cameras]).astype(np.float32),
        "intrinsics": np.array([camera.intrinsics for camera in record.cameras], np.float32),
        "view_frame": np.ascontiguousarray(record.view_frame, np.int32),
        "view_role": np.ascontiguousarray(record.view_role, np.int32),
        "png": np.frombuffer(b"".join(record.pngs), np.uint8),
        "png_offsets": np.cumsum([0, *sizes]).astype(np.int64),
    }
    if record.vertex_frames is not None:
        tensors["vertex_frames"] = np.ascontiguousarray(record.vertex_frames, np.float32)
    metadata = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "family": record.family,
        "category": record.category,
        "origin": record.origin,
        "fps": repr(record.fps),
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)
    return path


def read_clip(path: Path) -> ClipRecord:
    """Read the file of a clip; its pictures are decoded later.

    Raises:
        FileFormatError: It is not what it should be.
    """
    tensors, metadata = read_tensors(path, FORMAT, _EXPECTED, _OPTIONAL)
    ends = tensors["png_offsets"]
    count = len(ends) - 1
    lengths = {len(tensors[name]) for name in ("world_to_camera", "intrinsics", "view_frame", "view_role")}
    png = tensors["png"]
    if count < 1 or lengths != {count} or ends[0] != 0 or ends[-1] != len(png) or (np.diff(ends) <= 0).any():
        raise FileFormatError(f"{path.name} does not have a camera for every picture.", _PREPARE_AGAIN)
    frames = len(tensors["points"])
    if frames == 0 or not ((tensors["view_frame"] >= 0) & (tensors["view_frame"] < frames)).all():
        raise FileFormatError(f"{path.name} has pictures of frames that it does not have.", _PREPARE_AGAIN)
    moved = tensors.get("vertex_frames")
    if moved is not None and moved.shape != (frames, *tensors["vertices"].shape):
        raise FileFormatError(f"{path.name} does not have all its vertices in all frames.", _PREPARE_AGAIN)
    pngs = tuple(png[begin:end].tobytes() for begin, end in itertools.pairwise(ends.tolist()))
    try:
        cameras = tuple(
            Camera(
                matrix.astype(np.float64), tuple(intrinsics.tolist()), *_size(png, f"Picture {index} of {path.name}")
            )
            for index, (matrix, intrinsics, png) in enumerate(
                zip(tensors["world_to_camera"], tensors["intrinsics"], pngs, strict=True)
            )
        )
        return ClipRecord(
            name=path.stem,
            family=metadata["family"],
            category=metadata["category"],
            origin=metadata["origin"],
            fps=float(metadata["fps"]),
            points=tensors["points"],
            vertices=tensors["vertices"],
            triangles=tensors["triangles"],
            cameras=cameras,
            view_frame=tensors["view_frame"],
            view_role=tensors["view_role"],
            pngs=pngs,
            vertex_frames=tensors.get("vertex_frames"),
        )
    except (KeyError, ValueError, RenderError) as error:
        raise FileFormatError(f"{path.name} does not say what it holds ({error}).", _PREPARE_AGAIN) from error


def _size(png: bytes, what: str) -> tuple[int, int]:
    with _open(png, what) as image:
        return image.size


def _open(png: bytes, what: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(png), formats=["PNG"])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileFormatError(f"{what} is not a readable PNG.", _PREPARE_AGAIN) from error
    return image
