"""The protocol "existing-asset": an asset's own clip is filmed, and an engine has to find it again from the film.

The engine is given the asset in the clip's first pose, the film from one side, and that side. docs/evaluation.md.
"""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from gvf_core.blender.assets import capture_beside, read_clip
from gvf_core.canonical.surface import gaussians_on_surface
from gvf_core.capture import Capture, load_capture
from gvf_core.engine_choice import choose_engine
from gvf_core.errors import Cancelled, CaptureError, FileFormatError, GvfError
from gvf_core.evaluation.clip_file import AssetClip, load_clip
from gvf_core.evaluation.clip_task import (
    BASELINES,
    BETWEEN_FILMS,
    FLAT,
    RIGID,
    UNMOVED,
    ClipTask,
    ProtocolOptions,
    engine_settings,
)
from gvf_core.evaluation.confidence_errors import confidence_errors
from gvf_core.evaluation.contact_sheet import SheetRow, cropped, sheet_frames, write_sheet
from gvf_core.evaluation.geometry_metrics import geometry_errors
from gvf_core.evaluation.image_metrics import BEST_PSNR, peak_signal_to_noise
from gvf_core.evaluation.motion_metrics import at_rest_depth, best_rigid_motion, motion_errors
from gvf_core.evaluation.picture_scores import save_words
from gvf_core.evaluation.report_tables import figure_text
from gvf_core.evaluation.root_motion import root_errors
from gvf_core.evaluation.side_pictures import SideComparison
from gvf_core.evaluation.true_motion import (
    TrueMotion,
    contrasting_color,
    draw,
    driving_camera,
    novel_cameras,
    over,
    straight_bytes,
    true_motion,
    write_alpha_video,
)
from gvf_core.gaussians import Splats
from gvf_core.pipeline import FurtherVideo, animate
from gvf_core.progress import Monitor
from gvf_core.rendering import Camera

LOGGER = logging.getLogger(__name__)

MIN_MOTION = 0.005
"""Clips whose surface moves less on average (unit frame) are passed over: their ratios would measure noise."""
Pictures = Float[torch.Tensor, "frames height width 3"]
_READ, _FILMED = 0.25, 0.3
"""Fractions of the work on a clip after which the inputs and the film are there."""


@dataclass(frozen=True)
class Film:
    """What an engine is given, and what it is measured with.

    Attributes:
        truth: The true motion.
        capture: The asset in its first pose.
        video: File of the film.
        further: Films from other sides.
        frames: What it shows.
        camera: Of the film.
        novel: Other cameras.
        background: What pictures are laid over to be compared, sRGB.
        novel_pictures: What those see of the truth, over it.
    """

    truth: TrueMotion
    capture: Capture
    video: Path
    further: tuple[FurtherVideo, ...]
    frames: UInt8[np.ndarray, "frames height width 4"]
    camera: Camera
    novel: tuple[Camera, ...]
    background: Float[torch.Tensor, "3"]
    novel_pictures: tuple[Float[torch.Tensor, "frames height width 3"], ...]


@dataclass(frozen=True)
class Found:
    """A motion to measure.

    Attributes:
        vertices: Of the mesh.
        splats: Gaussians at a frame.
        confidence: How far each Gaussian can be trusted in each frame, 0..1; None where nobody says.
        seconds: What it took.
        peak_memory_mb: Most memory that the process held; None if not measured.
        warnings: Sentences for the artist.
        figures: Of the engine.
    """

    vertices: Float[np.ndarray, "frames vertices 3"]
    splats: Callable[[int], Splats]
    confidence: Float[np.ndarray, "frames gaussians"] | None = None
    seconds: float = 0.0
    peak_memory_mb: int | None = None
    warnings: tuple[str, ...] = ()
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


def evaluate_clip(task: ClipTask, on_progress: Callable[[float], None] = lambda fraction: None) -> None:
    """Film a clip, let every engine find it again, and keep the figures and a sheet of pictures in the folder.

    Engines whose figures are kept already are not run again; neither is anything without any engine left.

    Raises:
        CaptureError, FileFormatError, BlenderError: The clip cannot be used; no engine is to blame.
        GvfError: Nothing can be read or written here.
    """
    missing = [engine for engine in task.engines if not task.is_measured(engine)]
    if not missing:
        return
    for engine in missing:
        task.forget(engine)
    clip, capture = _inputs(task, lambda fraction: on_progress(_READ * fraction))
    film = _film(task, clip, capture)
    sides = None
    if task.options.picture_size:
        sides = SideComparison.of(film.truth.splats, film.novel, len(film.frames), task.options.picture_size)
    on_progress(_FILMED)
    for index, engine in enumerate(missing):
        monitor = Monitor(on_progress, lambda: False).part(_FILMED, 1.0)
        part = monitor.part(index / len(missing), (index + 1) / len(missing))
        row = task.label(engine)
        try:
            row |= _measured(engine, task, film, sides, part)
        except Cancelled:
            raise
        except GvfError as error:
            row |= {"failure": str(error)}
        except Exception as error:
            # Whatever an engine dies of, memory of a GPU for one, the others have their turn.
            LOGGER.exception("%s broke down on %s", engine, task.slug)
            row |= {"failure": f"The engine broke down ({error!r})."}
        task.keep(engine, row)


