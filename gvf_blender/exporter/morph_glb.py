"""GLB with one morph target per frame: the format of web viewers and game engines.

A motion is absolute shape keys or a modifier, neither of which glTF knows. Blender writes a copy of the mesh as it is
at the first frame, which then gets the targets. Where the object goes, its node goes, as engines want their roots.
"""

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..core.errors import FileError, SelectionError
from ..core.glb_file import GlbFile, read_morph_mesh
from ..core.glb_morphs import MorphMotion, add_morphs, node_of, take_attribute
from ..importer import PROVENANCE_PROPERTY
from ..importer.placement import transform_points
from ..importer.retiming import scene_fps
from ..material_slots import replace_materials, shown_materials
from ..operator_reason import reason_of
from .provenance import provenance_note
from .stage import depsgraph_of, operators_in
from .vertex_tracks import VertexTracks

# The exporter writes attributes that begin with an underscore.
_SOURCE = "_gvf_vertex"
_REPORT = "Please report this with the .blend file."


def export_glb(
    scene: bpy.types.Scene, things: Sequence[bpy.types.Object], path: Path, tracks: Sequence[VertexTracks]
) -> float:
    """Write objects as they are first shown, with their materials, and their motion as morph targets.

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
    motions = [_motion(each, scene_fps(scene)) for each in tracks]
    copies = [_add_copy(scene, *each) for each in zip(things, tracks, motions, strict=True)]
    for thing in things:
        scene.collection.objects.unlink(thing)
    with operators_in(scene):
        _write_still(path)
    nodes, sources = _set_in_motion(path, things, copies, motions)
    return max(map(_error, [path] * len(nodes), nodes, sources, motions, tracks))


def _set_in_motion(
    path: Path,
    things: Sequence[bpy.types.Object],
    copies: Sequence[bpy.types.Object],
    motions: Sequence[MorphMotion],
) -> tuple[list[int], list[np.ndarray]]:
    """Give the still file targets, names and a note.

    Returns:
        The nodes, and which vertex of the mesh each of their vertices is.
    """
    file = GlbFile.read(path)
    try:
        nodes = [node_of(file, copy.name) for copy in copies]
        sources = [take_attribute(file, node, _SOURCE.upper()) for node in nodes]
        for node, source, motion, thing in zip(nodes, sources, motions, things, strict=True):
            add_morphs(file, node, source, motion)
            named = file.content["nodes"][node]
            named["name"], file.content["meshes"][named["mesh"]]["name"] = thing.name, thing.data.name
        extras = file.content["asset"].setdefault("extras", {})
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise FileError(f"Blender wrote another mesh into {path} than it was given ({error!r}).", _REPORT) from error
    extras[PROVENANCE_PROPERTY] = provenance_note(things[0])
    file.write(path)
    return nodes, sources


def _add_copy(
    scene: bpy.types.Scene, thing: bpy.types.Object, tracks: VertexTracks, motion: MorphMotion
) -> bpy.types.Object:
    scene.frame_set(tracks.frames[tracks.shown.argmax()])
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
    mesh.vertices.foreach_set("co", _blender(motion.positions[0]).ravel())
    mesh.update()
    source = mesh.attributes.new(_SOURCE, "FLOAT", "POINT")
    source.data.foreach_set("value", np.arange(len(mesh.vertices), dtype=np.float32))
    return copy


def _relative(tracks: VertexTracks) -> np.ndarray:
    """Positions relative to where the object stands, turned and scaled as its node is, [T, V, 3]."""
    way = tracks.places - tracks.places[0]
    return transform_points(np.linalg.inv(_node_matrix(tracks)), tracks.world - way[:, None])


def _node_matrix(tracks: VertexTracks) -> Matrix:
    """Of the object at the first frame, as far as a node can have it: not sheared."""
    return Matrix.LocRotScale(*Matrix(tracks.first_matrix).decompose())


def _motion(tracks: VertexTracks, fps: float) -> MorphMotion:
    return MorphMotion(
        positions=_gltf(_relative(tracks)).astype(np.float32),
        names=tuple(f"Frame {frame}" for frame in tracks.frames[1:]),
        times=(np.arange(len(tracks.frames)) / fps).astype(np.float32),
        places=_gltf(tracks.places).astype(np.float32),
    )


def _write_still(path: Path) -> None:
    if "gltf" not in dir(bpy.ops.export_scene):
        raise FileError("Blender's own add-on for GLB files is not enabled.", "Enable the add-on glTF 2.0 format.")
    options = {
        "export_format": "GLB",
        "use_active_scene": True,
        "export_attributes": True,
        "export_animations": False,
        "export_skins": False,
    }
    try:
        outcome = bpy.ops.export_scene.gltf(filepath=str(path), **options)
    except (RuntimeError, OSError) as error:
        raise FileError(f"Blender could not write {path} ({reason_of(error)}).", "Choose another folder.") from error
    if "FINISHED" not in outcome:
        raise FileError(f"Blender could not write {path}.", "Choose another folder.")


def _error(path: Path, node: int, sources: np.ndarray, motion: MorphMotion, tracks: VertexTracks) -> float:
    """Follow every vertex of the file, of which the exporter makes several at seams, to the one that it came from."""
    read = read_morph_mesh(path, node)
    if read.times.shape != motion.times.shape or not np.allclose(read.times, motion.times):
        raise FileError(
            f"{path} has {len(read.times)} frames in {read.times[-1]:.6g} s instead of {len(motion.times)} in "
            f"{motion.times[-1]:.6g} s.",
            _REPORT,
        )
    linear = np.array(_node_matrix(tracks))[:3, :3]
    places = np.broadcast_to(_blender(read.places), tracks.places.shape) - tracks.places
    errors = (
        _blender(read.at_key(index) - expected[sources]) @ linear.T + place
        for index, (expected, place) in enumerate(zip(motion.positions, places, strict=True))
    )
    return max(float(np.linalg.norm(error, axis=-1).max()) for error in errors)


def _gltf(points: np.ndarray) -> np.ndarray:
    """Blender's z up to glTF's y up."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def _blender(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)
