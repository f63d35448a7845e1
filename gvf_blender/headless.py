"""Capturing an asset file, and putting its animation onto it, in a Blender process without a window.

    python -m gvf_blender.headless capture fish.glb --output capture.safetensors
    python -m gvf_blender.headless import fish.glb --animation animation.safetensors --output fish.blend
    python -m gvf_blender.headless clips fish.glb
    python -m gvf_blender.headless clip fish.glb --clip Swim --output swim.safetensors

The core's command line runs this, with the bpy module or inside a Blender program. The standard output carries one
JSON object per line, {"event": "progress" | "failed" | "done", ...}; whatever Blender prints goes to the log.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import bpy
import numpy as np

from .capture import CaptureOptions, SourceObject, capture
from .capture.geometry import evaluated_pieces, world_from_unit
from .capture.scratch import Scratch
from .capture.selection import surface_objects
from .capture.session import sources_of
from .clip_capture import add_actions
from .core.animation_file import Animation, read_animation
from .core.errors import FileError, GvfBlenderError, SelectionError, SettingsError
from .importer import ImportOptions, import_animation, raise_transparent_bounces

LOGGER = logging.getLogger(__name__)

Progress = Callable[[float], None]

OLDEST_BLENDER = (4, 2)
# The first of these operators that Blender has; the FBX importer in C++ came with 4.5.
_IMPORTERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((".glb", ".gltf"), ("import_scene.gltf",)),
    ".fbx": ("wm.fbx_import", "import_scene.fbx"),
    ".obj": ("wm.obj_import",),
    ".ply": ("wm.ply_import",),
    ".stl": ("wm.stl_import",),
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), ("wm.usd_import",)),
    ".abc": ("wm.alembic_import",),
}
_BLEND = ".blend"
_KINDS = ", ".join((*_IMPORTERS, _BLEND))
# Blender's own limits, which it enforces by clamping without a word.
_LAST_FRAME = 1_048_574
_MAX_FPS = 32_767
_NAMES_SHOWN = 8
# Texts and curves in a .blend file are rather its decoration; they can be named.
_ASSET_TYPES = frozenset({"MESH", "EMPTY"})
# Of the unit frame; what an asset opened twice may differ by.
_SAME_PLACE = 1e-4
# Fractions of an import's time at which the asset is open and the animation is in, roughly.
_OPENED, _IMPORTED = 0.3, 0.8


def main(arguments: Sequence[str]) -> int:
    """Run one action and tell about it on the standard output.

    Returns:
        The exit status: 0, or 1 after a `failed` event.
    """
    parsed = _parser().parse_args(arguments)
    events = _divert_output(parsed.log)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

    def tell(**event: object) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    try:
        check_version(bpy.app.version)
        result = parsed.run(parsed, lambda fraction: tell(event="progress", fraction=fraction))
    except GvfBlenderError as error:
        code = type(error).__name__.removesuffix("Error").lower()
        tell(event="failed", code=code, message=error.message, hint=error.hint)
        return 1
    except Exception as error:
        LOGGER.exception("This should not have happened.")
        message = f"The {parsed.action} failed in Blender ({type(error).__name__}: {error})."
        tell(event="failed", code="internal", message=message, hint="Please report this together with Blender's log.")
        return 1
    tell(event="done", **result)
    return 0


def check_version(version: tuple[int, ...]) -> None:
    """Refuse a Blender that lacks what capture and import need.

    Raises:
        SettingsError: It is too old.
    """
    if version < OLDEST_BLENDER:
        found, oldest = (".".join(map(str, numbers)) for numbers in (version, OLDEST_BLENDER))
        raise SettingsError(f"This is Blender {found}.", f"Use Blender {oldest} or later.")


def open_asset(
    asset: Path, names: Sequence[str] = (), frame: int | None = None, *, keep_animation: bool = False
) -> list[bpy.types.Object]:
    """Open an asset in an empty scene, or a .blend file as it is, at the frame to capture.

    One file gives the same objects every time. Scripts in a .blend file are not run.

    Args:
        asset: The file, as an absolute path.
        names: Objects to animate; none for all meshes with faces that show in the viewport and in renders.
        frame: Scene frame to go to; None stays at that of the .blend file, else at 1.
        keep_animation: Keep the animation of other files than .blend, too.

    Returns:
        The objects to animate.

    Raises:
        FileError: The file is missing, empty, of an unknown kind or not readable.
        SelectionError: It holds nothing with faces, or not the named objects.
    """
    _check_asset(asset)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    _read(asset)
    if frame is not None:
        bpy.context.scene.frame_set(frame)
    if asset.suffix.lower() != _BLEND and not keep_animation:
        _hold_still()
    visible = _visible_with_faces(bpy.context)
    shown = ", ".join(repr(thing.name) for thing in visible[:_NAMES_SHOWN])
    if len(visible) > _NAMES_SHOWN:
        shown += f" or {len(visible) - _NAMES_SHOWN} others"
    members = bpy.context.scene.objects
    for name in names:
        if name not in members:
            hint = f"Choose from {shown}." if visible else "Choose another file: it shows nothing that has faces."
            raise SelectionError(f"There is no object {name!r} in {asset.name}.", hint)
    if names:
        return [members[name] for name in dict.fromkeys(names)]
    if not visible:
        raise SelectionError(f"There is no visible mesh with faces in {asset.name}.", "Choose a file that has one.")
    LOGGER.info("%s shows %s.", asset.name, shown)
    return visible


def _capture(parsed: argparse.Namespace, on_progress: Progress) -> dict[str, object]:
    asset, output = _absolute(parsed.asset), _absolute(parsed.output)
    _check_output(output)
    try:
        options = CaptureOptions(views=parsed.views, size=parsed.size)
    except ValueError as error:
        raise SettingsError(f"The views cannot be rendered: {error}.", "Choose a number in that range.") from error
    objects = open_asset(asset, parsed.object, _frame(parsed))
    result = capture(bpy.context, objects, output, options, on_progress)
    return {"output": str(output), "objects": [source.name for source in result.sources]}


def _import(parsed: argparse.Namespace, on_progress: Progress) -> dict[str, object]:
    asset, path, output = (_absolute(each) for each in (parsed.asset, parsed.animation, parsed.output))
    _check_output(output)
    if output.suffix != _BLEND:
        raise SettingsError(f"The output {output.name} is no .blend file.", f"Choose a name that ends in {_BLEND}.")
    if output == asset:
        raise SettingsError(f"The result would overwrite the asset {asset}.", "Choose another name for the output.")
    animation = read_animation(path)
    first, last = parsed.frame_start, parsed.frame_start + animation.frame_count - 1
    if not 0 <= first <= last <= _LAST_FRAME:
        raise SettingsError(
            f"The animation would play from frame {first} to {last}.",
            f"Choose a start frame from 0 to {_LAST_FRAME + 1 - animation.frame_count}.",
        )
    sources = _captured_sources(open_asset(asset, parsed.object, _frame(parsed)), asset, animation, path)
    on_progress(_OPENED)

    scene = bpy.context.scene
    # Not before the asset is opened: importers lay its own animation out by the frame rate that they find.
    _set_fps(scene, animation.fps)
    scene.frame_start, scene.frame_end = first, last
    raise_transparent_bounces(scene)
    imported = import_animation(bpy.context, path, sources, ImportOptions(frame_start=first))
    scene.frame_set(first)
    on_progress(_IMPORTED)

    if asset.suffix.lower() != _BLEND:
        _pack_textures()
    _save(output)
    on_progress(1.0)
    return {
        "output": str(output),
        "splats": imported.splats.name,
        "points": imported.points.name,
        "motion": [thing.name for thing in imported.motion],
        "warnings": list(imported.warnings),
    }


def _captured_sources(
    objects: Sequence[bpy.types.Object], asset: Path, animation: Animation, path: Path
) -> tuple[SourceObject, ...]:
    """What the vertices of the capture belong to: the capture made once more, without its views.

    Raises:
        FileError: The animation is not one of these objects as they are now.
    """
    scratch = Scratch()
    try:
        pieces = evaluated_pieces(bpy.context, surface_objects(bpy.context, objects), objects, scratch)
        sources, placement = sources_of(pieces), world_from_unit(pieces)
    finally:
        scratch.remove()
    count = sum(source.vertex_count for source in sources)
    again = "Capture again, and import with the same objects and frame."
    if count != animation.vertex_count:
        raise FileError(f"{path.name} moves {animation.vertex_count} vertices, but {asset.name} has {count}.", again)
    if not np.allclose(placement, animation.world_from_unit, rtol=0, atol=_SAME_PLACE * placement[0, 0]):
        raise FileError(f"{asset.name} is not as large, or not where it was, when {path.name} was made.", again)
    return sources


def _check_asset(asset: Path) -> None:
    if asset.suffix.lower() not in (*_IMPORTERS, _BLEND):
        kind = f"{asset.suffix} files" if asset.suffix else "files without a suffix"
        raise FileError(f"{asset} cannot be opened: {kind} are not known.", f"Choose one of {_KINDS}.")
    try:
        with asset.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise FileError(f"The asset {asset} does not exist.", "Check its name.") from error
    except OSError as error:
        raise FileError(f"The asset {asset} cannot be read ({error.strerror}).", f"Choose one of {_KINDS}.") from error
    if empty:
        raise FileError(f"The asset {asset} is empty.", "Export or download it again.")


def _check_output(output: Path) -> None:
    if not output.parent.is_dir():
        raise FileError(f"There is no folder {output.parent} for the output.", "Create it or choose another output.")
    if output.is_dir():
        raise FileError(f"The output {output} is a folder.", "Give the name of a file.")


def _read(asset: Path) -> None:
    hint = "Check that it opens in Blender, or export it again."
    suffix = asset.suffix.lower()
    try:
        if suffix == _BLEND:
            outcome = bpy.ops.wm.open_mainfile(filepath=str(asset), load_ui=False, use_scripts=False)
        else:
            outcome = _importer(suffix)(filepath=str(asset))
    except RuntimeError as error:
        raise FileError(f"Blender cannot read {asset} ({_reason(error)}).", hint) from error
    if "FINISHED" not in outcome:
        raise FileError(f"Blender cannot read {asset}.", hint)
    # Of a mesh in Edit Mode, Blender evaluates a copy that has no faces.
    if bpy.context.object is not None and bpy.context.object.mode == "EDIT":
        bpy.ops.object.mode_set(mode="OBJECT")


def _hold_still() -> None:
    """Take away an asset's own animation, in the pose of the present frame: it would be added to the new motion.

    A .blend file is the artist's work and keeps its animation; the importer warns of it.
    """
    scene = bpy.context.scene
    scene.frame_set(scene.frame_current)
    owners = [*bpy.data.objects, *bpy.data.shape_keys]
    for owner in owners:
        if owner.animation_data is not None:
            owner.animation_data_clear()
    bpy.context.view_layer.update()


def _reason(error: RuntimeError) -> str:
    # Importers in Python put their traceback before it, others a reference to a console that is not there after it.
    lines = [line for line in str(error).strip().splitlines() if "see console" not in line]
    return lines[-1].removeprefix("Error: ").rstrip(".") if lines else "it does not say why"


def _importer(suffix: str) -> Callable[..., set[str]]:
    for operator in _IMPORTERS[suffix]:
        module, name = operator.split(".")
        operators = getattr(bpy.ops, module)
        if name in dir(operators):
            return getattr(operators, name)
    raise FileError(f"This Blender has no importer for {suffix} files.", "Convert the asset to .glb.")


def _visible_with_faces(context: bpy.types.Context) -> list[bpy.types.Object]:
    context.view_layer.update()
    # An instance counts for the object that makes it; an empty has faces if it instances a collection.
    owners = {
        (instance.parent if instance.is_instance else instance.object).original
        for instance in context.evaluated_depsgraph_get().object_instances
        if instance.show_self and instance.object.type == "MESH" and len(instance.object.data.polygons)
    }
    shown = [
        thing
        for thing in context.view_layer.objects
        if thing in owners and thing.type in _ASSET_TYPES and not thing.hide_render
    ]
    # Takes out the display shapes of bones, unless there is nothing else.
    return surface_objects(context, shown) if shown else []


def _frame(parsed: argparse.Namespace) -> int | None:
    if parsed.frame is not None and abs(parsed.frame) > _LAST_FRAME:
        raise SettingsError(f"The frame is {parsed.frame}.", f"Choose one from {-_LAST_FRAME} to {_LAST_FRAME}.")
    return parsed.frame


def _set_fps(scene: bpy.types.Scene, fps: float) -> None:
    """Blender's frame rate is a whole number over a base: 29.97 is 30 / 1.001."""
    scene.render.fps = min(max(round(fps), 1), _MAX_FPS)
    scene.render.fps_base = scene.render.fps / fps