def _measured(
    engine: str, task: ClipTask, film: Film, sides: SideComparison | None, monitor: Monitor
) -> dict[str, Any]:
    """The figures of one engine; words of I3D and the sheet are written.

    Raises:
        GvfError: The engine cannot do it, what it found cannot be measured, or a file cannot be written.
    """
    found = _run(engine, task, film, monitor)
    _check_found(found, film)
    figures = _figures(film, found, task.options)
    if wrong := [name for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)]:
        raise GvfError(f"The motion cannot be measured: {wrong[0]} is {figures[wrong[0]]}.")
    if sides is not None:
        figures["pictures"] = _side_figures(task, engine, sides, found)
    if engine != UNMOVED:
        _sheet(task, engine, film, found, figures)
    return figures


def _inputs(task: ClipTask, on_progress: Callable[[float], None]) -> tuple[AssetClip, Capture]:
    """The clip and the capture of its first frame, from an earlier run or from Blender."""
    path = task.folder / "inputs" / f"{task.slug}.safetensors"
    mark = path.with_suffix(".key")
    if mark.is_file() and mark.read_text(encoding="utf-8") == task.input_key():
        try:
            clip, capture = load_clip(path), load_capture(capture_beside(path))
        except (CaptureError, FileFormatError) as error:
            LOGGER.warning("%s is read again: %s", task.slug, error)
        else:
            _check_motion(task, clip)
            return clip, capture
    # From here on the files are not those that the mark speaks of.
    mark.unlink(missing_ok=True)
    options = task.options
    # Without views first: a clip that is of no use costs a second then, not a minute.
    read_clip(task.choice.asset.path, task.choice.clip, path, frames=options.frames, seconds=options.seconds)
    _check_motion(task, load_clip(path))
    read_clip(
        task.choice.asset.path,
        task.choice.clip,
        path,
        frames=options.frames,
        seconds=options.seconds,
        views=options.views,
        size=options.view_size,
        on_progress=on_progress,
    )
    clip, capture = load_clip(path), load_capture(capture_beside(path))
    mark.write_text(task.input_key(), encoding="utf-8")
    return clip, capture


def _check_motion(task: ClipTask, clip: AssetClip) -> None:
    """Refuse a clip that says nothing about engines.

    Raises:
        CaptureError: It hardly moves, or leaves the picture.
    """
    options = task.options
    still = np.broadcast_to(clip.vertices[:1], clip.vertices.shape)
    camera = driving_camera(clip.vertices, options.azimuth, options.elevation, options.fov, options.size)
    try:
        rng = np.random.default_rng(options.seed)
        moves = motion_errors(still, clip.vertices, clip.triangles, camera, rng, count=1024).unmoved_error
    except ValueError:
        moves = 0.0
    if moves < MIN_MOTION:
        raise CaptureError(f"{task.choice.clip!r} of {task.choice.asset.name} hardly moves ({moves:.4f}).")


def _film(task: ClipTask, clip: AssetClip, capture: Capture) -> Film:
    options = task.options
    camera = driving_camera(clip.vertices, options.azimuth, options.elevation, options.fov, options.size)
    # Other Gaussians than those that the engine `fit` will place: it must not find its own again.
    truth = true_motion(clip, capture, options.gaussians, np.random.default_rng([options.seed, 1]))
    count = len(clip.vertices)
    splats = [truth.splats(index) for index in range(count)]
    if options.cycles:
        frames = _lit_frames(task, camera)
    else:
        frames = np.stack([straight_bytes(draw(one, camera)) for one in splats])
    video = task.folder / "inputs" / f"{task.slug}{'.lit' if options.cycles else ''}.mkv"
    write_alpha_video(video, frames, clip.fps)
    further = _further_films(task, splats, clip)
    novel = novel_cameras(camera, options.azimuth, options.fov)
    background = contrasting_color(splats[0].colors)
    pictures = tuple(torch.stack([over(draw(one, view), background) for one in splats]) for view in novel)
    return Film(truth, capture, video, further, frames, camera, novel, background, pictures)


