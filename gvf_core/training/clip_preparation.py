"""From an animated asset to clips to train on: read, chosen, filmed and written. docs/training.md says what and why."""

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32
from PIL import Image
from safetensors import SafetensorError

from gvf_core.blender.assets import ClipName, capture_asset, list_clips, read_clips
from gvf_core.blender.film import Film, film_asset
from gvf_core.capture import load_capture
from gvf_core.errors import Cancelled, FileNotWrittenError, GvfError, SettingsError
from gvf_core.evaluation.clip_choice import AnimatedAsset
from gvf_core.evaluation.clip_file import load_clip
from gvf_core.training.clip_cameras import Viewpoints, clip_viewpoints
from gvf_core.training.clip_motion import (
    MOST_VERTICES,
    SLOW_MOTION,
    MovingSurface,
    Refusal,
    RefusalKind,
    Signature,
    duplicate_of,
    moving_surface,
    signature,
    unfit,
)
from gvf_core.training.clip_record import ClipRecord, write_clip
from gvf_core.training.preparation_settings import PreparationSettings
from gvf_core.training.procedural_motion import MOTIONS, procedural_motion

ASSET_ORIGIN = "asset"
UNKNOWN_CATEGORY = "unknown"
PROCEDURAL_FPS = 24.0
LEAST_COVERED = 0.001
"""Part of the canonical pictures that shows something; below it the asset is not to be seen."""
_CHECKED_PICTURES = 8
_READ = 0.15
"""Fraction of the work on an asset after which its clips are read."""


@dataclass(frozen=True)
class ClipOutcome:
    """What became of a clip.

    Attributes:
        clip: Name in its file, or of the made-up motion; empty where the whole asset is left out.
        origin: As in `ClipRecord`.
        name: Of its file; empty if it is left out.
        motion: Mean displacement of its surface.
        pictures: Their number.
        refused: Why it is left out.
        aesthetic: Its score, where it has one.
        signature: To recognise duplicates by; only where the clip was made in this call.
    """

    clip: str
    origin: str = ASSET_ORIGIN
    name: str = ""
    motion: float = 0.0
    pictures: int = 0
    refused: Refusal | None = None
    aesthetic: float | None = None
    signature: Signature | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class _Candidate:
    """A motion that may become a clip to train on."""

    clip: str
    origin: str
    fps: float
    surface: MovingSurface


