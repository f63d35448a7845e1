"""The console: animate objects from Python, in background mode and in Blender's own console. See docs/console.md."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import bpy

from . import job_list
from .asset_properties import remember_view
from .batch import BatchOutcome, run_batch
from .camera_view import view_of_camera
from .capture import CaptureOptions, StartFrameOptions, VideoView, render_start_frame
from .client import Client
from .core.errors import FileError, GvfBlenderError, JobCancelled, SelectionError, SettingsError
from .core.manifest import BatchTask, read_manifest
from .core.motion_settings import MotionSettings
from .core.video_check import VideoCheck
from .diagnosis import report
from .exporter import ExportReport
from .exporter import export as write_export
from .importer import Imported
from .importer import import_splats as read_splats
from .importer.root import can_have_root, obstacle_to_root, set_root
from .job import AnimateJob, ProgressCallback
from .preferences import results_folder, server_choice
from .request import OUTPUTS, check_frame, check_selection, find_objects, make_request
from .request import check_video as check_path
from .server_choice import ServerChoice
from .server_thread import Connect
from .user_path import real_path, user_path
from .video_check import look, settings_of_look

LOGGER = logging.getLogger(__name__)

Objects = str | bpy.types.Object | Iterable[str | bpy.types.Object]
Server = Client | str | Path | None

Job = AnimateJob
"""A running or finished animation: the very object that the Jobs panel shows."""


def animate(
    objects: Objects, video: str | Path, *, on_progress: ProgressCallback | None = None, **options: Any
) -> Imported:
    """Make objects move like a video, and wait until the result is in the scene.

    Args:
        objects: As for `start`.
        video: As for `start`.
        on_progress: Called on the main thread with the stage and the fraction of the whole that is done, 0..1.
        **options: Any further argument of `start`, such as `azimuth=45`.

    Returns:
        The imported objects and warnings.

    Raises:
        SelectionError: The objects cannot be animated.
        FileError: The video cannot be used, or a file cannot be written.
        SettingsError: A setting is out of range.
        ServerError: The server cannot be reached, refuses, or failed.
        JobCancelled: The job was cancelled.
    """
    job = start(objects, video, **options)
    try:
        return job.wait(on_progress or (lambda stage, fraction: None))
    finally:
        job.close()
        job_list.remove(job)


def start(
    objects: Objects,
    video: str | Path,
    *,
    outputs: Iterable[str] = OUTPUTS,
    frame_start: int | None = None,
    server: Server = None,
    views: str | int = "standard",
    movable: str = "",
    camera: str | bpy.types.Object | None = None,
    further: Iterable[tuple[str | Path, float, float]] = (),
    capture_options: CaptureOptions | None = None,
    **settings: Any,
) -> Job:
    """Begin to make objects move like a video, as the button Animate does.

    With windows, Blender's timer does the rest, and the Jobs panel shows how far it is; without, `Job.wait` does it.
    Jobs are captured one after the other, each in the pose of the frame that is current now.

    Args:
        objects: Objects or names of objects, one or several.
        video: The driving video; "//" stands for the folder of the .blend file.
        outputs: What is imported: any of "splats", "points" and "motion".
        frame_start: Scene frame of the first video frame; None takes the current frame.
        server: A connected client or the path of a handshake file; None takes the server of the preferences.
        views: How many views of the asset are rendered: "draft", "standard", "official", or a number.
        movable: Name of a vertex group: only what is in it moves, in part where its weight is below 1.
        camera: The camera that the video was seen from, as an object or its name; it gives azimuth, elevation and fov.
        further: At most three videos of the same moments, seen from other sides: each with its azimuth and elevation.
        capture_options: Everything about how the asset is rendered; None takes the usual options.
        **settings: Any of `gvf_blender.core.motion_settings.MotionSettings`, such as `azimuth=45`.

    Returns:
        The job, which is in the list already.

    Raises:
        SelectionError: The objects cannot be animated, or another one has the same name as one of them.
        FileError: The video cannot be used, or a folder cannot be made.
        SettingsError: A setting is out of range, or of another type.
        ServerError: There is no server to be found.
    """
    if not isinstance(capture_options, CaptureOptions | None):
        raise SettingsError(f"{capture_options!r} are no capture options.", "Pass CaptureOptions, or None.")
    found = find_objects(objects)
    if camera is not None:
        settings |= _seen_by(camera, found, settings)
    request = make_request(
        found, video, MotionSettings.from_names(settings), outputs, frame_start, views, movable, further
    )
    connect = _connector(server)
    job = Job(request, connect, results_folder(), capture_options)
    job_list.add(job)
    return job


def _seen_by(
    camera: str | bpy.types.Object, objects: Sequence[bpy.types.Object], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of the view from which a camera sees objects.

    Raises:
        SelectionError: Something does not exist, or the camera is none, or several.
    """
    found = _the_one(camera, "Name the camera that the video was seen from.")
    if found.type != "CAMERA":
        raise SelectionError(f"{found.name!r} is no camera.", "Name the camera that the video was seen from.")
    fov = settings.get("fov", MotionSettings.fov)
    view = view_of_camera(bpy.context, found, objects, fov)
    return {"view": "given", "azimuth": view.azimuth, "elevation": view.elevation, "fov": view.fov}


