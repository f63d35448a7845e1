"""Unlit pictures of an asset while its vertices are where a file says, as data to train on. docs/training.md."""

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bpy
import numpy as np

from .asset_file import open_asset
from .capture.geometry import Piece, evaluated_pieces
from .capture.scene import Lens, UnlitScene
from .capture.scratch import Scratch
from .capture.selection import surface_objects
from .capture.viewpoints import occupied_region
from .clips import Clips
from .core.errors import FileError, SelectionError, SettingsError
from .core.safetensors_file import read_tensors, write_tensors

LOGGER = logging.getLogger(__name__)

REQUEST_FORMAT, FILM_FORMAT = "gvf-film-request", "gvf-film"

Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class FilmRequest:
    """What to take pictures of.

    Attributes:
        clip: In whose first frame the materials are; empty for the file without its animation.
        vertices: In the order of a capture, in the cameras' frame, float32 [frames, vertices, 3].
        triangles: Of that capture, int32 [triangles, 3].
        world_to_camera: OpenCV cameras, [pictures, 4, 4].
        fov: Their angle of view across the square picture in radians, [pictures].
        frame: Which frame each picture shows, [pictures].
        size: Width and height of the pictures in pixels.
        samples: Per pixel.
    """

    clip: str
    vertices: np.ndarray
    triangles: np.ndarray
    world_to_camera: np.ndarray
    fov: np.ndarray
    frame: np.ndarray
    size: int
    samples: int


def add_film_action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", asset: argparse.ArgumentParser
) -> None:
    """Add `film` to the actions of `gvf_blender.headless`.

    Args:
        actions: Where to add it.
        asset: The arguments that say what is opened.
    """
    film = actions.add_parser("film", parents=[asset], help="take unlit pictures of an asset whose vertices are moved")
    film.add_argument("--request", type=Path, action="append", required=True, help="what to show; repeatable")
    film.add_argument("--output", type=Path, action="append", required=True, help="file to write, one per request")
    film.add_argument("--threads", type=int, default=0, help="to render with; 0: all")
    film.set_defaults(run=_film_all)


def _film_all(parsed: argparse.Namespace, on_progress: Progress) -> dict[str, object]:
    if len(parsed.request) != len(parsed.output):
        raise SettingsError(
            f"There are {len(parsed.request)} requests and {len(parsed.output)} outputs.", "Name one output for each."
        )
    jobs = [(read_request(path.absolute()), path, out) for path, out in zip(parsed.request, parsed.output, strict=True)]
    refused: dict[str, str] = {}
    done = 0
    for animated in (True, False):
        # The file is opened once for all of a kind.
        chosen = [job for job in jobs if bool(job[0].clip) == animated]
        if not chosen:
            continue
        objects = open_asset(parsed.asset.absolute(), parsed.object, keep_animation=animated)
        clips = Clips() if animated else None
        for request, path, output in chosen:
            tell = lambda part, done=done: on_progress((done + part) / len(jobs))  # noqa: E731
            try:
                pngs = film(bpy.context, objects, clips, request, parsed.threads, tell)
            except SelectionError as error:
                LOGGER.info("%s is not filmed: %s", path.name, error.message)
                refused[path.name] = f"{error.message} {error.hint}".strip()
            else:
                _write(output.absolute(), pngs)
            done += 1
    return {"refused": refused}


def read_request(path: Path) -> FilmRequest:
    """Read and check a request.

    Raises:
        FileError: It is none.
    """
    tensors, metadata = read_tensors(path)
    try:
        if metadata["format"] != REQUEST_FORMAT:
            raise ValueError(f"its format is {metadata['format']}")
        arrays = {
            name: np.array(tensors[name]) for name in ("vertices", "triangles", "world_to_camera", "fov", "frame")
        }
        request = FilmRequest(
            clip=metadata["clip"], size=int(metadata["size"]), samples=int(metadata["samples"]), **arrays
        )
        pictures = len(request.fov)
        if request.vertices.ndim != 3 or request.world_to_camera.shape != (pictures, 4, 4) or not pictures:
            raise ValueError("vertices or cameras have the wrong shape")
        if len(request.frame) != pictures or not ((request.frame >= 0) & (request.frame < len(request.vertices))).all():
            raise ValueError("a picture shows a frame that is not there")
    except (KeyError, ValueError) as error:
        raise FileError(f"{path.name} is no request for pictures ({error}).", "Write it again.") from error
    return request