def prepare_asset(
    asset: AnimatedAsset,
    settings: PreparationSettings,
    folder: Path,
    relatives: Sequence[tuple[str, Signature]],
    *,
    threads: int = 0,
    on_progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[ClipOutcome]:
    """Write the clips of an asset.

    Args:
        asset: Animated, or any other if motion is made up.
        settings: What to make of it.
        folder: Where the files go.
        relatives: Names and signatures of the clips that the asset's family has already.
        threads: For Blender to render with; 0 for all.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Returns:
        What became of each clip; an asset that cannot be used is one outcome with a sentence.

    Raises:
        Cancelled: `cancelled` returned True.
        SettingsError: There is no Blender.
        FileNotWrittenError: For example because the disk is full.
    """
    try:
        candidates, outcomes = _chosen(asset, settings, relatives, cancelled)
        on_progress(_READ)
        views = [_viewpoints(asset, candidate, settings) for candidate in candidates]
        films = [_film(one, view) for one, view in zip(candidates, views, strict=True)]
        pictures = film_asset(
            asset.path,
            films,
            samples=settings.samples,
            threads=threads,
            on_progress=lambda fraction: on_progress(_READ + (1 - _READ) * fraction),
            cancelled=cancelled,
        )
    except (Cancelled, SettingsError):
        raise
    except GvfError as error:
        return [ClipOutcome("", refused=Refusal(RefusalKind.UNREADABLE, str(error)))]
    filmed = zip(candidates, views, pictures, strict=True)
    kept = settings.keep_vertices
    return [*outcomes, *(_written(asset, one, view, pngs, kept, folder) for one, view, pngs in filmed)]


def clip_file_name(asset: str, clip: str) -> str:
    """Name of a clip's file without suffix: readable, and another one for any other clip."""
    name = f"{asset} {clip}"
    readable = "".join(char if char.isascii() and char.isalnum() else "-" for char in name)[:80]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _chosen(
    asset: AnimatedAsset,
    settings: PreparationSettings,
    relatives: Sequence[tuple[str, Signature]],
    cancelled: Callable[[], bool],
) -> tuple[list[_Candidate], list[ClipOutcome]]:
    """Motions to film, and what is left out."""
    known = list(relatives)
    chosen: list[_Candidate] = []
    refused: list[ClipOutcome] = []
    for found in (*_own_motions(asset, settings, cancelled), *_made_up_motions(asset, settings, cancelled)):
        if isinstance(found, ClipOutcome):
            refused.append(found)
            continue
        own = signature(found.surface.points)
        why = unfit(found.surface)
        twin = None if why else duplicate_of(own, known)
        if twin is not None:
            why = Refusal(RefusalKind.DUPLICATE, f"It is the same as {twin}.")
        if why is not None:
            refused.append(ClipOutcome(found.clip, found.origin, motion=found.surface.motion, refused=why))
        elif found.origin != ASSET_ORIGIN or _has_room(chosen, settings):
            known.append((f"{asset.name}: {found.clip}", own))
            chosen.append(found)
    return chosen, refused


def _has_room(chosen: Sequence[_Candidate], settings: PreparationSettings) -> bool:
    return not settings.clips or sum(one.origin == ASSET_ORIGIN for one in chosen) < settings.clips


def _own_motions(
    asset: AnimatedAsset, settings: PreparationSettings, cancelled: Callable[[], bool]
) -> Iterator[_Candidate | ClipOutcome]:
    """The asset's own clips, in an order drawn by the seed."""
    clips = list_clips(asset.path, cancelled=cancelled)
    if not clips and not settings.procedural:
        yield ClipOutcome("", refused=Refusal(RefusalKind.STILL, "Nothing in the file moves."))
    if not clips:
        return
    order = _generator(settings, asset.name).permutation(len(clips))
    long_enough = []
    for clip in (clips[index] for index in order):
        lasts = round(clip.seconds * clip.fps, 3)
        if lasts >= settings.shortest:
            long_enough.append(clip)
        else:
            sentence = f"It lasts {lasts:g} frames; {settings.shortest} are the least."
            yield ClipOutcome(clip.name, refused=Refusal(RefusalKind.SHORT, sentence))
    with tempfile.TemporaryDirectory(prefix="gvf-prepare-") as folder:
        yield from _read_windows(asset, long_enough, settings, Path(folder), cancelled)


def _read_windows(
    asset: AnimatedAsset,
    clips: Sequence[ClipName],
    settings: PreparationSettings,
    folder: Path,
    cancelled: Callable[[], bool],
) -> Iterator[_Candidate | ClipOutcome]:
    """Consecutive frames from the beginning of each clip; slow ones are read again as a whole, as officially."""
    if not clips:
        return
    window = (settings.frames - 1) * settings.stride / clips[0].fps
    found = _read(asset, clips, settings, folder, window, cancelled)
    slow = [
        clip
        for clip in clips
        if isinstance(one := found[clip.name], _Candidate)
        and one.surface.motion < SLOW_MOTION
        and clip.seconds > window
    ]
    found |= _read(asset, slow, settings, folder, 0.0, cancelled)
    yield from (found[clip.name] for clip in clips)


def _read(
    asset: AnimatedAsset,
    clips: Sequence[ClipName],
    settings: PreparationSettings,
    folder: Path,
    seconds: float,
    cancelled: Callable[[], bool],
) -> dict[str, _Candidate | ClipOutcome]:
    """By name of the clip."""
    if not clips:
        return {}
    paths = {clip.name: folder / f"{index}.safetensors" for index, clip in enumerate(clips)}
    refused = read_clips(asset.path, paths, frames=settings.frames, seconds=seconds, cancelled=cancelled)
    found: dict[str, _Candidate | ClipOutcome] = {
        name: ClipOutcome(name, refused=Refusal(RefusalKind.UNREADABLE, why)) for name, why in refused.items()
    }
    for name, path in paths.items():
        if name not in refused:
            clip = load_clip(path)
            found[name] = _candidate(asset, settings, name, ASSET_ORIGIN, clip.fps, clip.vertices, clip.triangles)
    return found


def _made_up_motions(
    asset: AnimatedAsset, settings: PreparationSettings, cancelled: Callable[[], bool]
) -> Iterator[_Candidate | ClipOutcome]:
    """Made-up motion of the file as it stands, one kind after the other."""
    if not settings.procedural:
        return
    with tempfile.TemporaryDirectory(prefix="gvf-prepare-") as folder:
        path = Path(folder) / "rest.safetensors"
        capture_asset(asset.path, path, views=1, size=16, cancelled=cancelled)
        rest = load_capture(path)
    kinds = list(MOTIONS)
    # Another kind first for every asset: all kinds are there, however few clips are made of each.
    first = int(_generator(settings, asset.name, "first").integers(len(kinds)))
    for number in range(settings.procedural):
        kind = kinds[(first + number) % len(kinds)]
        name = f"{kind} {number + 1}"
        seed = int(_generator(settings, asset.name, name).integers(2**32))
        vertices = procedural_motion(kind, rest.vertices, rest.triangles, settings.frames, seed)
        yield _candidate(asset, settings, name, kind, PROCEDURAL_FPS, vertices, rest.triangles)


def _candidate(
    asset: AnimatedAsset,
    settings: PreparationSettings,
    clip: str,
    origin: str,
    fps: float,
    vertices: Float32[np.ndarray, "frames vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
) -> _Candidate | ClipOutcome:
    if vertices.shape[1] > MOST_VERTICES:
        sentence = f"It has {vertices.shape[1]:,} vertices; {MOST_VERTICES:,} are the most."
        return ClipOutcome(clip, origin, refused=Refusal(RefusalKind.LARGE, sentence))
    try:
        surface = moving_surface(vertices, triangles, _generator(settings, asset.name, origin, clip))
    except ValueError as error:
        return ClipOutcome(clip, origin, refused=Refusal(RefusalKind.INVISIBLE, str(error)))
    return _Candidate(clip, origin, fps, surface)


def _viewpoints(asset: AnimatedAsset, candidate: _Candidate, settings: PreparationSettings) -> Viewpoints:
    return clip_viewpoints(
        settings.frames,
        settings.views,
        settings.targets,
        settings.size,
        settings.condition,
        settings.fov,
        _generator(settings, asset.name, candidate.clip, "cameras"),
    )


def _film(candidate: _Candidate, views: Viewpoints) -> Film:
    surface = candidate.surface
    clip = candidate.clip if candidate.origin == ASSET_ORIGIN else ""
    return Film(clip, surface.vertices, surface.triangles, views.cameras, views.frame)


def _written(
    asset: AnimatedAsset,
    one: _Candidate,
    views: Viewpoints,
    pictures: tuple[bytes, ...] | str,
    keep_vertices: bool,
    folder: Path,
) -> ClipOutcome:
    why = None
    if isinstance(pictures, str):
        why = Refusal(RefusalKind.UNREADABLE, pictures)
    elif _covered(pictures) < LEAST_COVERED:
        why = Refusal(RefusalKind.INVISIBLE, "Its pictures show nothing; check that its materials are not transparent.")
    if isinstance(pictures, str) or why is not None:
        return ClipOutcome(one.clip, one.origin, motion=one.surface.motion, refused=why)
    record = ClipRecord(
        name=clip_file_name(asset.name, one.clip),
        family=asset.family,
        category=asset.category or UNKNOWN_CATEGORY,
        origin=one.origin,
        fps=one.fps,
        points=one.surface.points,
        vertices=one.surface.vertices[0],
        triangles=one.surface.triangles,
        cameras=views.cameras,
        view_frame=views.frame,
        view_role=views.role,
        pngs=pictures,
        vertex_frames=one.surface.vertices if keep_vertices else None,
    )
    try:
        write_clip(folder, record)
    except (OSError, SafetensorError) as error:
        raise FileNotWrittenError(
            f"{record.name} could not be written to {folder} ({error}).", "Free some disk space."
        ) from error
    own = signature(one.surface.points)
    return ClipOutcome(one.clip, one.origin, record.name, one.surface.motion, len(pictures), signature=own)


def _covered(pngs: Sequence[bytes]) -> float:
    """Mean alpha of the first canonical pictures, 0..1."""
    alphas = []
    for png in pngs[:_CHECKED_PICTURES]:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            alphas.append(np.asarray(image.convert("RGBA"))[..., 3].mean() / 255)
    return float(np.mean(alphas))


def _generator(settings: PreparationSettings, *names: str) -> np.random.Generator:
    """Of one purpose, so that what is drawn does not depend on which other assets and clips there are."""
    return np.random.default_rng([settings.seed, *"\0".join(names).encode()])
