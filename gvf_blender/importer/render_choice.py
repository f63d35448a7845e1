"""Which objects of one import renders show: they lie inside each other, so that one kind of them is enough.

The original is the artist's: its own setting is noted on it when it is changed here, and comes back.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial

import bpy

from .gaussians import shows_gaussians
from .notes import note, set_note
from .own_animation import animated_paths
from .splats import display_of
from .transaction import Transaction

RENDERED = SPLATS, POINTS, MESH = "SPLATS", "POINTS", "MESH"
"""What renders can show of an import."""
_OWN = "gvf_own_hide_render"


def kind_of(thing: bpy.types.Object) -> str:
    """Which of `RENDERED` an object of an import is."""
    if not shows_gaussians(thing):
        return MESH
    return SPLATS if any(display_of(modifier) is not None for modifier in thing.modifiers) else POINTS


def rendered_kinds(objects: Iterable[bpy.types.Object]) -> set[str]:
    """Which of `RENDERED` renders show of the objects of an import."""
    return {kind_of(thing) for thing in objects if not thing.hide_render}


def render_only(objects: Sequence[bpy.types.Object], kinds: Collection[str]) -> None:
    """Let renders show some of `RENDERED`, if there are any of them among the objects of an import."""
    if not {kind_of(thing) for thing in objects}.isdisjoint(kinds):
        for thing in objects:
            _hide(thing, kind_of(thing) not in kinds)


def choose_rendered(transaction: Transaction, objects: Sequence[bpy.types.Object]) -> list[str]:
    """Let renders show the splats of a new import, else the mesh as the artist has it, else the points.

    An original that cannot be hidden here alone, or for good, stays as the artist has it.

    Args:
        transaction: Takes it back if the import fails later.
        objects: All of the import.

    Returns:
        Sentences about originals that renders show beside what stands in for them.
    """
    warnings = []
    present = {kind_of(thing) for thing in objects}
    chosen = next((kind for kind in (SPLATS, MESH, POINTS) if kind in present), None)
    for thing in objects:
        transaction.on_failure(partial(_put_back, thing, thing.hide_render, note(thing, _OWN)))
        obstacle = _obstacle_to_hiding(thing) if kind_of(thing) == MESH != chosen else None
        if kind_of(thing) == chosen or obstacle is not None:
            restore_render(thing)
        else:
            _hide(thing, True)
        if obstacle is not None and not thing.hide_render:
            warnings.append(obstacle)
    return warnings


def restore_render(original: bpy.types.Object) -> None:
    """Let renders show an original as the artist had it before an import."""
    own = note(original, _OWN)
    if own is not None:
        set_note(original, _OWN, None)
        original.hide_render = bool(own)


def is_kept_out_of_renders(thing: bpy.types.Object) -> bool:
    """Whether the artist lets no render show an object; that a result stands in for it does not count."""
    own = note(thing, _OWN)
    return bool(thing.hide_render if own is None else own)


def is_replaced_in_renders(original: bpy.types.Object) -> bool:
    """Whether renders leave an original out only because its splats or points stand in for it."""
    return original.hide_render and not is_kept_out_of_renders(original)


def _obstacle_to_hiding(original: bpy.types.Object) -> str | None:
    if "hide_render" in animated_paths(original):
        return (
            f"{original.name} has keys or a driver for whether renders show it, so they may show it together with its "
            "splats: let these hide it."
        )
    if len(original.users_scene) > 1 or _is_instanced(original):
        return (
            f"{original.name} is in other scenes or collection instances, too, which have no splats in its place, so "
            "renders show it together with its splats: Render in the panel of its result hides it everywhere."
        )
    return None


def _is_instanced(thing: bpy.types.Object) -> bool:
    shown = {other.instance_collection for other in bpy.data.objects if other.instance_type == "COLLECTION"}
    return any(thing in set(collection.all_objects) for collection in shown - {None})


def _hide(thing: bpy.types.Object, hidden: bool) -> None:
    if kind_of(thing) == MESH:
        # Noted anew: an earlier motion, which may have the note, goes when the import has succeeded.
        set_note(thing, _OWN, is_kept_out_of_renders(thing))
    thing.hide_render = hidden


def _put_back(thing: bpy.types.Object, hidden: bool, own: bool | None) -> None:
    thing.hide_render = hidden
    set_note(thing, _OWN, own)
