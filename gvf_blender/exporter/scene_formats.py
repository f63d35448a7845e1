"""Alembic and USD: Blender's own exporters write the file, and its importers read it back to measure it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import bpy
import numpy as np

from ..core.errors import FileError
from ..core.usd_pictures import PICTURES, look_for_pictures_in
from ..operator_reason import reason_of
from .stage import operators_in, stage
from .vertex_tracks import VertexTracks, read_vertex_tracks


def write_alembic(scene: bpy.types.Scene, path: Path, frames: Sequence[int]) -> None:
    """Write what a stage shows, with its transforms baked, as an Alembic archive.

    Of a single frame it holds the one after it, too.
    """
    # Where there is only one, Blender goes to no frame and would write the pose of the shown scene's current one.
    end = max(frames[-1], frames[0] + 1)
    _run(
        scene,
        path,
        bpy.ops.wm.alembic_export,
        start=frames[0],
        end=end,
        flatten=True,
        export_hair=False,
        export_particles=False,
        export_custom_properties=True,
        evaluation_mode="VIEWPORT",
        apply_subdiv=True,
        as_background_job=False,
    )


def read_alembic(scene: bpy.types.Scene, path: Path) -> None:
    """Add an Alembic archive to a stage."""
    _run(scene, path, bpy.ops.wm.alembic_import, set_frame_range=False, as_background_job=False)


def write_usd(scene: bpy.types.Scene, path: Path, frames: Sequence[int]) -> None:
    """Write what a stage shows as USD.

    Blender writes the frame range of the scene, so what asks for that range gets this one meanwhile.
    """
    scene.frame_start, scene.frame_end = frames[0], frames[-1]
    # As blend shapes the absolute shape keys of a motion would come out wrong; as points they are exact.
    baked = {"export_shapekeys": False, "export_armatures": False, "export_hair": False}
    options = {"export_animation": True, "evaluation_mode": "VIEWPORT", "export_custom_properties": True}
    # A last modifier that subdivides would be left to the reader, and the cage written.
    options["export_subdivision"] = "TESSELLATE"
    _run(scene, path, bpy.ops.wm.usd_export, **baked, **options)


def pictures_of(path: Path) -> Path:
    """The folder for the pictures of a USD file, which Blender would write into one for all files beside it."""
    return path.with_name(f"{path.name}_textures")


def set_pictures_apart(path: Path, folder: Path, name: str) -> None:
    """Move the pictures that Blender has written beside a USD file.

    Args:
        path: The file.
        folder: Where the pictures go; not made if there are none.
        name: What the folder will be called in the end.

    Raises:
        FileError: The file cannot be changed.
    """
    written = path.with_name(PICTURES)
    if not written.is_dir():
        return
    try:
        look_for_pictures_in(path, name)
        written.replace(folder)
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(
            f"The pictures of {path} could not be set apart ({reason}).", "Choose another folder or format."
        ) from error


def read_usd(scene: bpy.types.Scene, path: Path) -> None:
    """Add the meshes of a USD file to a stage.

    Without materials, whose reading sets the colour space of the artist's own images where the file refers to these.
    """
    _run(scene, path, bpy.ops.wm.usd_import, set_frame_range=False, import_materials=False)


def error_of(
    context: bpy.types.Context,
    path: Path,
    read: Callable[[bpy.types.Scene, Path], None],
    tracks: Sequence[VertexTracks],
) -> float:
    """The largest distance in metres between the tracks and what Blender reads from a file.

    Raises:
        FileError: Blender finds other numbers of meshes or vertices in the file.
    """
    with stage(context, (), tracks[0].frames, is_stretched=False) as scene:
        read(scene, path)
        meshes = [thing for thing in scene.objects if thing.type == "MESH"]
        counts = sorted(len(thing.data.vertices) for thing in meshes)
        expected = sorted(each.world.shape[1] for each in tracks)
        if counts != expected:
            raise FileError(
                f"Blender reads meshes with {counts} vertices from {path} instead of {expected}.",
                "Choose another format: Blender 5.1, for example, reads no meshes without faces from USD.",
            )
        found = read_vertex_tracks(scene, meshes, tracks[0].frames)
    # Names come back changed, so that each is compared with the nearest that it can be.
    return max(
        min(
            float(np.linalg.norm((other.world - each.world)[each.shown], axis=-1).max(initial=0.0))
            for other in found
            if other.world.shape == each.world.shape
        )
        for each in tracks
    )


def _run(scene: bpy.types.Scene, path: Path, operator: Callable[..., set[str]], **options: object) -> None:
    known = operator.get_rna_type().properties.keys()
    try:
        # Options come and go with versions of Blender.
        with operators_in(scene):
            outcome = operator(filepath=str(path), **{name: value for name, value in options.items() if name in known})
    except RuntimeError as error:
        raise FileError(f"Blender could not use {path} ({reason_of(error)}).", "Choose another folder.") from error
    if "FINISHED" not in outcome or not path.is_file():
        raise FileError(f"Blender could not write {path}.", "Choose another folder.")