def _pack_textures() -> None:
    """Take picture files that lie beside the asset into the .blend file, so that it shows them anywhere."""
    for image in bpy.data.images:
        if image.source == "FILE" and image.packed_file is None and Path(bpy.path.abspath(image.filepath)).is_file():
            image.pack()


def _save(output: Path) -> None:
    # No .blend1 of a result that is replaced.
    bpy.context.preferences.filepaths.save_version = 0
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(output), compress=True)
    except RuntimeError as error:
        raise FileError(
            f"{output} could not be written ({str(error).strip()}).", "Check the disk and folder."
        ) from error


def _absolute(path: Path) -> Path:
    """The full path; links are followed only up to the folder, as the suffix may be that of the link alone."""
    return path.parent.resolve() / path.name


def _divert_output(log: Path | None) -> TextIO:
    """Send everything that is printed, also by Blender's C code, to a file or to the standard error.

    Returns:
        The real standard output.
    """
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    if log is None:
        os.dup2(2, 1)
    else:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    return events


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("asset", type=Path, help=_KINDS)
    common.add_argument("--output", type=Path, required=True, help="file to write")
    common.add_argument("--object", nargs="+", action="extend", default=[], help="names; default: all visible meshes")
    common.add_argument("--frame", type=int, help="scene frame to capture; default: that of the .blend file, else 1")
    common.add_argument("--log", type=Path, help="file for what Blender prints; default: the standard error")

    parser = argparse.ArgumentParser(prog="gvf_blender.headless", description="Capture and import without a window.")
    actions = parser.add_subparsers(dest="action", required=True)
    capture_parser = actions.add_parser("capture", parents=[common], help="write a capture file of an asset")
    capture_parser.add_argument("--views", type=int, default=CaptureOptions.views)
    capture_parser.add_argument("--size", type=int, default=CaptureOptions.size, help="pixels")
    capture_parser.set_defaults(run=_capture)
    import_parser = actions.add_parser("import", parents=[common], help="write a .blend file of the animated asset")
    import_parser.add_argument("--animation", type=Path, required=True)
    import_parser.add_argument("--frame-start", type=int, default=1, help="scene frame of the animation's first frame")
    import_parser.set_defaults(run=_import)
    add_actions(actions, open_asset)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
