"""One door for all formats: which objects go into which, over which frames, and how exact the file is."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..artist_render import refuse_beside_render
from ..core.drafts import drafts_of
from ..core.errors import FileError, SelectionError, SettingsError
from ..core.pc2_file import read_pc2, write_pc2
from ..core.sentence import Sentence
from ..importer import has_motion
from ..importer.gaussians import shows_gaussians
from ..importer.placement import is_invertible
from ..importer.retiming import playback_of, whole_frames
from ..importer.same_import import same_import
from ..request import check_frame
from .morph_glb import export_glb
from .provenance import noted_on
from .scene_formats import (
    error_of,
    pictures_of,
    read_alembic,
    read_usd,
    set_pictures_apart,
    write_alembic,
    write_usd,
)
from .splats import export_splats, sequence_paths
from .stage import stage
from .vertex_tracks import VertexTracks, read_vertex_tracks

FORMATS = {
    "PLY": (".ply",),
    "ALEMBIC": (".abc",),
    "USD": (".usd", ".usda", ".usdc"),
    "GLB": (".glb",),
    "PC2": (".pc2",),
}
"""Suffixes by format; the first one is the usual."""
SEVERAL = ("ALEMBIC", "USD", "GLB")
"""Those of which a file can hold several objects."""
MAX_FRAMES = 10_000
READERS = {"ALEMBIC": read_alembic, "USD": read_usd}
"""What reads the formats that Blender has operators for."""
MOST_ERROR = 1e-3
"""Of the size of what is exported: a larger error is a file that shows something else."""
FAR_ERROR = 1e-6
"""Of the distance from the origin, where numbers of 32 bits are coarse."""
SHEAR = 1e-5
"""Of an object's scale, by how much its matrix may differ from a rotation with scales along its axes."""
FILE_BYTES = 8
"""Twice what a coordinate takes."""


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        paths: The files.
        frames: Number of frames.
        error: Largest distance in metres between a point as Blender shows it and as it was read back from the file.
        size: Bytes of all files.
    """

    paths: tuple[Path, ...]
    frames: int
    error: float
    size: int

    def __str__(self) -> str:
        """One sentence for the artist."""
        where = self.paths[0].name if len(self.paths) == 1 else f"{len(self.paths)} files {self.paths[0].name} ..."
        return (
            f"Exported {self.frames} frames to {where}, {self.size / 1e6:.1f} MB; "
            f"the largest error is {self.error * 1000:.2g} mm."
        )


def export(
    context: bpy.types.Context,
    things: Sequence[bpy.types.Object],
    path: Path,
    frame_start: int | None = None,
    frame_end: int | None = None,
) -> ExportReport:
    """Write the animation of objects; existing files are replaced, but not by an export that fails.

    Splats and points go into PLY files, one per frame ("name_0001.ply"); a mesh that moves into Alembic, USD, GLB with
    morph targets, or a PC2 point cache; several meshes into one file of these but the last. What the exporter writes is
    what the viewport shows.

    Args:
        context: Its scene is the one that plays; neither its frame nor its selection changes.
        things: The objects, at least one.
        path: Where to; the suffix tells the format.
        frame_start: First scene frame; None takes that of the animation of the first object, else of the scene.
        frame_end: Last scene frame; likewise.

    Raises:
        SelectionError: An object does not go into that format, or several do not, or it is in Edit Mode, has no
            vertices or a scale of zero.
        SettingsError: An unknown suffix, no frames, or frames that the format does not know.
        FileError: The file cannot be written, or does not hold what was written.
        RenderError: The artist renders.
    """
    refuse_beside_render("exported")
    sculpted = next((thing for thing in bpy.data.objects if thing.mode == "SCULPT"), None)
    if sculpted is not None:
        # Blender crashes when another scene evaluates it.
        text = f"{sculpted.name!r} is in Sculpt Mode, beside which nothing can be exported."
        raise SelectionError(text, "Switch to object mode.")
    kind = _format(path)
    for thing in things:
        obstacle = export_obstacle(thing, kind)
        if obstacle is not None:
            raise obstacle
        # Of a mesh in Edit Mode, Blender evaluates a copy without faces for all objects that share it.
        if thing.mode == "EDIT" or getattr(thing.data, "is_editmode", False):
            raise SelectionError(
                f"{thing.name!r} is in Edit Mode, and animations are exported in object mode.",
                "Switch to object mode.",
            )
    if len(things) > 1 and kind not in SEVERAL:
        names = ", ".join(repr(thing.name) for thing in things)
        raise SelectionError(f"{path.name} holds one object, and given are: {names}.", "Export one after the other.")
    if not path.parent.is_dir():
        raise FileError(f"There is no folder {path.parent} for the export.", "Choose an existing folder.")
    frames = _frames(context.scene, things[0], frame_start, frame_end)
    if kind == "USD" and frames[0] < 0:
        # Blender's exporter writes the frame range of the scene.
        raise SettingsError(
            f"Blender writes no frames before 0 into USD, and those to export are {frames[0]} to {frames[-1]}.",
            "Choose another format, or let the animation start at frame 0 or later.",
        )
    if kind == "PLY":
        paths, error = export_splats(context, things[0], path, frames)
    else:
        paths = [path]
        pictures = pictures_of(path) if kind == "USD" else None
        with drafts_of(paths, pictures) as drafts:
            error = _export_meshes(context, things, kind, drafts[0], frames)
            if pictures is not None:
                set_pictures_apart(drafts[0], drafts[1], pictures.name)
    size = sum(written.stat().st_size for written in paths)
    return ExportReport(tuple(paths), len(frames), error, size)


def replaced_files(path: Path, frames: Sequence[int]) -> int:
    """How many files of an earlier sequence an export of Gaussians replaces; 0 where that cannot be found out.

    Fit for drawing: a folder is read again only when its files have changed.
    """
    try:
        there = _names_in(path.parent, path.parent.stat().st_mtime_ns)
    except OSError:
        return 0
    return sum(written.name in there for written in sequence_paths(path, frames[:MAX_FRAMES]))


@lru_cache(maxsize=1)
def _names_in(folder: Path, changed: int) -> frozenset[str]:
    """The files of a folder as it was last changed at a time."""
    return frozenset(one.name for one in folder.iterdir())


def export_obstacle(thing: bpy.types.Object | None, kind: str | None = None) -> SelectionError | None:
    """Why an object cannot be exported, into one of `FORMATS` or into any; None if it can."""
    if thing is None:
        return SelectionError("No object is active.", "Select a result, or a mesh that moves.")
    if shows_gaussians(thing):
        if kind not in (None, "PLY"):
            text = Sentence("{name!r} consists of Gaussians.", name=thing.name)
            return SelectionError(text, "Export it as PLY, or export the mesh.")
        return None
    if thing.type != "MESH":
        text = Sentence("{name!r} is neither a mesh nor a result.", name=thing.name)
        return SelectionError(text, "Select a result, or a mesh.")
    if kind == "PLY":
        return SelectionError(
            Sentence("{name!r} is a mesh without Gaussians.", name=thing.name),
            "Choose Alembic, USD, GLB or PC2, or export the splats.",
        )
    return None


def of_one_result(thing: bpy.types.Object) -> list[bpy.types.Object]:
    """A mesh, and the visible ones that move by the same import, which one file can hold; fit for drawing."""
    others = same_import(thing, bpy.context.scene.objects)[1:]
    return [thing, *(one for one in others if has_motion(one) and one.visible_get())]


def usual_format(thing: bpy.types.Object) -> str:
    """The one of `FORMATS` that suits an object; Gaussians go into no other."""
    return "PLY" if shows_gaussians(thing) else "ALEMBIC"


def animation_frames(scene: bpy.types.Scene, thing: bpy.types.Object) -> tuple[int, int]:
    """First and last scene frame of an object's animation, or of the scene if the object has none of ours."""
    playback = playback_of(thing)
    if playback is None:
        return scene.frame_start, scene.frame_end
    stretch = scene.render.frame_map_new / scene.render.frame_map_old
    return whole_frames(playback.start * stretch, playback.end * stretch)


