"""`gvf animate`: an asset and a video in, an animated asset out."""

import argparse
import dataclasses
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gvf_core.commands.console import CONSOLE, say
from gvf_core.commands.outputs import reserved
from gvf_core.errors import FileFormatError, FileNotWrittenError, SettingsError
from gvf_core.settings import AnimateSettings

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gvf_core.animation import Animation

VIEW_PRESETS = {"draft": 24, "standard": 60, "official": 150}
"""Views of the asset; the networks were trained with 150. docs/performance.md has what fewer of them change."""
ASSET_SUFFIXES = (
    *(".glb", ".gltf", ".fbx", ".obj", ".ply", ".stl", ".usd", ".usda", ".usdc", ".usdz", ".abc", ".blend"),
)
"""Files that Blender opens."""
CAPTURE_SUFFIXES = (".safetensors", ".st")
ANIMATION, REPORT, PREVIEW, BLEND, PLY = "animation.safetensors", "report.json", "preview.mp4", "result.blend", "ply"
_CAPTURED, _ANIMATED, _EXPORTED, _PREVIEWED = 0.15, 0.85, 0.9, 0.95
"""Parts of the whole after which capture, animation, PLY files and preview end; the .blend file is last."""

_FRAME = re.compile(r"frame_\d{4,}\.ply")

