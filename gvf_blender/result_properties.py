"""How the result on an object plays and shows, as properties that read and write the result itself.

None of them is stored but which objects are set together: keys, curve modifiers and node inputs are the only truth, and
play without the add-on.
"""

from collections.abc import Callable
from typing import Any

import bpy

from .importer.gaussians import AMOUNT_INPUT, OVERLAY_INPUT, SIZE_INPUT, modifier_with
from .importer.in_place import can_be_in_place, is_in_place, set_in_place
from .importer.nodes import modifier_input, set_modifier_input
from .importer.own_motion import changed_together
from .importer.render_choice import RENDERED, is_replaced_in_renders, kind_of, render_only, rendered_kinds
from .importer.retiming import LOOPS, MAX_SPEED, MIN_SPEED, Playback, playback_of
from .importer.root import can_have_root, has_root, is_carried, obstacle_in_edit_mode, obstacle_to_root, set_root
from .importer.same_import import same_import
from .importer.splats import DISPLAYS, display_of, set_display
from .translations.properties import BoolProperty, EnumProperty, FloatProperty

_INPUTS = {"display_size": SIZE_INPUT, "display_amount": AMOUNT_INPUT, "display_confidence": OVERLAY_INPUT}
# Keys of them would play with the add-on only, and rewrite what they set at every frame.
_NOT_KEYED: set[str] = set()
_PLAYBACK_NAMES = ("play_start", "play_speed", "play_loop", "play_held")


def result_controls(thing: bpy.types.Object) -> tuple[str, ...]:
    """Names of the properties of `Object.gvf` that do something on this object; none if it has no result."""
    names: list[str] = []
    if playback_of(thing) is not None:
        names += _PLAYBACK_NAMES
    if can_be_in_place(thing):
        names.append("play_in_place")
    if can_have_root(thing):
        names.append("play_root")
    if names and len(_same_import(thing)) > 1:
        names.append("play_together")
    if _can_choose_rendered(thing):
        names.append("render_shows")
    if _display_modifier(thing) is not None:
        names.append("display")
    names += [name for name, label in _INPUTS.items() if modifier_with(thing, label) is not None]
    return tuple(names)


def _display_modifier(thing: bpy.types.Object) -> bpy.types.NodesModifier | None:
    return next((modifier for modifier in thing.modifiers if display_of(modifier) is not None), None)


def _of_playback(read: Callable[[Playback, bpy.types.Scene], Any], default: Any) -> Callable[[Any], Any]:
    def get(group: bpy.types.PropertyGroup) -> Any:
        playback = playback_of(group.id_data)
        return default if playback is None else read(playback, bpy.context.scene)

    return get


def _to_playback(write: Callable[[Playback, bpy.types.Scene, Any], None]) -> Callable[[Any, Any], None]:
    def set_(group: bpy.types.PropertyGroup, value: Any) -> None:
        for thing in changed_together(group.id_data, bpy.context.scene.objects):
            playback = playback_of(thing)
            if playback is not None:
                write(playback, bpy.context.scene, value)

    return set_


def _same_import(thing: bpy.types.Object) -> list[bpy.types.Object]:
    return same_import(thing, bpy.context.scene.objects)


def _get_in_place(group: bpy.types.PropertyGroup) -> bool:
    return is_in_place(group.id_data) and not is_carried(group.id_data)


def _set_in_place(group: bpy.types.PropertyGroup, in_place: bool) -> None:
    if obstacle_in_edit_mode(group.id_data) is not None:
        return
    if in_place:
        _set_root(group, False)
    for thing in changed_together(group.id_data, bpy.context.scene.objects):
        if not is_carried(thing):
            set_in_place(thing, in_place)


def _set_root(group: bpy.types.PropertyGroup, on: bool) -> None:
    if obstacle_to_root(group.id_data) is None:
        set_root(group.id_data, on)


def _set_loop(playback: Playback, scene: bpy.types.Scene, index: int) -> None:
    playback.set_loop(LOOPS[index])


def _set_held(playback: Playback, scene: bpy.types.Scene, held: bool) -> None:
    playback.hold(held)


def _can_choose_rendered(thing: bpy.types.Object) -> bool:
    """Also for an original whose splats somebody deleted: nothing else would tell why renders leave it out."""
    return is_replaced_in_renders(thing) or len(set(map(kind_of, _same_import(thing)))) > 1


def _get_rendered(group: bpy.types.PropertyGroup) -> int:
    shown = rendered_kinds(_same_import(group.id_data))
    return sum(1 << index for index, kind in enumerate(RENDERED) if kind in shown)


def _set_rendered(group: bpy.types.PropertyGroup, chosen: int) -> None:
    kinds = [kind for index, kind in enumerate(RENDERED) if chosen >> index & 1]
    if _can_choose_rendered(group.id_data):
        render_only(_same_import(group.id_data), kinds)


