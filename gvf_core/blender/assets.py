"""Asset files in, .blend files out: what a Blender without a window does with our extension's code."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gvf_core.blender.process import Progress, run_action
from gvf_core.errors import CaptureError
from gvf_core.rendering.camera import Camera


def capture_asset(
    asset: Path,
    capture: Path,
    *,
    views: int = 40,
    size: int = 512,
    objects: Sequence[str] = (),
    frame: int | None = None,
    on_progress: Progress = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write the capture of an asset file.

    Args:
        asset: .glb, .gltf, .fbx, .obj, .ply, .stl, .usd, .usda, .usdc, .usdz, .abc or .blend.
        capture: Capture file to write.
        views: Number of views.
        size: Their width and height in pixels.
        objects: Names of the objects to capture; none for all visible meshes.
        frame: Scene frame to capture; None for the one at which a .blend file was saved, else frame 1.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Raises:
        SettingsError: There is no Blender, or a setting is out of range.
        FileFormatError: The asset or the output cannot be used.
        CaptureError: The asset cannot be captured.
        BlenderError: Blender broke down.
        Cancelled: `cancelled` returned True.
    """
    arguments = ["capture", str(asset.absolute()), f"--output={capture}", f"--views={views}", f"--size={size}"]
    run_action([*arguments, *_choice(objects, frame)], (capture,), on_progress, cancelled)


def import_animation(
    asset: Path,
    animation: Path,
    blend: Path,
    *,
    objects: Sequence[str] = (),
    frame: int | None = None,
    frame_start: int = 1,
    on_progress: Progress = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[str, ...]:
    """Write a .blend file of an asset with its animation: splats, points, and motion on its own objects.

    Args:
        asset: The file that was captured.
        animation: The animation made of that capture.
        blend: File to write; one that exists is replaced.
        objects: As for the capture.
        frame: As for the capture.
        frame_start: Scene frame of the animation's first frame.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Returns:
        Sentences about what was left out or needs attention, those in the animation's provenance first.

    Raises:
        SettingsError: There is no Blender, or a setting is out of range.
        FileFormatError: The animation is not one of this asset, or a file cannot be read or written.
        CaptureError: The asset cannot be used.
        BlenderError: Blender broke down.
        Cancelled: `cancelled` returned True.
    """
    arguments = [
        "import",
        str(asset.absolute()),
        f"--animation={animation}",
        f"--output={blend}",
        f"--frame-start={frame_start}",
    ]
    return tuple(run_action([*arguments, *_choice(objects, frame)], (blend,), on_progress, cancelled)["warnings"])


@dataclass(frozen=True)
class ClipName:
    """A clip of an animated asset.

    Attributes:
        name: As in the file; "timeline" where it has none.
        seconds: How long it is.
        fps: Frames per second of the file's scene.
    """

    name: str
    seconds: float
    fps: float


def list_clips(
    asset: Path, *, objects: Sequence[str] = (), cancelled: Callable[[], bool] = lambda: False
) -> tuple[ClipName, ...]:
    """The clips of an asset file, sorted by name; none if nothing in it moves.

    Raises:
        GvfError: As for `capture_asset`.
    """
    arguments = ["clips", str(asset.absolute()), *_choice(objects, None)]
    clips = run_action(arguments, (), lambda fraction: None, cancelled)["clips"]
    return tuple(ClipName(clip["name"], clip["seconds"], clip["fps"]) for clip in clips)


def read_clips(
    asset: Path,
    outputs: Mapping[str, Path],
    *,
    frames: int = 16,
    seconds: float = 1.3,
    offset: float = 0.0,
    views: int = 0,
    size: int = 512,
    camera: Camera | None = None,
    objects: Sequence[str] = (),
    on_progress: Progress = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Write where the vertices of an asset are while its clips play; one Blender opens the file once for all clips.

    The first frame read is the rest pose, and the unit frame is its own. docs/evaluation.md describes the files;
    `gvf_core.evaluation.clip_file` reads them.

    Args:
        asset: An animated file of any kind that `capture_asset` takes.
        outputs: Clip file to write by the name of the clip.
        frames: Number of frames, evenly spread, both ends included.
        seconds: Read at most so much of a clip; 0 for all of it.
        offset: Seconds after a clip's beginning at which to start.
        views: Views of the first frame for a capture beside each clip file, called .capture.safetensors instead of
            .safetensors; 0 for none, which takes only a fraction of a second per clip.
        size: Width and height of these views in pixels.
        camera: From where to render lit pictures of the frames into the clip files; None for no pictures.
        objects: Names of the objects to read; none for all visible meshes.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Returns:
        Clips that cannot be read, and why; there are no files of them.

    Raises:
        GvfError: As for `capture_asset`.
    """
    arguments = ["clip", str(asset.absolute()), *_choice(objects, None)]
    for name, path in outputs.items():
        arguments += [f"--clip={name}", f"--output={path.absolute()}"]
    arguments += [f"--frames={frames}", f"--seconds={seconds}", f"--offset={offset}", f"--views={views}"]
    arguments += [f"--size={size}", *([] if camera is None else [f"--camera={_camera_json(camera)}"])]
    written = [path for clip in outputs.values() for path in (clip, capture_beside(clip))]
    return dict(run_action(arguments, written, on_progress, cancelled)["refused"])


def read_clip(asset: Path, clip: str, output: Path, **options: Any) -> None:
    """Write one clip file; `options` are those of `read_clips`.

    Raises:
        CaptureError: There is no such clip, or it cannot be read.
        GvfError: As for `capture_asset`.
    """
    for sentence in read_clips(asset, {clip: output}, **options).values():
        raise CaptureError(sentence)


def capture_beside(clip: Path) -> Path:
    """The capture that belongs to a clip file."""
    return clip.with_name(clip.name.removesuffix(".safetensors") + ".capture.safetensors")


def _camera_json(camera: Camera) -> str:
    """What `gvf_blender.clip_pictures` takes: a square picture without shift."""
    fov = math.degrees(2 * math.atan(0.5 / camera.intrinsics[0]))
    return json.dumps({"world_to_camera": camera.world_to_camera.tolist(), "fov": fov, "size": camera.width})


def _choice(objects: Sequence[str], frame: int | None) -> list[str]:
    """Options that hold a value each, so that a name may begin with a dash."""
    return [*(f"--object={name}" for name in objects), *([] if frame is None else [f"--frame={frame}"])]
