"""When a result plays: its F-curve of the animation's frame, in the words of an artist.

Nothing is stored twice: everything is read from the curve's keys and modifiers and written there, so that edits in the
Graph Editor and here are the same, and a file plays without the add-on.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import bpy

from .compat import fcurves_of
from .gaussians import FRAME_INPUT, modifier_with
from .keyframes import read_playback
from .modifier_motion import FRAME_PATH, find_modifier_motion
from .nodes import modifier_input_path
from .root_keys import root_curves
from .shape_key_motion import find_shape_key_motion

_LOOPS = {"ONCE": None, "REPEAT": "REPEAT", "MIRROR": "MIRROR"}
LOOPS = tuple(_LOOPS)
"""What follows the last frame: nothing, the same again, or the same backwards."""
MIN_SPEED, MAX_SPEED = 0.01, 100.0
# A whole number of steps must not end up just below itself; over 500 frames this shifts by 0.0005 of one.
_STEP_SLACK = 1e-6
# Keys at 1 and 24.001 of a 29.97 frame rate mean 1 to 24.
_FRAME_SLACK = 1e-3


@dataclass(frozen=True)
class Playback:
    """The keyed frame of one result.

    Attributes:
        owner: The datablock whose action it is.
        curve: The keys; at least two.
        fps: Frames per second of the animation.
        unit: By how much the curve's value grows per frame of the animation.
        root: Curves that move the object along, and are timed alike.
    """

    owner: bpy.types.ID
    curve: bpy.types.FCurve
    fps: float
    unit: float
    root: tuple[bpy.types.FCurve, ...] = ()

    @property
    def start(self) -> float:
        """Scene frame of the first key."""
        return self.curve.keyframe_points[0].co.x

    @property
    def end(self) -> float:
        """Scene frame of the last key."""
        return self.curve.keyframe_points[-1].co.x

    def move_to(self, start: float) -> None:
        """Start at another scene frame."""
        self._set_times(start, 1.0)

    def speed(self, scene: bpy.types.Scene) -> float:
        """How many seconds of the animation play in a second of the scene; 1 as it was made."""
        first, last = (key.co for key in (self.curve.keyframe_points[0], self.curve.keyframe_points[-1]))
        frames = abs(last.y - first.y) / self.unit
        return frames / self.fps / ((last.x - first.x) / scene_fps(scene))

    def set_speed(self, scene: bpy.types.Scene, speed: float) -> None:
        """Keep the start and move all other keys.

        Args:
            scene: Its frame rate counts.
            speed: Within `MIN_SPEED` and `MAX_SPEED`.
        """
        self._set_times(self.start, self.speed(scene) / min(max(speed, MIN_SPEED), MAX_SPEED))

    @property
    def loop(self) -> str:
        """One of `LOOPS`."""
        cycles = self._modifier("CYCLES")
        mode = None if cycles is None or cycles.mute else cycles.mode_after
        return next((name for name, value in _LOOPS.items() if value == mode), "REPEAT")

    def set_loop(self, name: str) -> None:
        """Choose one of `LOOPS`."""
        self._remove("CYCLES")
        held = self.is_held
        # Cycles must be the first modifier of a curve.
        self._remove("STEPPED")
        if _LOOPS[name] is not None:
            for curve in self._curves:
                cycles = curve.modifiers.new("CYCLES")
                cycles.mode_before, cycles.mode_after = "NONE", _LOOPS[name]
        self.hold(held)

    @property
    def is_held(self) -> bool:
        """Whether every frame of the animation stands still until the next one, instead of being mixed with it."""
        stepped = self._modifier("STEPPED")
        return stepped is not None and not stepped.mute

    def hold(self, held: bool) -> None:
        """Let frames stand still, or mix them."""
        self._remove("STEPPED")
        if held:
            for curve in self._curves:
                curve.modifiers.new("STEPPED")
            self._fit_step()
        self._changed()

    def _set_times(self, start: float, stretch: float) -> None:
        before = self.start
        for key in (key for curve in self._curves for key in curve.keyframe_points):
            for point in (key.co, key.handle_left, key.handle_right):
                point.x = start + (point.x - before) * stretch
        self._fit_step()
        self._changed()

    def _fit_step(self) -> None:
        keys = self.curve.keyframe_points
        frames = max(abs(keys[-1].co.y - keys[0].co.y) / self.unit, 1.0)
        for stepped in (found for curve in self._curves for found in curve.modifiers if found.type == "STEPPED"):
            stepped.frame_step = (self.end - self.start) / frames * (1.0 - _STEP_SLACK)
            stepped.frame_offset = self.start

    def _modifier(self, kind: str) -> bpy.types.FModifier | None:
        return next((found for found in self.curve.modifiers if found.type == kind), None)

    def _remove(self, kind: str) -> None:
        for curve in self._curves:
            for found in [found for found in curve.modifiers if found.type == kind]:
                curve.modifiers.remove(found)

    @property
    def _curves(self) -> tuple[bpy.types.FCurve, ...]:
        return self.curve, *self.root

    def _changed(self) -> None:
        for curve in self._curves:
            curve.update()
            curve.id_data.update_tag()
        self.owner.update_tag()


def playback_of(thing: bpy.types.Object) -> Playback | None:
    """The playback of a splat object, a point cloud or an object with an imported motion.

    None for any other object, for an animation of one frame, and where the artist took the keys away.
    """
    for owner, path in _keyed(thing):
        known = read_playback(owner)
        curve = next((found for found in fcurves_of(owner) if found.data_path == path), None)
        if known is None or curve is None or len(curve.keyframe_points) < 2:
            continue
        first, last = curve.keyframe_points[0].co, curve.keyframe_points[-1].co
        if last.x > first.x and last.y != first.y:
            return Playback(owner, curve, *known, root=tuple(root_curves(thing)))
    return None


def whole_frames(start: float, end: float) -> tuple[int, int]:
    """The scene frames that show all of what plays from one to another, as 24 frames a second end at 23.977 of 23.976.

    Returns:
        The one at which the first moment is shown, and that at which the last one is.
    """
    return math.floor(start + _FRAME_SLACK), math.ceil(end - _FRAME_SLACK)


def scene_fps(scene: bpy.types.Scene) -> float:
    """Frames per second of a scene."""
    return scene.render.fps / scene.render.fps_base


def _keyed(thing: bpy.types.Object) -> Iterator[tuple[bpy.types.ID, str]]:
    shown = modifier_with(thing, FRAME_INPUT)
    if shown is not None:
        yield thing, modifier_input_path(shown, FRAME_INPUT)
    if thing.type == "MESH":
        for modifier in find_modifier_motion(thing):
            yield modifier.node_group, FRAME_PATH
        keys = find_shape_key_motion(thing)
        if keys is not None:
            yield keys, "eval_time"
