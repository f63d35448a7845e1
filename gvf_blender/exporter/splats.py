"""A splat or point-cloud object as a sequence of PLY files, one per scene frame."""

import json
from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..core.drafts import drafts_of
from ..core.errors import SelectionError
from ..core.splat_ply_file import SplatFrame, read_splat_ply, write_splat_ply
from ..importer import PROVENANCE_PROPERTY
from ..importer.compat import assign_action, curve_bags, fcurves_of
from ..importer.gaussians import AMOUNT_INPUT, FRAME_INPUT, OVERLAY_INPUT, modifier_with
from ..importer.materials import COLOR_ATTRIBUTE, OPACITY_ATTRIBUTE, ROTATION_ATTRIBUTE, SCALE_ATTRIBUTE
from ..importer.nodes import has_input, modifier_input_path, set_modifier_input
from ..importer.placement import transform_points
from ..importer.splats import DISPLAY_POINTS, display_of, set_display
from .provenance import provenance_note
from .stage import depsgraph_of, stage

# Relative to its scale, by how much an object's matrix may miss being a rotation with one scale.
_TOLERANCE = 1e-4
# Of the points that show the Gaussians: attribute, property of its values, components.
_SHOWN = (
    ("position", "vector", 3),
    (ROTATION_ATTRIBUTE, "value", 4),
    (SCALE_ATTRIBUTE, "vector", 3),
    (COLOR_ATTRIBUTE, "color", 4),
    (OPACITY_ATTRIBUTE, "value", 1),
)


def export_splats(
    context: bpy.types.Context, thing: bpy.types.Object, path: Path, frames: Sequence[int]
) -> tuple[list[Path], float]:
    """Write "<stem>_<frame>.ply" for every frame, and read them back.

    All Gaussians are written, whatever is displayed, where the object stands, as Blender evaluates them: whether keys,
    an NLA strip, a driver or a hand sets the frame of the animation.

    Args:
        context: Its scene is the one that plays.
        thing: A splat or point-cloud object.
        path: Folder and stem of the files.
        frames: Scene frames.

    Returns:
        The files, and the largest distance in metres between a Gaussian as it is shown and as it was read back.

    Raises:
        SelectionError: The object is not scaled alike in all directions, or its node tree shows no Gaussians.
        FileError: A file cannot be written.
    """
    note = f"{PROVENANCE_PROPERTY} {json.dumps(provenance_note(thing))}"
    paths = sequence_paths(path, frames)
    error = 0.0
    with stage(context, (), frames) as scene, drafts_of(paths) as drafts:
        points = _copy_as_points(thing)
        scene.collection.objects.link(points)
        for frame, draft in zip(frames, drafts, strict=True):
            scene.frame_set(frame)
            splats = _shown(scene, points, thing.name)
            write_splat_ply(draft, splats, [note])
            read = read_splat_ply(draft)
            error = max(error, float(np.linalg.norm(read.positions - splats.positions, axis=1).max()))
    return paths, error


def sequence_paths(path: Path, frames: Sequence[int]) -> list[Path]:
    """The files of a sequence, one per scene frame."""
    return [path.with_name(f"{path.stem}_{frame:04d}.ply") for frame in frames]


def _copy_as_points(thing: bpy.types.Object) -> bpy.types.Object:
    """A copy, with the same data and animation, that shows all of its Gaussians as points in their own colors."""
    points = thing.copy()
    modifier = modifier_with(points, FRAME_INPUT)
    _take_off_display_keys(points, modifier)
    points.hide_viewport = False
    modifier.show_viewport = True
    if display_of(modifier) is not None:
        set_display(modifier, DISPLAY_POINTS)
    for name, value in ((AMOUNT_INPUT, 1.0), (OVERLAY_INPUT, 0.0)):
        if has_input(modifier, name):
            set_modifier_input(modifier, name, value)
    return points


def _take_off_display_keys(points: bpy.types.Object, modifier: bpy.types.NodesModifier) -> None:
    """Leave a copy only the keys and drivers that move it or set its frame."""
    animation = points.animation_data
    if animation is None:
        return
    frame = modifier_input_path(modifier, FRAME_INPUT)
    own = modifier.path_from_id()

    def is_display(curve: bpy.types.FCurve) -> bool:
        return curve.data_path.startswith("hide_") or (
            curve.data_path.startswith(own) and not curve.data_path.startswith(frame)
        )

    if animation.action is not None and any(map(is_display, fcurves_of(points))):
        assign_action(points, animation.action.copy())
        for bag in curve_bags(animation.action, getattr(animation, "action_slot", None)):
            for curve in filter(is_display, list(bag.fcurves)):
                bag.fcurves.remove(curve)
    for driver in filter(is_display, list(animation.drivers)):
        animation.drivers.remove(driver)


def _shown(scene: bpy.types.Scene, points: bpy.types.Object, name: str) -> SplatFrame:
    """The Gaussians of the current frame in the world."""
    for instance in depsgraph_of(scene).object_instances:
        if instance.object.original == points and instance.object.type == "POINTCLOUD":
            return _read(instance.object.data, instance.matrix_world, name)
    raise _nothing_shown(name)


def _read(cloud: bpy.types.PointCloud, matrix: Matrix, name: str) -> SplatFrame:
    values = {}
    for attribute, prop, components in _SHOWN:
        found = cloud.attributes.get(attribute)
        if found is None or len(found.data) == 0:
            raise _nothing_shown(name)
        values[attribute] = np.empty((len(found.data), components), np.float32)
        found.data.foreach_get(prop, values[attribute].ravel())
    rotation, scale = _rotation_and_scale(name, matrix)
    return SplatFrame(
        positions=transform_points(np.array(matrix, np.float64), values["position"].astype(np.float64)),
        rotations=_product(rotation, values[ROTATION_ATTRIBUTE].astype(np.float64)),
        scales=scale * values[SCALE_ATTRIBUTE],
        colors=values[COLOR_ATTRIBUTE][:, :3],
        opacities=np.clip(values[OPACITY_ATTRIBUTE][:, 0], 0, 1),
    )


def _nothing_shown(name: str) -> SelectionError:
    return SelectionError(
        f"{name!r} shows no Gaussians: its node tree was changed, or its points were deleted.",
        "Import the result again.",
    )


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


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The quaternion product of one rotation [4] with many [N, 4], (w, x, y, z)."""
    w, vector = first[0], first[1:]
    real = w * second[:, :1] - second[:, 1:] @ vector[:, None]
    imaginary = w * second[:, 1:] + second[:, :1] * vector + np.cross(vector, second[:, 1:])
    return np.concatenate([real, imaginary], axis=1)
