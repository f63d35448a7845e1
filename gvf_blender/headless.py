"""Capturing an asset file, and putting its animation onto it, in a Blender process without a window.

    python -m gvf_blender.headless capture fish.glb --output capture.safetensors
    python -m gvf_blender.headless import fish.glb --animation animation.safetensors --output fish.blend
    python -m gvf_blender.headless clips fish.glb
    python -m gvf_blender.headless clip fish.glb --clip Swim --output swim.safetensors
    python -m gvf_blender.headless film fish.glb --request moved.safetensors --output pictures.safetensors

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

from .asset_file import BLEND, KINDS, open_asset, pack_textures, save_asset
from .capture import CaptureOptions, capture
from .captured_sources import captured_sources
from .clip_capture import add_clip_actions
from .clip_film import add_film_action
from .core.animation_file import read_animation
from .core.errors import FileError, GvfBlenderError, SettingsError
from .importer import ImportOptions, import_animation, raise_transparent_bounces

LOGGER = logging.getLogger(__name__)

Progress = Callable[[float], None]

OLDEST_BLENDER = (4, 2)
# Blender's own limits, which it enforces by clamping without a word.
_LAST_FRAME = 1_048_574
_MAX_FPS = 32_767
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


def _capture(parsed: argparse.Namespace, on_progress: Progress) -> dict[str, object]:
    asset, output = _absolute(parsed.asset), _absolute(parsed.output)
    _check_output(output)
    options = CaptureOptions(views=parsed.views, size=parsed.size)
    objects = open_asset(asset, parsed.object, _frame(parsed))
    result = capture(bpy.context, objects, output, options, on_progress)
    return {"output": str(output), "objects": [source.name for source in result.sources]}


def _import(parsed: argparse.Namespace, on_progress: Progress) -> dict[str, object]:
    asset, path, output = (_absolute(each) for each in (parsed.asset, parsed.animation, parsed.output))
    _check_output(output)
    if output.suffix != BLEND:
        raise SettingsError(f"The output {output.name} is no .blend file.", f"Choose a name that ends in {BLEND}.")
    if output == asset:
        raise SettingsError(f"The result would overwrite the asset {asset}.", "Choose another name for the output.")
    animation = read_animation(path)
    first, last = parsed.frame_start, parsed.frame_start + animation.frame_count - 1
    if not 0 <= first <= last <= _LAST_FRAME:
        raise SettingsError(
            f"The animation would play from frame {first} to {last}.",
            f"Choose a start frame from 0 to {_LAST_FRAME + 1 - animation.frame_count}.",
        )
    sources = captured_sources(open_asset(asset, parsed.object, _frame(parsed)), asset.name, animation, path)
    on_progress(_OPENED)

    scene = bpy.context.scene
    # Not before the asset is opened: importers lay its own animation out by the frame rate that they find.
    _set_fps(scene, animation.fps)
    scene.frame_start, scene.frame_end = first, last
    raise_transparent_bounces(scene)
    imported = import_animation(bpy.context, path, sources, ImportOptions(frame_start=first))
    scene.frame_set(first)
    on_progress(_IMPORTED)

    if asset.suffix.lower() != BLEND:
        pack_textures()
    save_asset(output)
    on_progress(1.0)
    return {
        "output": str(output),
        "splats": imported.splats.name,
        "points": imported.points.name,
        "motion": [thing.name for thing in imported.motion],
        "warnings": list(imported.warnings),
    }


def _check_output(output: Path) -> None:
    if not output.parent.is_dir():
        raise FileError(f"There is no folder {output.parent} for the output.", "Create it or choose another output.")
    if output.is_dir():
        raise FileError(f"The output {output} is a folder.", "Give the name of a file.")


def _frame(parsed: argparse.Namespace) -> int | None:
    if parsed.frame is not None and abs(parsed.frame) > _LAST_FRAME:
        raise SettingsError(f"The frame is {parsed.frame}.", f"Choose one from {-_LAST_FRAME} to {_LAST_FRAME}.")
    return parsed.frame


def _set_fps(scene: bpy.types.Scene, fps: float) -> None:
    """Blender's frame rate is a whole number over a base: 29.97 is 30 / 1.001."""
    scene.render.fps = min(max(round(fps), 1), _MAX_FPS)
    scene.render.fps_base = scene.render.fps / fps


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
    asset = argparse.ArgumentParser(add_help=False)
    asset.add_argument("asset", type=Path, help=KINDS)
    asset.add_argument("--object", nargs="+", action="extend", default=[], help="names; default: all visible meshes")
    asset.add_argument("--log", type=Path, help="file for what Blender prints; default: the standard error")
    common = argparse.ArgumentParser(add_help=False, parents=[asset])
    common.add_argument("--output", type=Path, required=True, help="file to write")
    common.add_argument("--frame", type=int, help="scene frame to capture; default: that of the .blend file, else 1")

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
    add_clip_actions(actions, asset)
    add_film_action(actions, asset)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
