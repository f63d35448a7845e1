"""An asset's own clips: which the open file has, and letting one of them play.

A clip is what plays at the same time under one name: the glTF importer makes an NLA track of that name on every object,
the FBX importer actions called "object|clip"; what USD and Alembic files hold has no name and is the clip "timeline".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy

from .core.errors import SelectionError
from .importer.compat import action_fcurves

TIMELINE = "timeline"
"""Name of what plays without a name: cached geometry, or actions that belong together only by being active."""
_TRANSFORMS = ("location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale")
_CACHES = frozenset({"MESH_SEQUENCE_CACHE", "TRANSFORM_CACHE"})

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


def scene_fps() -> float:
    """Frames per second of the scene."""
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
    return any(_resolves(owner, curve.data_path) for curve in action_fcurves(action, slot))


def _resolves(owner: Owner, data_path: str) -> bool:
    try:
        owner.path_resolve(data_path)
    except ValueError:
        return False
    return True


def _has_caches() -> bool:
    return any(user.type in _CACHES for thing in bpy.data.objects for user in (*thing.modifiers, *thing.constraints))