def _further_films(task: ClipTask, splats: Sequence[Splats], clip: AssetClip) -> tuple[FurtherVideo, ...]:
    options = task.options
    films = []
    for number in range(1, options.films):
        azimuth = options.azimuth + number * BETWEEN_FILMS
        camera = driving_camera(clip.vertices, azimuth, options.elevation, options.fov, options.size)
        path = task.folder / "inputs" / f"{task.slug}.{number}.mkv"
        write_alpha_video(path, np.stack([straight_bytes(draw(one, camera)) for one in splats]), clip.fps)
        films.append(FurtherVideo(path, azimuth, options.elevation))
    return tuple(films)


def _lit_frames(task: ClipTask, camera: Camera) -> UInt8[np.ndarray, "frames height width 4"]:
    path = task.folder / "inputs" / f"{task.slug}.lit.safetensors"
    options = task.options
    asset, clip = task.choice.asset.path, task.choice.clip
    read_clip(asset, clip, path, frames=options.frames, seconds=options.seconds, camera=camera)
    pictures = load_clip(path).pictures
    path.unlink()
    if pictures is None:
        raise CaptureError(f"There are no pictures in {path.name}.", "Please report this.")
    return pictures


def _run(engine: str, task: ClipTask, film: Film, monitor: Monitor) -> Found:
    clip = film.truth.clip
    if engine in BASELINES:
        rng = np.random.default_rng(task.settings.seed)
        canonical = gaussians_on_surface(film.capture, task.settings.gaussians, rng)
        vertices = np.broadcast_to(clip.vertices[:1], clip.vertices.shape)
        if engine == RIGID:
            vertices = best_rigid_motion(clip.vertices, clip.triangles, np.random.default_rng(task.options.seed))
        elif engine == FLAT:
            vertices = at_rest_depth(clip.vertices, film.camera).astype(np.float32)
        carried = TrueMotion(dataclasses.replace(clip, vertices=vertices), canonical)
        return Found(vertices, carried.splats)
    settings = dataclasses.replace(
        engine_settings(engine, task.settings),
        view="given",
        azimuth=task.options.azimuth,
        elevation=task.options.elevation,
        fov=task.options.fov,
        start_frame=0,
        frame_stride=1,
        max_frames=task.options.frames,
        matting="alpha",
    )
    start = time.perf_counter()
    report = lambda stage, fraction: monitor(fraction)  # noqa: E731
    animation = animate(film.capture, film.video, settings, report, further=film.further)
    seconds = time.perf_counter() - start
    told = animation.provenance
    kept = ("alignment_iou", "hypothesis", "video_residual", "nodes")
    figures: dict[str, Any] = {name: told[name] for name in kept if name in told}
    return Found(
        vertices=animation.vertices,
        splats=lambda frame: animation.gaussians.activate(animation.variation.deltas[frame]),
        confidence=animation.confidence,
        seconds=seconds,
        peak_memory_mb=max(told["peak_memory_mb"].values(), default=None),
        warnings=tuple(told["warnings"]),
        figures={"engine_used": choose_engine(settings), "stage_seconds": told["seconds"], **figures},
    )


def _check_found(found: Found, film: Film) -> None:
    truth = film.truth.clip.vertices
    if found.vertices.shape != truth.shape:
        raise GvfError(f"The motion has the shape {found.vertices.shape}, the truth {truth.shape}.")
    if wrong := int((~np.isfinite(found.vertices)).any(axis=-1).sum()):
        raise GvfError(f"{wrong} places of vertices are not finite.")