def format_of(path: Path) -> str | None:
    """The one of `FORMATS` that a suffix tells, if any."""
    suffix = path.suffix.lower()
    return next((kind for kind, suffixes in FORMATS.items() if suffix in suffixes), None)


def _format(path: Path) -> str:
    kind = format_of(path)
    if kind is None:
        known = ", ".join(suffix for suffixes in FORMATS.values() for suffix in suffixes)
        raise SettingsError(f"{path.name!r} does not tell a format.", f"Choose a name that ends in {known}.")
    return kind


def _frames(
    scene: bpy.types.Scene, thing: bpy.types.Object, frame_start: int | None, frame_end: int | None
) -> Sequence[int]:
    first, last = animation_frames(scene, thing)
    first = first if frame_start is None else frame_start
    last = last if frame_end is None else frame_end
    check_frame("first frame", first), check_frame("last frame", last)
    if not first <= last < first + MAX_FRAMES:
        raise SettingsError(f"The frames to export are {first} to {last}.", f"Choose 1 to {MAX_FRAMES} frames.")
    return range(first, last + 1)


def _export_meshes(
    context: bpy.types.Context, things: Sequence[bpy.types.Object], kind: str, path: Path, frames: Sequence[int]
) -> float:
    """Write one file and measure it; returns the largest error in metres."""
    with stage(context, things, frames) as scene:
        tracks = read_vertex_tracks(scene, things, frames)
        for thing, each in zip(things, tracks, strict=True):
            _check_mesh(thing, kind, each)
        _check_room(path, tracks)
        error = _write(scene, things, kind, path, tracks)
    if kind in READERS:
        error = error_of(context, path, READERS[kind], tracks)
    _check_error(path, error, tracks)
    return error