def _of_input(name: str) -> Callable[[Any], float]:
    def get(group: bpy.types.PropertyGroup) -> float:
        modifier = modifier_with(group.id_data, _INPUTS[name])
        return 1.0 if modifier is None else modifier_input(modifier, _INPUTS[name])

    return get


def _to_input(name: str) -> Callable[[Any, float], None]:
    def set_(group: bpy.types.PropertyGroup, value: float) -> None:
        modifier = modifier_with(group.id_data, _INPUTS[name])
        if modifier is not None:
            set_modifier_input(modifier, _INPUTS[name], value)

    return set_


def _get_display(group: bpy.types.PropertyGroup) -> int:
    modifier = _display_modifier(group.id_data)
    return 0 if modifier is None else DISPLAYS.index(display_of(modifier))


def _set_display(group: bpy.types.PropertyGroup, index: int) -> None:
    modifier = _display_modifier(group.id_data)
    if modifier is not None:
        set_display(modifier, DISPLAYS[index])


class ResultProperties:
    """Part of `Object.gvf`."""

    play_start: FloatProperty(
        name="Start",
        description="Scene frame at which the animation starts",
        precision=1,
        step=100,
        get=_of_playback(lambda playback, scene: playback.start, 0.0),
        set=_to_playback(lambda playback, scene, value: playback.move_to(value)),
        options=_NOT_KEYED,
    )
    play_speed: FloatProperty(
        name="Speed",
        description="1 plays the animation as fast as its video",
        min=MIN_SPEED,
        max=MAX_SPEED,
        soft_min=0.1,
        soft_max=10.0,
        get=_of_playback(lambda playback, scene: playback.speed(scene), 1.0),
        set=_to_playback(lambda playback, scene, value: playback.set_speed(scene, value)),
        options=_NOT_KEYED,
    )
    play_loop: EnumProperty(
        name="After End",
        description="What follows the last frame",
        items=(
            ("ONCE", "Hold", "The last frame stays"),
            ("REPEAT", "Loop", "The animation starts again"),
            ("MIRROR", "Back and Forth", "The animation plays backwards, then forwards again"),
        ),
        get=_of_playback(lambda playback, scene: LOOPS.index(playback.loop), 0),
        set=_to_playback(_set_loop),
        options=_NOT_KEYED,
    )
    play_held: BoolProperty(
        name="Stepped",
        description="Every frame stands still until the next one, instead of being blended with it",
        get=_of_playback(lambda playback, scene: playback.is_held, False),
        set=_to_playback(_set_held),
        options=_NOT_KEYED,
    )
    play_in_place: BoolProperty(
        name="In Place",
        description="Stay on the spot: the way over the ground is taken out",
        get=_get_in_place,
        set=_set_in_place,
        options=_NOT_KEYED,
    )
    play_root: BoolProperty(
        name="Root on Object",
        description="The way over the ground is keyed on the objects, and their vertices move relative to them",
        get=lambda group: has_root(group.id_data),
        set=_set_root,
        options=_NOT_KEYED,
    )
    play_together: BoolProperty(
        name="Whole Result",
        description="What is set here holds for the splats, the points and the moving mesh of the same import, too",
        default=True,
        options=_NOT_KEYED,
    )
    render_shows: EnumProperty(
        name="Render",
        description="What renders show of the result; all of it lies in the same place",
        items=(
            ("SPLATS", "Splats", "Renders show the splats"),
            ("POINTS", "Points", "Renders show the points"),
            ("MESH", "Mesh", "Renders show the mesh that moves"),
        ),
        options={"ENUM_FLAG"},
        get=_get_rendered,
        set=_set_rendered,
    )
    display: EnumProperty(
        name="Display",
        description="How the Gaussians show, in viewports and renders",
        items=(
            ("SPLATS", "Splats", "Exact Gaussians, for renders"),
            ("SOLID", "Ellipsoids", "Opaque ellipsoids, a fast preview"),
            ("POINTS", "Points", "Points, the fastest"),
        ),
        get=_get_display,
        set=_set_display,
        options=_NOT_KEYED,
    )
    display_size: FloatProperty(
        name="Size",
        description="Size of every splat or point relative to the captured one",
        min=0.0,
        soft_max=3.0,
        get=_of_input("display_size"),
        set=_to_input("display_size"),
        options=_NOT_KEYED,
    )
    display_amount: FloatProperty(
        name="Viewport Amount",
        description="Part of the Gaussians that viewports show; renders show all",
        subtype="FACTOR",
        min=0.0,
        max=1.0,
        get=_of_input("display_amount"),
        set=_to_input("display_amount"),
        options=_NOT_KEYED,
    )
    display_confidence: FloatProperty(
        name="Show Confidence",
        description="Colour every Gaussian by how far its motion can be trusted: green where sure, red where guessed",
        subtype="FACTOR",
        min=0.0,
        max=1.0,
        get=_of_input("display_confidence"),
        set=_to_input("display_confidence"),
        options=_NOT_KEYED,
    )
