"""Where an asset's vertices are while one of its own clips plays. docs/evaluation.md describes the file."""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from .asset_file import open_asset
from .capture import CaptureOptions, capture
from .capture.geometry import evaluated_pieces, world_from_unit
from .capture.scratch import Scratch
from .capture.selection import surface_objects
from .capture.session import sources_of
from .clip_pictures import CameraView, lit_pictures
from .clips import Clip, Clips, scene_fps
from .core.errors import FileError, SelectionError, SettingsError
from .core.safetensors_file import write_tensors

LOGGER = logging.getLogger(__name__)

CAPTURE_SUFFIX = ".capture.safetensors"
"""What the capture beside a clip file is called instead of .safetensors."""
MAX_FRAMES = 10_000

Progress = Callable[[float], None]


@dataclass(frozen=True)
class ClipOptions:
    """What to read of a clip.

    Attributes:
        frames: Number of frames, evenly spread, both ends included.
        seconds: Read at most so much; 0 for the whole clip.
        offset: Seconds after the clip's beginning at which to start.
        views: Views of the first frame to render for a capture beside the clip; 0 for no capture.
        size: Width and height of these views in pixels.
        camera: From where to render lit pictures of all frames; None for no pictures.
    """

    frames: int = 16
    seconds: float = 1.3
    offset: float = 0.0
    views: int = 0
    size: int = 512
    camera: CameraView | None = None

    def __post_init__(self) -> None:
        checks = (("frames", 2, MAX_FRAMES), ("seconds", 0, 1e6), ("offset", 0, 1e6))
        for name, low, high in checks:
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}.", f"Choose a number from {low} to {high:g}.")
        if self.views != 0:
            CaptureOptions(self.views, self.size)


def add_clip_actions(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", asset: argparse.ArgumentParser
) -> None:
    """Add `clips` (list them) and `clip` (read some) to the actions of `gvf_blender.headless`.

    Args:
        actions: Where to add them.
        asset: The arguments that say what is opened.
    """
    listing = actions.add_parser("clips", parents=[asset], help="tell which clips an asset has")
    listing.set_defaults(run=_list)
    reading = actions.add_parser("clip", parents=[asset], help="write where the vertices are while clips play")
    reading.add_argument("--clip", action="append", required=True, help="name; repeatable")
    reading.add_argument("--output", type=Path, action="append", required=True, help="file to write, one per clip")
    reading.add_argument("--frames", type=int, default=ClipOptions.frames)
    reading.add_argument("--seconds", type=float, default=ClipOptions.seconds, help="at most; 0: the whole clip")
    reading.add_argument("--offset", type=float, default=ClipOptions.offset, help="seconds after the clip's beginning")
    reading.add_argument("--views", type=int, default=ClipOptions.views, help="of a capture of the first frame")
    reading.add_argument("--size", type=int, default=ClipOptions.size, help="pixels of the views")
    reading.add_argument("--camera", type=CameraView.from_json, help="JSON; render lit pictures from there")
    reading.set_defaults(run=_read)


def _list(parsed: argparse.Namespace, on_progress: Progress) -> dict[str, object]:
    open_asset(parsed.asset.absolute(), parsed.object, keep_animation=True)
    fps = scene_fps()
    found = Clips().found
    return {"clips": [{"name": c.name, "seconds": (c.end - c.start) / fps, "fps": fps} for c in found]}


def _read(parsed: argparse.Namespace, on_progress: Progress) -> dict[str, object]:
    if len(parsed.clip) != len(parsed.output):
        raise SettingsError(
            f"There are {len(parsed.clip)} clips and {len(parsed.output)} outputs.", "Name one output for each clip."
        )
    for output in parsed.output:
        if not output.parent.is_dir():
            raise FileError(f"There is no folder {output.parent} for the output.", "Create it or choose another.")
    options = ClipOptions(parsed.frames, parsed.seconds, parsed.offset, parsed.views, parsed.size, camera=parsed.camera)
    asset = parsed.asset.absolute()
    objects = open_asset(asset, parsed.object, keep_animation=True)
    clips = Clips()
    refused: dict[str, str] = {}
    count = len(parsed.clip)
    for index, (name, output) in enumerate(zip(parsed.clip, parsed.output, strict=True)):
        try:
            read_clip(
                bpy.context,
                objects,
                clips,
                name,
                output.absolute(),
                options,
                asset.name,
                lambda fraction, index=index: on_progress((index + fraction) / count),
            )
        except SelectionError as error:
            # Of the other clips something may be gained.
            LOGGER.info("%s is not read: %s", name, error.message)
            refused[name] = f"{error.message} {error.hint}".strip()
    return {"refused": refused}


