"""Mapping animation frames to scene frames with two linear keys that the artist can move."""

import json
from dataclasses import dataclass

import bpy

from .compat import fcurves_of
from .nodes import modifier_input_path

_PLAYBACK = "gvf_playback"


@dataclass(frozen=True)
class FrameMapping:
    """When the frames of an animation play in the scene.

    Attributes:
        first: Scene frame of animation frame 0.
        step: Scene frames per animation frame.
        count: Number of animation frames.
        fps: Frames per second of the animation.
    """

    first: float
    step: float
    count: int
    fps: float

    @classmethod
    def of_scene(cls, scene: bpy.types.Scene, fps: float, count: int, first: int | None) -> "FrameMapping":
        """Play at the animation's own speed, starting at `first` or, if None, at the scene's current frame."""
        scene_fps = scene.render.fps / scene.render.fps_base
        return cls(first=scene.frame_current if first is None else first, step=scene_fps / fps, count=count, fps=fps)

    @property
    def last(self) -> float:
        """Scene frame of the last animation frame."""
        return self.first + (self.count - 1) * self.step


def key_playback(
    datablock: bpy.types.ID,
    data_path: str,
    mapping: FrameMapping,
    first_value: float,
    last_value: float,
    action_name: str,
) -> None:
    """Key a property of a datablock that has no other animation to run linearly with the animation.

    Args:
        datablock: What the property belongs to.
        data_path: The property.
        mapping: When the animation plays.
        first_value: The property's value at the first animation frame.
        last_value: Its value at the last one.
        action_name: Name for the new action.
    """
    values = [first_value, last_value][: mapping.count]
    # An action of our own: from 4.4 on, keys of shape keys would otherwise join the action of their object.
    animation = datablock.animation_data_create()
    animation.action = bpy.data.actions.new(action_name)
    for frame, _ in zip((mapping.first, mapping.last), values, strict=False):
        datablock.keyframe_insert(data_path, frame=frame)
    for curve in fcurves_of(datablock):
        for key, value in zip(curve.keyframe_points, values, strict=True):
            key.co.y = value
            key.interpolation = "LINEAR"
            # Straight handles too, in case the artist switches the keys to Bezier.
            key.handle_left_type = key.handle_right_type = "VECTOR"
        curve.update()
    if mapping.count > 1:
        unit = (last_value - first_value) / (mapping.count - 1)
        datablock[_PLAYBACK] = json.dumps({"fps": mapping.fps, "unit": unit})


def read_playback(datablock: bpy.types.ID) -> tuple[float, float] | None:
    """Frames per second of the animation that was keyed on a datablock, and the value of one frame in its keys."""
    if _PLAYBACK not in datablock:
        return None
    known = json.loads(datablock[_PLAYBACK])
    return known["fps"], known["unit"]


def key_modifier_input(
    owner: bpy.types.Object, modifier: bpy.types.NodesModifier, input_name: str, mapping: FrameMapping
) -> None:
    """Key an input of a Geometry Nodes modifier, on an object without animation, to the animation's frame."""
    path = modifier_input_path(modifier, input_name)
    key_playback(owner, path, mapping, 0.0, mapping.count - 1, action_name=owner.name)