def _figures(film: Film, found: Found, options: ProtocolOptions) -> dict[str, Any]:
    clip = film.truth.clip
    rng = np.random.default_rng(options.seed)
    errors = motion_errors(found.vertices, clip.vertices, clip.triangles, film.camera, rng)
    geometry = geometry_errors(found.vertices, clip.vertices, clip.triangles, rng)
    roots = root_errors(found.vertices, clip.vertices, clip.triangles, rng)
    scores = []
    with torch.inference_mode():
        rest = found.splats(0)
        splats = [found.splats(index) for index in range(1, len(clip.vertices))]
        trust = None
        if found.confidence is not None:
            means = torch.stack([one.means for one in (rest, *splats)]).double().numpy()
            trust = confidence_errors(found.confidence, means, clip.vertices, clip.triangles, rng)
        for camera, truth in zip(film.novel, film.novel_pictures, strict=True):
            drawn = torch.stack([over(draw(one, camera), film.background) for one in splats])
            unmoved = over(draw(rest, camera), film.background).expand_as(drawn)
            pairs = ((drawn, truth[1:]), (unmoved, truth[1:]))
            scores.append([score(*pair) for score in (_clip_psnr, _picture_psnr) for pair in pairs])
        driven = torch.stack([over(draw(one, film.camera), film.background) for one in splats])
    psnr, psnr_unmoved, picture_psnr, picture_psnr_unmoved = np.mean(scores, axis=0).tolist()
    return {
        **dataclasses.asdict(errors),
        **dataclasses.asdict(geometry),
        **dataclasses.asdict(roots),
        **(dataclasses.asdict(trust) if trust else {}),
        "psnr": psnr,
        "psnr_gain": psnr - psnr_unmoved,
        "picture_psnr": picture_psnr,
        "picture_psnr_gain": picture_psnr - picture_psnr_unmoved,
        "psnr_driving": _clip_psnr(driven, _filmed(film, film.frames[1:])),
        "seconds": found.seconds,
        "peak_memory_mb": found.peak_memory_mb,
        "warnings": list(found.warnings),
        "radius": float(np.linalg.norm(film.camera.position)),
        "fps": clip.fps,
        "vertices": clip.vertices.shape[1],
        "figures": found.figures,
    }


def _side_figures(task: ClipTask, engine: str, sides: SideComparison, found: Found) -> dict[str, Any]:
    """Scores of the pictures from other sides; what I3D says of them is kept for the distance over all clips."""
    scores = sides.compare(found.splats)
    path = task.words_file(engine)
    path.unlink(missing_ok=True)
    if scores.words is not None:
        save_words(path, scores.words)
    return sides.as_row(scores)


def _clip_psnr(pictures: Pictures, references: Pictures) -> float:
    """Of the mean squared error of all pictures together.

    A mean over pictures would reward standing still in clips that return to their beginning: of the last picture, which
    needs no motion at all, the unmoved asset has the best score of all.
    """
    (score,) = peak_signal_to_noise(pictures.reshape(1, 3, 1, -1), references.reshape(1, 3, 1, -1)).tolist()
    return min(score, BEST_PSNR)


def _picture_psnr(pictures: Pictures, references: Pictures) -> float:
    """Mean over pictures, as papers report it."""
    scores = peak_signal_to_noise(pictures.movedim(-1, 1), references.movedim(-1, 1))
    return float(scores.clamp_max(BEST_PSNR).mean())


def _sheet(task: ClipTask, engine: str, film: Film, found: Found, figures: dict[str, Any]) -> None:
    """Film and result from its side, result and truth from another side; each pair is cut alike."""
    shown = sheet_frames(len(film.frames))
    aside = film.novel[0]

    def drawn(camera: Camera) -> list[np.ndarray]:
        return [_bytes(over(draw(found.splats(index), camera), film.background)) for index in shown]

    film_frames = _filmed(film, film.frames[shown])
    frames = ", ".join(str(index) for index in shown)
    name = BASELINES.get(engine, engine)
    rows = [
        *cropped(
            [
                SheetRow("driving video", [_bytes(frame) for frame in film_frames]),
                SheetRow(f"{name}, driving view", drawn(film.camera)),
            ],
            _bytes(film.background),
        ),
        *cropped(
            [
                SheetRow(f"{name}, novel view", drawn(aside)),
                SheetRow("truth, novel view", [_bytes(film.novel_pictures[0][index]) for index in shown]),
            ],
            _bytes(film.background),
        ),
    ]
    title = (
        f"{task.choice.asset.name}: {task.choice.clip}   ratio {figures['ratio_all']:.2f}, in plane "
        f"{figure_text(figures['ratio_in_plane'], '.2f')}, {figures['psnr_gain']:+.1f} dB   frames {frames}"
    )
    write_sheet(task.folder / "sheets" / f"{task.slug}.{engine}.png", title, rows)


def _filmed(film: Film, frames: UInt8[np.ndarray, "frames height width 4"]) -> Pictures:
    straight = torch.from_numpy(frames.astype(np.float32) / 255)
    return straight[..., :3] * straight[..., 3:] + (1 - straight[..., 3:]) * film.background


def _bytes(picture: Float[torch.Tensor, "*shape 3"]) -> UInt8[np.ndarray, "*shape 3"]:
    return (255 * picture).round().to(torch.uint8).numpy()
