"""`gvf animate`: the motion of a capture."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gvf_core.commands.console import CONSOLE, say
from gvf_core.errors import SettingsError
from gvf_core.settings import AnimateSettings, EngineName

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options; every setting is one."""
    animate = commands.add_parser("animate", help="compute the motion of a capture made in Blender")
    animate.add_argument("capture", type=Path, help="capture file (docs/formats.md)")
    animate.add_argument("video", type=Path, help="driving video")
    animate.add_argument("-o", "--output", type=Path, required=True, help="animation file to write")
    for field in dataclasses.fields(AnimateSettings):
        option = "--" + field.name.replace("_", "-")
        if field.type is EngineName:
            animate.add_argument(option, choices=get_args(EngineName), default=field.default)
        else:
            animate.add_argument(option, type=field.type, default=field.default, help=f"default {field.default}")
    animate.set_defaults(run=_animate)


def _animate(parsed: argparse.Namespace) -> int:
    # The heavy imports wait until they are needed, so that `gvf --help` answers at once.
    from gvf_core.animation import save_animation
    from gvf_core.capture import load_capture
    from gvf_core.pipeline import animate

    settings = AnimateSettings(
        **{field.name: getattr(parsed, field.name) for field in dataclasses.fields(AnimateSettings)}
    )
    if not parsed.output.parent.is_dir():
        raise SettingsError(f"There is no folder {parsed.output.parent}.", "Create it or choose another output.")
    if parsed.output.is_dir():
        raise SettingsError(f"The output {parsed.output} is a folder.", "Give the name of a file.")
    capture = load_capture(parsed.capture)
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE, transient=True) as bar:
        task = bar.add_task("", total=1)
        animation = animate(
            capture, parsed.video, settings, lambda stage, done: bar.update(task, description=stage, completed=done)
        )
    save_animation(parsed.output, animation)
    for warning in animation.provenance["warnings"]:
        say(warning, "Warning: ", "yellow")
    say(f"Wrote {parsed.output} ({len(animation.vertices)} frames, {len(animation.gaussians)} Gaussians).")
    return 0