def _the_one(objects: Objects, hint: str) -> bpy.types.Object:
    """The object that is given where one is needed.

    Raises:
        SelectionError: There are several, or none; or it does not exist.
    """
    found = find_objects(objects)
    if len(found) != 1:
        given = ", ".join(repr(each.name) for each in found) or "none"
        raise SelectionError(f"One object is needed here, and given are: {given}.", hint)
    return found[0]


def check_video(
    video: str | Path,
    *,
    server: Server = None,
    start_frame: int = MotionSettings.start_frame,
    frame_stride: int = MotionSettings.frame_stride,
    max_frames: int = MotionSettings.max_frames,
    matting: str = MotionSettings.matting,
) -> VideoCheck:
    """What the server would cut out of a driving video, and what makes a good result unlikely. Nothing is animated.

    Args:
        video: As for `start`.
        server: As for `start`.
        start_frame: As the setting of `start`, like those that follow.
        frame_stride: Likewise.
        max_frames: Likewise.
        matting: Likewise.

    Returns:
        The number of frames, warnings, and a PNG file of four frames with what is left out behind a red veil.

    Raises:
        FileError: The video cannot be used.
        SettingsError: A setting is out of range.
        ServerError: There is no server, or a job would refuse the video.
    """
    settings = MotionSettings(
        start_frame=start_frame, frame_stride=frame_stride, max_frames=max_frames, matting=matting
    )
    path = check_path(video)
    return look(_connector(server)(), path, settings_of_look(settings))


