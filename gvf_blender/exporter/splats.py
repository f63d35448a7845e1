"""A splat or point-cloud object as a sequence of PLY files, one per scene frame."""

import json
from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..core.errors import SelectionError
from ..core.splat_ply_file import SplatFrame, read_splat_ply, write_splat_ply
from ..importer import PROVENANCE_PROPERTY
from ..importer.applied_transform import applied_transform
from ..importer.in_place import is_in_place
from ..importer.placement import transform_points
from ..importer.playback import stored_frames
from ..importer.retiming import playback_of
from .provenance import provenance_note
from .stage import stage

# Relative to its scale, by how much an object's matrix may miss being a rotation with one scale.
_TOLERANCE = 1e-4


def export_splats(
    context: bpy.types.Context, thing: bpy.types.Object, path: Path, frames: Sequence[int]
) -> tuple[list[Path], float]:
    """Write "<stem>_<frame>.ply" for every frame, and read them back.

    All Gaussians are written, whatever is displayed, where the object stands.

    Args:
        context: Its scene is the one that plays.
        thing: A splat or point-cloud object.
        path: Folder and stem of the files.
        frames: Scene frames.

    Returns:
        The files, and the largest error of a position in metres.

    Raises:
        SelectionError: The object is not scaled alike in all directions.
        FileError: A file cannot be written.
    """
    placements = _placements(context, thing, frames)
    playback = playback_of(thing)
    tracks = {name: stored_frames(thing.data, name) for name in ("position", "rotation", "scale", "color", "opacity")}
    note = f"{PROVENANCE_PROPERTY} {json.dumps(provenance_note(thing))}"
    paths, error = [], 0.0
    for frame, matrix in zip(frames, placements, strict=True):
        rotation, scale = _rotation_and_scale(thing.name, Matrix(matrix))
        moment = 0.0 if playback is None else playback.curve.evaluate(frame)
        positions = _mixed(tracks["position"], moment)
        if is_in_place(thing):
            way = positions.mean(axis=0) - tracks["position"][0].astype(np.float64).mean(axis=0)
            positions = positions - way * (1, 1, 0)
        splats = SplatFrame(
            positions=transform_points(matrix, positions),
            rotations=_product(rotation, _mixed_rotations(tracks["rotation"], moment)),
            scales=scale * _mixed(tracks["scale"], moment),
            colors=_mixed(tracks["color"], moment),
            opacities=np.clip(_mixed(tracks["opacity"], moment), 0, 1),
        )
        paths.append(path.with_name(f"{path.stem}_{frame:04d}.ply"))
        write_splat_ply(paths[-1], splats, [note])
        read = read_splat_ply(paths[-1])
        error = max(error, float(np.linalg.norm(read.positions - splats.positions, axis=1).max()))
    return paths, error


def _placements(context: bpy.types.Context, thing: bpy.types.Object, frames: Sequence[int]) -> list[np.ndarray]:
    """From the stored tracks to the world at every frame, float64 [4, 4]: an object may be moved by keys."""
    applied = applied_transform(thing.data)
    with stage(context, [thing], frames) as scene:
        found = []
        for frame in frames:
            scene.frame_set(frame)
            evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
            found.append(np.array(evaluated.matrix_world, np.float64) @ applied)
    return found


def _rotation_and_scale(name: str, matrix: Matrix) -> tuple[np.ndarray, float]:
    """An object's rotation as a quaternion (w, x, y, z), and its scale."""
    _, rotation, scales = matrix.decompose()
    linear = np.array(matrix.to_3x3(), np.float64)
    scale = float(np.mean(scales))
    expected = scale * np.array(rotation.to_matrix(), np.float64)
    if scale <= 0 or not np.allclose(linear, expected, atol=_TOLERANCE * abs(scale)):
        raise SelectionError(
            f"{name!r} is scaled differently along its axes, which Gaussians in PLY files cannot follow.",
            "Give it the same positive scale in x, y and z.",
        )
    return np.array(rotation, np.float64), scale


def _neighbors(values: np.ndarray, moment: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The stored frames before and after a moment, and the weight of the later one."""
    moment = min(max(moment, 0.0), len(values) - 1)
    earlier = int(moment)
    later = min(earlier + 1, len(values) - 1)
    return values[earlier].astype(np.float64), values[later].astype(np.float64), moment - earlier


def _mixed(values: np.ndarray, moment: float) -> np.ndarray:
    earlier, later, weight = _neighbors(values, moment)
    return earlier if weight == 0 else (1 - weight) * earlier + weight * later


def _mixed_rotations(values: np.ndarray, moment: float) -> np.ndarray:
    """Along the shorter arc, as the node trees do."""
    earlier, later, weight = _neighbors(values, moment)
    cosine = (earlier * later).sum(axis=1, keepdims=True)
    later, cosine = np.where(cosine < 0, -later, later), np.abs(cosine)
    angle = np.arccos(np.clip(cosine, -1, 1))
    # Rotations closer than this are mixed linearly: the sine would be zero.
    first, second = (
        np.where(angle < 1e-6, share, np.sin(share * angle) / np.maximum(np.sin(angle), 1e-12))
        for share in (1 - weight, weight)
    )
    mixed = first * earlier + second * later
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The quaternion product of one rotation [4] with many [N, 4], (w, x, y, z)."""
    w, vector = first[0], first[1:]
    real = w * second[:, :1] - second[:, 1:] @ vector[:, None]
    imaginary = w * second[:, 1:] + second[:, :1] * vector + np.cross(vector, second[:, 1:])
    return np.concatenate([real, imaginary], axis=1)
