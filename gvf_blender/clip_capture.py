"""An asset's own clips: which there are, and where its vertices are while one of them plays.

A clip is what plays at the same time under one name: the glTF importer makes an NLA track of that name on every object,
the FBX importer actions called "object|clip"; what USD and Alembic files hold has no name and is the clip "timeline".
The file format is described in docs/evaluation.md.
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .capture import CaptureOptions, capture
from .capture.geometry import evaluated_pieces, world_from_unit
from .capture.scratch import Scratch
from .capture.selection import surface_objects
from .capture.session import sources_of
from .clip_pictures import CameraView, lit_pictures
from .core.errors import FileError, SelectionError, SettingsError
from .core.safetensors_file import write_tensors

LOGGER = logging.getLogger(__name__)

TIMELINE = "timeline"
"""Name of what plays without a name: cached geometry, or actions that belong together only by being active."""
CAPTURE_SUFFIX = ".capture.safetensors"
"""What the capture beside a clip file is called instead of .safetensors."""
MAX_FRAMES = 10_000
_TRANSFORMS = ("location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale")
_CACHES = frozenset({"MESH_SEQUENCE_CACHE", "TRANSFORM_CACHE"})

Progress = Callable[[float], None]
Owner = bpy.types.Object | bpy.types.Key


@dataclass(frozen=True)
class Clip:
    """Something that plays.

    Attributes:
        name: As in the file.
        start: First scene frame.
        end: Last scene frame.
    """

    name: str
    start: float
    end: float


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
        checks = (("frames", 2, MAX_FRAMES), ("seconds", 0, 1e6), ("offset", 0, 1e6), ("views", 0, 1000))
        for name, low, high in checks:
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}.", f"Choose a number from {low} to {high:g}.")


class Clips:
    """The clips of the open file; one of them plays."""

    def __init__(self) -> None:
        """Find them; the pose at this moment is where a clip leaves alone what it does not animate."""
        self._tracks: dict[str, list[tuple[Owner, bpy.types.NlaTrack]]] = {}
        self._actions: dict[str, list[tuple[Owner, bpy.types.Action, Any]]] = {}
        self._active = [
            (owner, owner.animation_data.action, getattr(owner.animation_data, "action_slot", None))
            for owner in _animated()
            if owner.animation_data.action is not None
        ]
        self._pose = list(_pose())
        in_tracks = set()
        for owner in _animated():
            for track in owner.animation_data.nla_tracks:
                if track.strips:
                    self._tracks.setdefault(track.name, []).append((owner, track))
                in_tracks |= {strip.action for strip in track.strips}
        loose = [action for action in bpy.data.actions if action not in in_tracks]
        for action in loose:
            for owner, slot in _players(action):
                self._actions.setdefault(_clip_name(action), []).append((owner, action, slot))
        playing = {_clip_name(action) for _, action, _ in self._active if action in loose}
        # Several names at once are parts of one scene rather than takes to choose from.
        self._has_timeline = _has_caches() or (len(playing) > 1 and not self._tracks)
        if self._has_timeline:
            active = {action for _, action, _ in self._active}
            for name in playing:
                self._actions[name] = [part for part in self._actions.get(name, []) if part[1] not in active]
        self.found = tuple(sorted(self._spans(), key=lambda clip: clip.name))

    def play(self, name: str) -> Clip:
        """Let a clip play, and nothing else.

        Raises:
            SelectionError: There is none of that name.
        """
        known = {clip.name: clip for clip in self.found}
        if name not in known:
            hint = f"It has {', '.join(map(repr, known))}." if known else "It has no animation at all."
            raise SelectionError(f"There is no clip {name!r} in the file.", hint)
        for owner in _animated():
            owner.animation_data.action = None
            for track in owner.animation_data.nla_tracks:
                track.is_solo = False
                track.mute = True
        for thing, attribute, value in self._pose:
            setattr(thing, attribute, value)
        for owner, track in self._tracks.get(name, ()):
            owner.animation_data.use_nla = True
            track.mute = False
        timeline = self._active if name == TIMELINE and self._has_timeline else ()
        for owner, action, slot in (*self._actions.get(name, ()), *timeline):
            owner.animation_data_create().action = action
            if slot is not None:
                owner.animation_data.action_slot = slot
        return known[name]

    def _spans(self) -> Iterator[Clip]:
        for name in {*self._tracks, *self._actions}:
            strips = [strip for _, track in self._tracks.get(name, ()) for strip in track.strips]
            ends = [(strip.frame_start, strip.frame_end) for strip in strips]
            ends += [tuple(action.frame_range) for _, action, _ in self._actions.get(name, ())]
            if ends:
                yield Clip(name, min(start for start, _ in ends), max(end for _, end in ends))
        if self._has_timeline:
            scene = bpy.context.scene
            yield Clip(TIMELINE, scene.frame_start, scene.frame_end)


def add_actions(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", open_asset: Callable[..., list[bpy.types.Object]]
) -> None:
    """Add `clips` (list them) and `clip` (read some) to the actions of `gvf_blender.headless`.

    Args:
        actions: Where to add them.
        open_asset: Of that module.
    """
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("asset", type=Path)
    common.add_argument("--object", nargs="+", action="extend", default=[], help="names; default: all visible meshes")
    common.add_argument("--log", type=Path, help="file for what Blender prints; default: the standard error")
    listing = actions.add_parser("clips", parents=[common], help="tell which clips an asset has")
    listing.set_defaults(run=lambda parsed, on_progress: _list(parsed, open_asset))
    reading = actions.add_parser("clip", parents=[common], help="write where the vertices are while clips play")
    reading.add_argument("--clip", action="append", required=True, help="name; repeatable")
    reading.add_argument("--output", type=Path, action="append", required=True, help="file to write, one per clip")
    reading.add_argument("--frames", type=int, default=ClipOptions.frames)
    reading.add_argument("--seconds", type=float, default=ClipOptions.seconds, help="at most; 0: the whole clip")
    reading.add_argument("--offset", type=float, default=ClipOptions.offset, help="seconds after the clip's beginning")
    reading.add_argument("--views", type=int, default=ClipOptions.views, help="of a capture of the first frame")
    reading.add_argument("--size", type=int, default=ClipOptions.size, help="pixels of the views")
    reading.add_argument("--camera", type=CameraView.from_json, help="JSON; render lit pictures from there")
    reading.set_defaults(run=lambda parsed, on_progress: _read(parsed, open_asset, on_progress))


def _list(parsed: argparse.Namespace, open_asset: Callable[..., list[bpy.types.Object]]) -> dict[str, object]:
    open_asset(parsed.asset.absolute(), parsed.object, keep_animation=True)
    fps = _scene_fps()
    return {"clips": [{"name": clip.name, "seconds": (clip.end - clip.start) / fps} for clip in Clips().found]}


def _read(
    parsed: argparse.Namespace, open_asset: Callable[..., list[bpy.types.Object]], on_progress: Progress
) -> dict[str, object]:
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
    fps = (len(times) - 1) / (times[-1] - times[0]) * _scene_fps()
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
        "clip_seconds": repr((clip.end - clip.start) / _scene_fps()),
        "objects": json.dumps([source.name for source in sources]),
    }
    write_tensors(path, tensors, metadata)
    on_progress(1.0)


def scene_frames(clip: Clip, options: ClipOptions) -> list[float]:
    """Scene times of the frames to read.

    Raises:
        SelectionError: Nothing of the clip is left after the offset.
    """
    fps = _scene_fps()
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


def _scene_fps() -> float:
    render = bpy.context.scene.render
    return render.fps / render.fps_base


def _animated() -> list[Owner]:
    return [owner for owner in (*bpy.data.objects, *bpy.data.shape_keys) if owner.animation_data is not None]


def _pose() -> Iterator[tuple[Any, str, Any]]:
    """Everything that clips animate, as (thing, attribute, value)."""
    bones = (bone for thing in bpy.data.objects if thing.pose for bone in thing.pose.bones)
    for thing in (*bpy.data.objects, *bones):
        for attribute in _TRANSFORMS:
            yield thing, attribute, tuple(getattr(thing, attribute))
    for key in bpy.data.shape_keys:
        for block in key.key_blocks:
            yield block, "value", block.value


def _clip_name(action: bpy.types.Action) -> str:
    """The FBX importer calls actions "object|clip"; clips may be called "rig|clip" in turn."""
    owner, bar, clip = action.name.partition("|")
    return clip if bar and owner in bpy.data.objects else action.name


def _players(action: bpy.types.Action) -> Iterator[tuple[Owner, Any]]:
    """Whom an action animates, with the slot that does."""
    kinds = {"OBJECT": bpy.data.objects, "KEY": bpy.data.shape_keys}
    if hasattr(action, "slots"):
        for slot in action.slots:
            owner = kinds.get(slot.target_id_type, {}).get(slot.name_display)
            if owner is not None and _holds_curves(action, slot, owner):
                yield owner, slot
        return
    # Before Blender 4.4 actions had no slots.
    users = [owner for owner in _animated() if owner.animation_data.action == action]
    named = kinds.get(action.id_root, {}).get(action.name.partition("|")[0])
    yield from ((owner, None) for owner in users or ([named] if named is not None else []))


def _holds_curves(action: bpy.types.Action, slot: Any, owner: Owner) -> bool:
    # One shape key's slot is in the actions of all objects of an FBX file; only one of them plays it.
    curves = [curve for layer in action.layers for strip in layer.strips for curve in _curves(strip, slot)]
    return any(_resolves(owner, curve.data_path) for curve in curves)


def _curves(strip: Any, slot: Any) -> Sequence[Any]:
    bag = strip.channelbag(slot)
    return bag.fcurves if bag is not None else ()


def _resolves(owner: Owner, data_path: str) -> bool:
    try:
        owner.path_resolve(data_path)
    except ValueError:
        return False
    return True


def _has_caches() -> bool:
    return any(user.type in _CACHES for thing in bpy.data.objects for user in (*thing.modifiers, *thing.constraints))