OnStage = Callable[[str, float], None]


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options; every setting is one."""
    animate = commands.add_parser("animate", help="make an asset move like a video")
    animate.add_argument("asset", type=Path, help="3D file (glb, fbx, obj, usd, blend, ...), or a capture from Blender")
    animate.add_argument("video", type=Path, help="driving video")
    animate.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help=f"folder for {ANIMATION}, {PREVIEW}, {PLY}/, {BLEND} and {REPORT}; or one .safetensors file",
    )
    animate.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    animate.add_argument(
        "--views", type=_views, help="views of the asset: draft, standard (default), official, or a number"
    )
    animate.add_argument("--object", action="append", default=[], metavar="NAME", help="object of the file; repeatable")
    animate.add_argument("--frame", type=int, help="scene frame that shows the asset in the video's first pose")
    animate.add_argument(
        "--also",
        action="append",
        default=[],
        nargs=3,
        metavar=("VIDEO", "AZIMUTH", "ELEVATION"),
        help="the same moments seen from another side (degrees), for the engine fit and refinement; repeatable",
    )
    for field in dataclasses.fields(AnimateSettings):
        option = "--" + field.name.replace("_", "-")
        help_text = f"default {field.default}"
        if get_origin(field.type) is Literal:
            animate.add_argument(option, choices=get_args(field.type), default=field.default, help=help_text)
        elif field.type is bool:
            animate.add_argument(option, action="store_true")
        else:
            animate.add_argument(option, type=field.type, default=field.default, help=help_text)
    animate.set_defaults(run=_animate)


def _views(text: str) -> int:
    if text in VIEW_PRESETS:
        return VIEW_PRESETS[text]
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is neither {', '.join(VIEW_PRESETS)} nor a number from 1 to 1000")
    return int(text)


def _animate(parsed: argparse.Namespace) -> int:
    settings = AnimateSettings(
        **{field.name: getattr(parsed, field.name) for field in dataclasses.fields(AnimateSettings)}
    )
    as_file = parsed.output.suffix.lower() in CAPTURE_SUFFIXES and not parsed.output.is_dir()
    _check_output(parsed, as_file=as_file)
    _check_inputs(parsed)
    with (
        reserved(parsed.output),
        _progress_bar() as show,
        tempfile.TemporaryDirectory(prefix="gvf-animate-") as scratch,
    ):
        animation = _compute(parsed, settings, Path(scratch), show)
        if as_file:
            _save(parsed.output, animation)
            written = [parsed.output]
        else:
            written = _write_folder(parsed, settings, animation, show)
    for warning in animation.provenance["warnings"]:
        say(warning, "Warning: ", "yellow")
    made = f"{len(animation.vertices)} frames, {len(animation.gaussians)} Gaussians"
    say(f"Wrote {', '.join(str(path) for path in written)} ({made}, engine {animation.provenance['engine']}).")
    return 0


def _compute(parsed: argparse.Namespace, settings: AnimateSettings, scratch: Path, show: OnStage) -> "Animation":
    # The heavy imports wait until they are needed, so that `gvf --help` answers at once.
    from gvf_core.blender.assets import capture_asset
    from gvf_core.capture import load_capture
    from gvf_core.pipeline import FurtherVideo, animate, check_request

    further = [FurtherVideo(path, azimuth, elevation) for path, azimuth, elevation in _also(parsed, settings)]
    check_request(parsed.video, settings)
    for one in further:
        check_request(one.path, settings)
    path, begin = parsed.asset, 0.0
    if _is_asset(path):
        path, begin = scratch / "capture.safetensors", _CAPTURED
        show("Capturing", 0.0)
        capture_asset(
            parsed.asset,
            path,
            views=parsed.views or VIEW_PRESETS["standard"],
            objects=parsed.object,
            frame=parsed.frame,
            on_progress=lambda fraction: show("Capturing", _CAPTURED * fraction),
        )
    capture = load_capture(path)
    share = _ANIMATED - begin
    return animate(
        capture,
        parsed.video,
        settings,
        lambda stage, fraction: show(stage, begin + share * fraction),
        further=further,
    )


def _also(parsed: argparse.Namespace, settings: AnimateSettings) -> list[tuple[Path, float, float]]:
    """Further videos and their views.

    Raises:
        SettingsError: A view is none.
    """
    found = []
    for video, *view in parsed.also:
        try:
            azimuth, elevation = map(float, view)
            dataclasses.replace(settings, azimuth=azimuth, elevation=elevation)
        except ValueError as error:
            raise SettingsError(f"{' '.join(view)!r} is no view.", "Write --also VIDEO AZIMUTH ELEVATION.") from error
        found.append((Path(video), azimuth, elevation))
    return found


def _write_folder(
    parsed: argparse.Namespace, settings: AnimateSettings, animation: "Animation", show: OnStage
) -> list[Path]:
    """Everything that a folder of results holds; what stops on the way leaves earlier results as they were.

    Only the .blend file is new as soon as Blender has written it, shortly before the others.
    """
    from gvf_core.blender.assets import import_animation
    from gvf_core.export import write_ply_sequence, write_preview
    from gvf_core.models.record import sha256_of
    from gvf_core.video import read_video

    output: Path = parsed.output
    made = [ANIMATION, PLY, PREVIEW]
    _make_folder(output)
    with tempfile.TemporaryDirectory(prefix=".waiting-", dir=output) as folder:
        waiting = Path(folder)
        _make_folder(waiting / PLY)
        _save(waiting / ANIMATION, animation)

        def exporting(fraction: float) -> None:
            show("Writing PLY files", _ANIMATED + (_EXPORTED - _ANIMATED) * fraction)

        write_ply_sequence(waiting / PLY, animation.gaussians, animation.variation, exporting)
        clip = read_video(parsed.video, settings.start_frame, settings.frame_stride, settings.max_frames)
        view = (animation.provenance["azimuth"], animation.provenance["elevation"])

        def previewing(fraction: float) -> None:
            show("Making the preview", _EXPORTED + (_PREVIEWED - _EXPORTED) * fraction)

        write_preview(waiting / PREVIEW, clip.frames, animation, view, on_progress=previewing)
        if _is_asset(parsed.asset):
            # At its place at once, in one go at the end: what it links is found from there.
            animation.provenance["warnings"] += import_animation(
                parsed.asset,
                waiting / ANIMATION,
                output / BLEND,
                objects=parsed.object,
                frame=parsed.frame,
                on_progress=lambda fraction: show("Importing in Blender", _PREVIEWED + (1 - _PREVIEWED) * fraction),
            )
            made.append(BLEND)
        _put(waiting, output)
        if BLEND not in made:
            (output / BLEND).unlink(missing_ok=True)
    inputs = {name: {"file": str(path), "sha256": sha256_of(path)} for name, path in _inputs(parsed).items()}
    report: dict[str, Any] = {"inputs": inputs, "files": made, **animation.provenance}
    (output / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return [output / name for name in (*made, REPORT)]


def _put(waiting: Path, output: Path) -> None:
    """Move finished results to their place, instead of earlier ones; frames of a longer sequence go."""
    _make_folder(output / PLY)
    frames = {path.name for path in (waiting / PLY).iterdir()}
    for name in (ANIMATION, PREVIEW, *(f"{PLY}/{frame}" for frame in sorted(frames))):
        (waiting / name).replace(output / name)
    for path in (output / PLY).iterdir():
        if _FRAME.fullmatch(path.name) and path.name not in frames:
            path.unlink()


def _inputs(parsed: argparse.Namespace) -> dict[str, Path]:
    further = {f"further video {number}": Path(video) for number, (video, *_) in enumerate(parsed.also, start=1)}
    return {"asset": parsed.asset, "video": parsed.video, **further}


def _is_asset(path: Path) -> bool:
    return path.suffix.lower() in ASSET_SUFFIXES


def _check_inputs(parsed: argparse.Namespace) -> None:
    """See that the inputs are there and fit the options.

    Raises:
        FileFormatError: An input does not exist, or the asset is none.
        SettingsError: An option says how to open a file that is a capture already.
    """
    for path in _inputs(parsed).values():
        if not path.is_file():
            raise FileFormatError(f"There is no file {path}.", "Choose another file.")
    if _is_asset(parsed.asset):
        return
    if parsed.asset.suffix.lower() not in CAPTURE_SUFFIXES:
        raise FileFormatError(
            f"{parsed.asset} is neither a 3D file nor a capture.",
            f"3D files end in {', '.join(ASSET_SUFFIXES)}; captures in {', '.join(CAPTURE_SUFFIXES)}.",
        )
    given = {"--object": parsed.object, "--frame": parsed.frame is not None, "--views": parsed.views}
    unfit = [option for option, value in given.items() if value]
    if unfit:
        raise SettingsError(f"{unfit[0]} is for 3D files, and {parsed.asset} is a capture.", "Leave it out.")


def _check_output(parsed: argparse.Namespace, *, as_file: bool) -> None:
    """See that the results have a place, before anything takes time.

    Raises:
        SettingsError: There is no place, or something is in it already.
    """
    output: Path = parsed.output
    if not output.parent.is_dir():
        raise SettingsError(f"There is no folder {output.parent}.", "Create it or choose another output.")
    places = [output, *(output / name for name in (ANIMATION, PREVIEW, BLEND, REPORT) if not as_file)]
    for path in _inputs(parsed).values():
        is_frame = not as_file and _FRAME.fullmatch(path.name) and path.resolve().parent == (output / PLY).resolve()
        if is_frame or path.resolve() in [place.resolve() for place in places]:
            raise SettingsError(f"The result would replace the input {path}.", "Choose another output.")
    if output.exists() and not (as_file or output.is_dir()):
        raise SettingsError(f"The output {output} is a file.", "Choose another folder.")
    if not as_file and output.suffix.lower() in (*ASSET_SUFFIXES, Path(PREVIEW).suffix, Path(REPORT).suffix):
        raise SettingsError(
            f"The output {output} looks like a file.", f"Name a folder, or a file that ends in {CAPTURE_SUFFIXES[0]}."
        )
    taken = [output] if as_file else [output / name for name in (ANIMATION, PREVIEW, PLY, BLEND, REPORT)]
    held = [path for path in taken if path.exists()]
    if held and not parsed.overwrite:
        what = f"{output} is there" if as_file else f"{output} holds {held[0].name}"
        raise SettingsError(f"{what} already.", "Choose another output, or replace the results with --overwrite.")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileNotWrittenError(
            f"The folder {path} cannot be made ({error.strerror}).", "Choose another place."
        ) from error


def _save(path: Path, animation: "Animation") -> None:
    from gvf_core.animation import save_animation

    save_animation(path, animation)


@contextmanager
def _progress_bar() -> Iterator[OnStage]:
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task("", total=1)
        yield lambda stage, done: bar.update(task, description=stage, completed=done)
