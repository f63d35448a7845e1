"""The command `gvf`: parses and calls, nothing else."""

import argparse
import dataclasses
import logging
import sys
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

import gvf_core
from gvf_core.errors import GvfError, SettingsError
from gvf_core.settings import AnimateSettings, EngineName

CONSOLE = Console(stderr=True)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if parsed.verbose else logging.WARNING, format="%(levelname)s %(message)s")
    try:
        return parsed.run(parsed)
    except (GvfError, OSError) as error:
        _say(str(error), "Error: ", "red")
        return 1
    except KeyboardInterrupt:
        _say("Stopped.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gvf", description="Make a captured 3D asset move like a video.")
    parser.add_argument("--version", action="version", version=f"gvf {gvf_core.__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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

    bench = commands.add_parser("bench", help="measure the rasterizer on this machine")
    bench.add_argument("--gaussians", type=int, default=20_000)
    bench.add_argument("--size", type=int, default=256, help="pixels")
    bench.add_argument("--repeats", type=int, default=5)
    bench.set_defaults(run=_bench)
    return parser


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
        _say(warning, "Warning: ", "yellow")
    _say(f"Wrote {parsed.output} ({len(animation.vertices)} frames, {len(animation.gaussians)} Gaussians).")
    return 0


def _bench(parsed: argparse.Namespace) -> int:
    from gvf_core.bench import bench_rasterizer, bench_table

    Console().print(bench_table(bench_rasterizer(parsed.gaussians, parsed.size, parsed.repeats)))
    return 0


def _say(sentence: str, label: str = "", color: str = "") -> None:
    """One line on the standard error, as it is: names of files may hold what rich would take for markup."""
    CONSOLE.print(Text.assemble((label, color), sentence), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