def film(
    context: bpy.types.Context,
    objects: Sequence[bpy.types.Object],
    clips: Clips | None,
    request: FilmRequest,
    threads: int = 0,
    on_progress: Progress = lambda fraction: None,
) -> list[bytes]:
    """Take the pictures of a request.

    Args:
        context: Gives the view layer.
        objects: What to show.
        clips: Of the open file; None if it plays none.
        request: What to show where from.
        threads: To render with; 0 for all.
        on_progress: Called with the fraction done after each frame.

    Returns:
        PNG files with straight alpha, in the order of the request's cameras.

    Raises:
        SelectionError: The asset has not the vertices of the request, or there is no such clip.
        RenderError: Blender did not render.
    """
    if clips is not None:
        start = clips.play(request.clip).start
        context.scene.frame_set(int(start // 1), subframe=start % 1)
    scratch = Scratch()
    try:
        pieces = _own_meshes(evaluated_pieces(context, surface_objects(context, objects), objects, scratch), scratch)
        _check_geometry(pieces, request)
        scene = UnlitScene(context, pieces, np.eye(4), request.size, request.samples, scratch)
        scene.use_threads(threads)
        with tempfile.TemporaryDirectory(prefix="gvf-film-") as folder:
            return _pictures(scene, pieces, request, Path(folder) / "picture.png", on_progress)
    finally:
        scratch.remove()


def _check_geometry(pieces: Sequence[Piece], request: FilmRequest) -> None:
    again = "Read its clips again with this Blender."
    count, wanted = sum(len(piece.vertices) for piece in pieces), request.vertices.shape[1]
    if count != wanted:
        raise SelectionError(f"The asset has {count} vertices, {wanted} are to be moved.", again)
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    triangles = np.concatenate([piece.triangles + start for piece, start in zip(pieces, starts[:-1], strict=True)])
    if not np.array_equal(triangles, request.triangles):
        raise SelectionError("The asset's faces are not those of the vertices that are to be moved.", again)


def _own_meshes(pieces: Sequence[Piece], scratch: Scratch) -> list[Piece]:
    """Pieces whose meshes stand in the cameras' frame, each with a mesh of its own to move."""
    seen, own = set(), []
    for piece in pieces:
        mesh = piece.mesh
        if mesh.name in seen:
            mesh = scratch.adopt(mesh.copy())
        seen.add(mesh.name)
        own.append(replace(piece, mesh=mesh, matrix_world=np.eye(4)))
    return own


def _pictures(
    scene: UnlitScene, pieces: Sequence[Piece], request: FilmRequest, file: Path, on_progress: Progress
) -> list[bytes]:
    pngs: dict[int, bytes] = {}
    for frame in np.unique(request.frame).tolist():
        begin = 0
        for piece in pieces:
            end = begin + len(piece.vertices)
            corners = np.ascontiguousarray(request.vertices[frame, begin:end], np.float32)
            piece.mesh.vertices.foreach_set("co", corners.ravel())
            piece.mesh.update()
            begin = end
        for index in np.flatnonzero(request.frame == frame).tolist():
            camera, fov = request.world_to_camera[index], float(request.fov[index])
            scene.look_through(Lens(fov, (0.0, 0.0), request.size, request.size))
            scene.look_at_region(*occupied_region(request.vertices[frame], camera, request.size, fov))
            pngs[index] = scene.render(camera, file)
        on_progress(len(pngs) / len(request.frame))
    return [pngs[index] for index in range(len(request.frame))]


def _write(path: Path, pngs: Sequence[bytes]) -> None:
    tensors = {
        "png": np.frombuffer(b"".join(pngs), np.uint8),
        "png_offsets": np.cumsum([0, *map(len, pngs)], dtype=np.int64),
    }
    write_tensors(path, tensors, {"format": FILM_FORMAT, "version": "1"})