def _write(
    scene: bpy.types.Scene, things: Sequence[bpy.types.Object], kind: str, path: Path, tracks: Sequence[VertexTracks]
) -> float:
    """Write what a stage shows; returns the error of what is read back here, and 0 of what Blender has to read."""
    if kind == "GLB":
        return export_glb(scene, things, path, tracks)
    if kind == "PC2":
        local = tracks[0].local
        write_pc2(path, local, tracks[0].frames[0])
        linear = tracks[0].first_matrix[:3, :3]
        return float(np.linalg.norm((read_pc2(path) - local) @ linear.T, axis=-1).max())
    with ExitStack() as notes:
        for thing in things:
            notes.enter_context(noted_on(thing))
        (write_alembic if kind == "ALEMBIC" else write_usd)(scene, path, tracks[0].frames)
    return 0.0


def _check_mesh(thing: bpy.types.Object, kind: str, tracks: VertexTracks) -> None:
    if tracks.world.shape[1] == 0:
        raise SelectionError(f"{thing.name!r} has no vertices.", "Choose a mesh that has some.")
    if kind in ("GLB", "PC2") and not is_invertible(tracks.first_matrix):
        raise SelectionError(
            f"{thing.name!r} has a scale of zero at frame {tracks.frames[0]}, so no position is relative to it.",
            "Choose Alembic or USD, or start at another frame.",
        )
    if kind == "ALEMBIC" and any(map(_is_sheared, tracks.matrices)):
        raise SelectionError(
            f"{thing.name!r} is sheared by what it hangs on, which Blender writes wrongly into Alembic.",
            "Choose USD, GLB or PC2, or apply the scale of its parents.",
        )
    if thing.rigid_body is not None and thing.rigid_body.type == "ACTIVE" and not thing.rigid_body.kinematic:
        raise SelectionError(
            f"{thing.name!r} is moved by a rigid body simulation, which only its own scene knows.",
            "Bake it first: Object > Rigid Body > Bake to Keyframes.",
        )


def _is_sheared(matrix: np.ndarray) -> bool:
    straight = np.array(Matrix.LocRotScale(*Matrix(matrix).decompose()), np.float64)
    return not np.allclose(straight, matrix, rtol=0, atol=SHEAR * np.abs(matrix[:3, :3]).max())


def _check_room(path: Path, tracks: Sequence[VertexTracks]) -> None:
    """Refuse what does not fit on the disk, which ends Blender in the middle of an Alembic archive."""
    needed = sum(each.world.size for each in tracks) * FILE_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise FileError(
            f"{path.parent} has {free / 1e6:,.1f} MB of room, and the export may take {needed / 1e6:,.1f} MB.",
            "Free some disk space, or choose another folder or fewer frames.",
        )


def _check_error(path: Path, error: float, tracks: Sequence[VertexTracks]) -> None:
    """Raise where a file does not hold what was shown, as far as its numbers of 32 bits can."""
    world = np.concatenate([each.world.reshape(-1, 3) for each in tracks])
    allowed = MOST_ERROR * np.ptp(world, axis=0).max() + FAR_ERROR * np.abs(world).max()
    if error <= allowed:
        return
    hint = "Look for vertices that are not finite or constraints and drivers that depend on the scene"
    if not all(each.shown.all() for each in tracks):
        # Blender writes no shapes into Alembic while an object is hidden, so that later ones are played too early.
        hint = "Remove the keys of the visibility"
    raise FileError(
        f"{path.name} would be off by up to {error * 1000:.2g} mm, so it was not kept.",
        f"{hint}; or choose another format.",
    )
