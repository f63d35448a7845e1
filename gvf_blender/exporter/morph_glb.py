"""GLB with one morph target per frame: the format of web viewers and game engines.

A motion is absolute shape keys or a modifier, neither of which glTF knows, so a copy of the mesh gets relative shape
keys whose weights rise and fall one after another. Where the object goes, its node goes, as engines want their roots.
"""

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..core.errors import FileError, SelectionError
from ..core.glb_file import add_asset_extras, read_morph_mesh
from ..importer import PROVENANCE_PROPERTY
from ..importer.placement import transform_points
from ..material_slots import replace_materials, shown_materials
from ..operator_reason import reason_of
from .provenance import provenance_note
from .stage import depsgraph_of, operators_in
from .vertex_tracks import VertexTracks


def export_glb(
    scene: bpy.types.Scene, things: Sequence[bpy.types.Object], path: Path, tracks: Sequence[VertexTracks]
) -> float:
    """Write objects as they are at the first frame, with their materials, and their motion as morph targets.

    Args:
        scene: The current scene, which shows only the objects.
        things: The objects.
        path: The file.
        tracks: Where their vertices are.

    Returns:
        The largest distance in metres between the tracks and what is in the file.

    Raises:
        SelectionError: An object has no faces.
        FileError: The file cannot be written.
    """
    scene.frame_set(tracks[0].frames[0])
    copies = [_add_copy(scene, *each) for each in zip(things, tracks, strict=True)]
    for thing in things:
        scene.collection.objects.unlink(thing)
    # The copies have a key for every frame as it is shown, from 0 on, as Blender's frame ranges do not begin before it.
    scene.render.frame_map_old = scene.render.frame_map_new = 100
    scene.frame_start, scene.frame_end = 0, len(tracks[0].frames) - 1
    with operators_in(scene):
        _write(path)
    error = max(_error(path, copy.name, each) for copy, each in zip(copies, tracks, strict=True))
    names = {
        "nodes": {copy.name: thing.name for copy, thing in zip(copies, things, strict=True)},
        "meshes": {copy.data.name: thing.data.name for copy, thing in zip(copies, things, strict=True)},
    }
    add_asset_extras(path, {PROVENANCE_PROPERTY: provenance_note(things[0])}, names)
    return error


def _add_copy(scene: bpy.types.Scene, thing: bpy.types.Object, tracks: VertexTracks) -> bpy.types.Object:
    local = _relative(tracks).astype(np.float32)
    depsgraph = depsgraph_of(scene)
    evaluated = thing.evaluated_get(depsgraph)
    mesh = bpy.data.meshes.new_from_object(evaluated, preserve_all_data_layers=True, depsgraph=depsgraph)
    if not mesh.polygons:
        raise SelectionError(
            f"{thing.name!r} has no faces, and GLB files hold nothing else.", "Choose Alembic, USD or PC2."
        )
    replace_materials(mesh, [material and material.original for material in shown_materials(evaluated)])
    copy = bpy.data.objects.new(thing.name, mesh)
    copy.matrix_world = _node_matrix(tracks)
    scene.collection.objects.link(copy)
    copy.shape_key_clear()
    mesh.vertices.foreach_set("co", local[0].ravel())
    copy.shape_key_add(name="Basis", from_mix=False)
    for index, (frame, positions) in enumerate(zip(tracks.frames, local, strict=True)):
        if index == 0:
            continue
        block = copy.shape_key_add(name=f"Frame {frame}", from_mix=False)
        block.points.foreach_set("co", positions.ravel())
        for other, weight in ((index - 1, 0.0), (index, 1.0), (index + 1, 0.0)):
            if other < len(local):
                block.value = weight
                block.keyframe_insert("value", frame=other)
    if np.ptp(tracks.places, axis=0).any():
        for index, place in enumerate(tracks.places):
            copy.location = place
            copy.keyframe_insert("location", frame=index)
    return copy


def _relative(tracks: VertexTracks) -> np.ndarray:
    """Positions relative to where the object stands, turned and scaled as its node is, [T, V, 3]."""
    way = tracks.places - tracks.places[0]
    return transform_points(np.linalg.inv(_node_matrix(tracks)), tracks.world - way[:, None])


def _node_matrix(tracks: VertexTracks) -> Matrix:
    """Of the object at the first frame, as far as a node can have it: not sheared."""
    return Matrix.LocRotScale(*Matrix(tracks.first_matrix).decompose())


def _write(path: Path) -> None:
    options = {
        "export_format": "GLB",
        "use_active_scene": True,
        "export_morph_normal": False,
        "export_animation_mode": "ACTIVE_ACTIONS",
        "export_force_sampling": True,
        "export_frame_range": True,
        "export_anim_slide_to_zero": True,
        "export_optimize_animation_size": False,
        "export_try_sparse_sk": False,
        "export_skins": False,
    }
    known = bpy.ops.export_scene.gltf.get_rna_type().properties.keys()
    try:
        outcome = bpy.ops.export_scene.gltf(
            filepath=str(path), **{name: value for name, value in options.items() if name in known}
        )
    except (RuntimeError, OSError) as error:
        raise FileError(f"Blender could not write {path} ({reason_of(error)}).", "Choose another folder.") from error
    if "FINISHED" not in outcome:
        raise FileError(f"Blender could not write {path}.", "Choose another folder.")


def _error(path: Path, node: str, tracks: VertexTracks) -> float:
    """Follow every vertex of the file, of which the exporter makes several at seams, to the one that it came from."""
    local = _relative(tracks).astype(np.float32)
    read = read_morph_mesh(path, node)
    if len(read.times) != len(local):
        raise FileError(
            f"{path} has {len(read.times)} frames instead of {len(local)}.", "Please report this with the .blend file."
        )
    expected = _gltf(local)
    candidates = _same_places(expected[0], read.base)
    found = np.stack([read.at_key(index) for index in range(len(local))])
    linear = np.array(_node_matrix(tracks))[:3, :3]
    places = (_blender(read.places) - tracks.places)[:, None]
    # Vertices that coincide at first may part later; whichever of them fits is the one.
    distances = [
        np.linalg.norm(_blender(found - expected[:, choice]) @ linear.T + places, axis=-1).max(axis=0)
        for choice in candidates
    ]
    return float(np.min(distances, axis=0).max())


def _same_places(known: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
    """For points that are among known ones: indices of the known points there, as many arrays as coincide at most.

    Raises:
        FileError: A point is at none of the known places.
    """
    places, inverse = np.unique(np.concatenate([known, asked]), axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    known_place, asked_place = inverse[: len(known)], inverse[len(known) :]
    order = np.argsort(known_place, kind="stable")
    starts = np.searchsorted(known_place[order], np.arange(len(places)))
    ends = np.searchsorted(known_place[order], np.arange(len(places)), side="right")
    if (ends[asked_place] == starts[asked_place]).any():
        raise FileError(
            "The GLB file holds vertices that the mesh has not.", "Please report this with the .blend file."
        )
    most = int((ends - starts).max())
    return [order[np.minimum(starts[asked_place] + step, ends[asked_place] - 1)] for step in range(most)]


def _gltf(points: np.ndarray) -> np.ndarray:
    """Blender's z up to glTF's y up."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def _blender(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)