def start_frame(
    objects: Objects,
    path: str | Path,
    *,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    fov: float = 49.1,
    width: int = 1024,
    height: int = 1024,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Path:
    """Render objects before a plain background, for an image-to-video tool to start from.

    The objects remember the view. A video that starts with the picture needs the same azimuth, elevation and field of
    view in `animate`, and no search.

    Args:
        objects: As for `animate`.
        path: PNG file to write; "//" stands for the folder of the .blend file.
        azimuth: Degrees, 0 is the front view and 90 the right one.
        elevation: Degrees above the horizon.
        fov: Degrees across the larger side of the picture.
        width: Pixels.
        height: Pixels.
        background: sRGB, 0..1.

    Returns:
        The full path of the picture.

    Raises:
        SelectionError: The objects cannot be rendered.
        SettingsError: An angle, a size or the colour is out of range.
        FileError: The picture cannot be written, or is to be no PNG file.
        RenderError: Blender cannot render here.
    """
    MotionSettings(azimuth=azimuth, elevation=elevation, fov=fov)
    found = find_objects(objects)
    check_selection(found)
    view = VideoView(azimuth, elevation, fov)
    target = real_path(path)
    if target.suffix.lower() != ".png":
        raise FileError(f"{target.name} does not end in .png.", "A start frame is a PNG file.")
    render_start_frame(bpy.context, found, target, view, StartFrameOptions(width, height, background))
    if hasattr(bpy.types.Object, "gvf"):
        remember_view(found, view, str(target))
    return target


def export(
    objects: Objects,
    path: str | Path,
    *,
    frame_start: int | None = None,
    frame_end: int | None = None,
) -> ExportReport:
    """Write the animation of objects for other programs, and measure how exact the file is.

    Args:
        objects: Splats or points for PLY files, one per frame; meshes that move for the other formats, of which all but
            the point cache hold several.
        path: The suffix tells the format: .ply, .abc, .usd, .usda, .usdc, .glb (morph targets) or .pc2; "//" stands
            for the folder of the .blend file.
        frame_start: First scene frame; None takes that of the animation.
        frame_end: Last scene frame; likewise.

    Returns:
        The files, and the largest distance in metres between what is shown and what was read back from them.

    Raises:
        SelectionError: An object does not go into that format, several do not, or there is none.
        SettingsError: An unknown suffix, no frames, or one that is no scene frame.
        FileError: The file cannot be written.
    """
    found = find_objects(objects)
    if not found:
        raise SelectionError("No object is given.", "Name the objects to export.")
    target = real_path(path)
    first, last = check_frame("first frame", frame_start), check_frame("last frame", frame_end)
    return write_export(bpy.context, found, target, first, last)


def root_on_object(thing: str | bpy.types.Object, on: bool = True) -> None:
    """Key the way over the ground on the objects of an import, whose vertices then stay on the spot, or take that back.

    Args:
        thing: One of the import.
        on: False lets the vertices go their way again.

    Raises:
        SelectionError: It has no imported motion, or cannot be keyed.
    """
    found = _the_one(thing, "Name one object of an import.")
    if not can_have_root(found):
        raise SelectionError(f"{found.name!r} is of an import with no motion of a mesh.", "Import the motion, too.")
    obstacle = obstacle_to_root(found)
    if obstacle is not None:
        raise SelectionError(obstacle, "Then try again.")
    set_root(found, on)


def import_splats(path: str | Path) -> Imported:
    """Add the Gaussian splats of a PLY file to the scene: one of `export`, or of a 3D Gaussian splatting tool.

    Args:
        path: Binary little endian, in the usual layout; "//" stands for the folder of the .blend file.

    Returns:
        The splat object, which does not move, and warnings about what was left out.

    Raises:
        FileError: The file cannot be read, is cut off or another kind of file.
    """
    return read_splats(bpy.context, user_path(path))


@dataclass(frozen=True)
class AnimateTask:
    """One line of a batch.

    Attributes:
        objects: As for `animate`.
        video: As for `animate`.
        options: Further keyword arguments of `animate`, such as {"seed": 3}.
    """

    objects: Objects
    video: str | Path
    options: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskOutcome:
    """What became of one task: exactly one of `imported` and `error` is set."""

    task: AnimateTask
    imported: Imported | None = None
    error: GvfBlenderError | None = None


def animate_many(tasks: Iterable[AnimateTask], **options: object) -> list[TaskOutcome]:
    """Run one task after the other; a failing one does not keep the others from running.

    Args:
        tasks: What to do, in this order.
        **options: Keyword arguments of `animate` for all tasks; those of a task come first.

    Returns:
        One outcome per task, in the same order.

    Raises:
        JobCancelled: One was cancelled; the tasks after it are not begun.
    """
    outcomes = []
    for number, task in enumerate(tasks, start=1):
        try:
            imported = animate(task.objects, task.video, **{**options, **task.options})
        except JobCancelled:
            raise
        except GvfBlenderError as error:
            LOGGER.warning("Task %d, with %s, failed: %s", number, task.video, error)
            outcomes.append(TaskOutcome(task, error=error))
        else:
            outcomes.append(TaskOutcome(task, imported=imported))
    return outcomes


def batch(
    manifest: str | Path,
    *,
    resume: bool = True,
    server: Server = None,
    on_progress: Callable[[BatchTask, str, float], None] | None = None,
) -> list[BatchOutcome]:
    """Animate assets from files as a manifest says, each into a .blend file of its own.

    Opens one file after another, so the last result is open at the end. A failing task does not keep the others from
    running. What is done is noted beside the manifest.

    Args:
        manifest: A TOML file, see docs/console.md.
        resume: Skip tasks that an earlier run has done with the same files and settings.
        server: As for `animate`.
        on_progress: Called with the task, the stage and the fraction of the task that is done, 0..1.

    Returns:
        One outcome per task, in the order of the manifest.

    Raises:
        FileError: The manifest cannot be read, or the state beside it not be kept.
        SettingsError: The manifest says something impossible, or the open file has unsaved changes.
        ServerError: No server is to be found at all.
        JobCancelled: Somebody cancelled; a second run goes on from there.
    """
    if bpy.data.is_dirty and not bpy.app.background:
        raise SettingsError("The open file has unsaved changes, and a batch opens other files.", "Save it first.")
    path = real_path(manifest)
    tasks = read_manifest(path)
    _connector(server)
    if isinstance(server, str | Path):
        # "//" stands for another folder as soon as the first task has opened its asset.
        server = user_path(server)

    def run(objects: Sequence[bpy.types.Object], task: BatchTask) -> Imported:
        tell = None if on_progress is None else partial(on_progress, task)
        return animate(objects, task.video, further=task.further, server=server, on_progress=tell, **task.settings)

    return run_batch(path, tasks, run, resume)


def diagnose() -> str:
    """A report about versions, settings, server and jobs for whoever helps; without secrets."""
    return report(bpy.context)


def _connector(server: Server) -> Connect:
    if isinstance(server, Client):
        return lambda: server
    if not isinstance(server, str | Path | None):
        raise SettingsError(f"{server!r} is no server.", "Pass a Client, or the path of a handshake file.")
    choice = server_choice(bpy.context) if server is None else ServerChoice(handshake_path=user_path(server))
    choice.locate()
    return choice.connect