def read_clip(
    context: bpy.types.Context,
    objects: Sequence[bpy.types.Object],
    clips: Clips,
    name: str,
    path: Path,
    options: ClipOptions,
    asset: str = "",
    on_progress: Progress = lambda fraction: None,
) -> None:
    """Write where the vertices of objects are while a clip plays, in the unit frame of the first frame read.

    Args:
        context: Gives the view layer.
        objects: What to read; armatures and empties stand for the meshes below them.
        clips: Of the open file.
        name: Which of them.
        path: Clip file to write; the capture, if there are views, is called `CAPTURE_SUFFIX` instead of .safetensors.
        options: What to read.
        asset: Its name, for the file.
        on_progress: Called with the fraction done.

    Raises:
        SelectionError: There is no such clip, it is too short, the topology changes while it plays, or the objects
            cannot be captured.
        GvfBlenderError: A file cannot be written, or a picture not be rendered.
    """
    clip = clips.play(name)
    times = scene_frames(clip, options)
    _go_to(context, times[0])
    surfaces = surface_objects(context, objects)
    scratch = Scratch()
    try:
        pieces = evaluated_pieces(context, surfaces, objects, scratch)
        placement, sources = world_from_unit(pieces), sources_of(pieces)
        starts = [source.vertex_start for source in sources]
        triangles = np.concatenate([piece.triangles + start for piece, start in zip(pieces, starts, strict=True)])
        rest = np.concatenate([piece.vertices for piece in pieces])
    finally:
        scratch.remove()
    world = _world_positions(context, surfaces, name, times, rest)
    unit = np.linalg.inv(placement)
    names = list(dict.fromkeys(source.name for source in sources))
    tensors: dict[str, np.ndarray] = {
        "vertices": (world @ unit[:3, :3].T + unit[:3, 3]).astype(np.float32),
        "triangles": triangles.astype(np.int32),
        "object_id": np.repeat(np.arange(len(sources)), [s.vertex_count for s in sources]).astype(np.int32),
        "world_from_unit": placement.astype(np.float64),
        "scene_frames": np.asarray(times, np.float64),
    }
    fps = (len(times) - 1) / (times[-1] - times[0]) * scene_fps()
    if options.camera is not None:
        pngs = lit_pictures(context, names, placement, options.camera, times, _go_to, on_progress)
        tensors["png"] = np.frombuffer(b"".join(pngs), np.uint8)
        tensors["png_offsets"] = np.cumsum([0, *map(len, pngs)], dtype=np.int64)
    if options.views:
        _go_to(context, times[0])
        beside = path.with_name(path.name.removesuffix(".safetensors") + CAPTURE_SUFFIX)
        capture(context, objects, beside, CaptureOptions(options.views, options.size), on_progress)
    metadata = {
        "format": "gvf-clip",
        "version": "1",
        "asset": asset,
        "clip": name,
        "fps": repr(float(fps)),
        "clip_seconds": repr((clip.end - clip.start) / scene_fps()),
        "objects": json.dumps([source.name for source in sources]),
    }
    write_tensors(path, tensors, metadata)
    on_progress(1.0)


def scene_frames(clip: Clip, options: ClipOptions) -> list[float]:
    """Scene times of the frames to read.

    Raises:
        SelectionError: Nothing of the clip is left after the offset.
    """
    fps = scene_fps()
    begin = clip.start + options.offset * fps
    end = min(clip.end, begin + options.seconds * fps) if options.seconds else clip.end
    if end - begin < 1e-3 * fps:
        raise SelectionError(
            f"The clip {clip.name!r} lasts {(clip.end - clip.start) / fps:.3g} s; nothing is left after "
            f"{options.offset:g} s.",
            "Choose another clip or a smaller offset.",
        )
    return [begin + (end - begin) * index / (options.frames - 1) for index in range(options.frames)]


def _world_positions(
    context: bpy.types.Context,
    surfaces: Sequence[bpy.types.Object],
    name: str,
    times: Sequence[float],
    rest: np.ndarray,
) -> np.ndarray:
    """World positions of all vertices [frames, vertices, 3], metres, in the order of a capture.

    Reads the evaluated meshes where they are: copies with materials, as a capture makes them, take ten times as long.

    Raises:
        SelectionError: The topology changes, or coordinates are not finite.
    """
    order = {thing: index for index, thing in enumerate(surfaces)}
    frames, signature = [], None
    for time in times:
        _go_to(context, time)
        parts = list(_evaluated_parts(context, order))
        parts.sort(key=lambda part: part[0])
        found = [part[1] for part in parts]
        if signature is None:
            signature = found
        if found != signature:
            raise SelectionError(
                f"The topology changes while the clip {name!r} plays (scene frame {time:.4g}).",
                "Choose a clip whose meshes keep their vertices and faces.",
            )
        frames.append(np.concatenate([part[2] for part in parts]))
        if not np.isfinite(frames[-1]).all():
            raise SelectionError(f"The clip {name!r} has vertices that are not finite.", "Choose another clip.")
    size = float(np.ptp(rest, axis=0).max())
    if frames[0].shape != rest.shape or np.abs(frames[0] - rest).max() > 1e-5 * size:
        raise SelectionError(f"The clip {name!r} does not begin with the captured pose.", "Please report this asset.")
    return np.stack(frames)


def _evaluated_parts(
    context: bpy.types.Context, order: dict[bpy.types.Object, int]
) -> Iterator[tuple[tuple[int, bool], tuple[str, int, int], np.ndarray]]:
    """Place in the order, topology and world positions of every evaluated mesh; see `evaluated_pieces`."""
    for instance in context.evaluated_depsgraph_get().object_instances:
        owner = (instance.parent if instance.is_instance else instance.object).original
        if owner not in order or instance.object.type != "MESH" or not instance.show_self:
            continue
        mesh = instance.object.data
        if not mesh.polygons:
            continue
        corners = np.empty(len(mesh.loops), np.int32)
        mesh.loops.foreach_get("vertex_index", corners)
        flat = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", flat)
        matrix = np.array(instance.matrix_world, np.float64)
        world = flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        yield (order[owner], instance.is_instance), (owner.name, len(world), hash(corners.tobytes())), world


def _go_to(context: bpy.types.Context, time: float) -> None:
    context.scene.frame_set(int(time // 1), subframe=time % 1)
