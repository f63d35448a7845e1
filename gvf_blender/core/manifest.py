"""A batch: which assets shall move like which videos with which settings, as a TOML file says. docs/console.md."""

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .errors import FileError, SettingsError
from .further_video import FurtherVideo, further_videos
from .motion_settings import MotionSettings

IMPORT_SETTINGS: dict[str, tuple[str, tuple[type, ...]]] = {
    "outputs": ("a list of names", (str, list)),
    "frame_start": ("a whole number", (int,)),
    "views": ("a name or a whole number", (str, int)),
    "movable": ("the name of a vertex group", (str,)),
    "camera": ("the name of a camera", (str,)),
}
"""What settings may hold besides those of the motion."""
_MAX_STEM = 90
"""Bytes of a result's name for each of asset and video: with key and suffixes they stay below the 255 of most disks."""
_TOP, _RUN = ("output", "settings", "run"), ("assets", "videos", "further", "objects", "settings")


@dataclass(frozen=True)
class BatchTask:
    """One asset, one video, one set of settings.

    Attributes:
        asset: A file that Blender opens.
        video: The driving video.
        objects: Names of the objects to animate; none for all visible meshes.
        settings: Keyword arguments of `api.animate`.
        folder: Where the result goes.
        further: Videos of the same moments, seen from other sides.
    """

    asset: Path
    video: Path
    objects: tuple[str, ...]
    settings: dict[str, Any]
    folder: Path
    further: tuple[FurtherVideo, ...] = ()

    @property
    def key(self) -> str:
        """Tells this task from all others by the contents of its files and its settings.

        Raises:
            FileError: A file cannot be read.
        """
        parts: list[Any] = [_content_hash(self.asset), _content_hash(self.video), list(self.objects), self.settings]
        parts += [_content_hash(path) for path in _named_files(self.asset)]
        parts += [[_content_hash(Path(one.video)), one.azimuth, one.elevation] for one in self.further]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def output(self, key: str) -> Path:
        """The .blend file of the result, another one for every key."""
        return self.folder / f"{_short(self.asset.stem)}-{_short(self.video.stem)}-{key[:6]}.blend"

    def __str__(self) -> str:
        """For messages."""
        return f"{self.asset.name} with {self.video.name}"


def read_manifest(path: Path) -> list[BatchTask]:
    """All tasks in the order of the file; relative paths in it are relative to it.

    Whether assets and videos exist is not looked at: a missing one fails its own tasks only.

    Raises:
        FileError: The manifest cannot be read.
        SettingsError: It is no TOML file, or says something unknown or impossible.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FileError(f"The manifest {path} cannot be read ({error.strerror}).", "Check its name.") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"The manifest {path} is not a TOML file ({error}).", "Correct that line.") from error
    _check_names(path, "the manifest", content, _TOP)
    folder = _beside(path, _text(path, content, "output", "out"))
    common = _table(path, content, "settings")
    runs = content.get("run", [])
    if not isinstance(runs, list) or not runs:
        raise SettingsError(f"{path.name} has no [[run]].", "Add one with assets and videos.")
    return [task for run in runs for task in _tasks(path, run, common, folder)]


def _tasks(path: Path, run: Any, common: Mapping[str, Any], folder: Path) -> Iterator[BatchTask]:
    if not isinstance(run, dict):
        raise SettingsError(f"A run in {path.name} is no table.", "Write [[run]].")
    _check_names(path, "a [[run]]", run, _RUN)
    assets, videos = _texts(path, run, "assets"), _texts(path, run, "videos")
    objects = tuple(_texts(path, run, "objects")) if "objects" in run else ()
    further = _further(path, run)
    if further and len(videos) > 1:
        raise SettingsError(
            f"A [[run]] in {path.name} has further videos for {len(videos)} videos.",
            "Write a [[run]] for each of them: further videos show the same moments as one video.",
        )
    variants = run.get("settings", [{}])
    if not isinstance(variants, list) or not variants or not all(isinstance(each, dict) for each in variants):
        raise SettingsError(f"The settings of a [[run]] in {path.name} are no list of tables.", "Write [{seed = 1}].")
    for asset, video, variant in product(assets, videos, variants):
        settings = {**common, **variant}
        known = {field.name for field in fields(MotionSettings)}
        _check_names(path, "the settings", settings, (*sorted(known), *IMPORT_SETTINGS))
        MotionSettings.from_names({name: value for name, value in settings.items() if name in known})
        _check_import_settings(path, settings)
        asset_path, video_path = (_beside(path, name) for name in (asset, video))
        yield BatchTask(asset_path, video_path, objects, settings, folder, further)


def _further(path: Path, run: Mapping[str, Any]) -> tuple[FurtherVideo, ...]:
    tables = run.get("further", [])
    names = sorted(FurtherVideo._fields)
    if not isinstance(tables, list) or not all(isinstance(each, dict) and sorted(each) == names for each in tables):
        raise SettingsError(
            f"further of a [[run]] in {path.name} is {tables!r}.",
            'Write further = [{ video = "side.mp4", azimuth = 90, elevation = 0 }].',
        )
    found = further_videos((each["video"], each["azimuth"], each["elevation"]) for each in tables)
    return tuple(one._replace(video=_beside(path, str(one.video))) for one in found)


def _check_import_settings(path: Path, settings: Mapping[str, Any]) -> None:
    for name, (description, types) in IMPORT_SETTINGS.items():
        value = settings.get(name)
        names = value if isinstance(value, list) else ()
        if name in settings and (
            isinstance(value, bool) or not isinstance(value, types) or not all(isinstance(one, str) for one in names)
        ):
            raise SettingsError(f"{name} in {path.name} is {value!r}.", f"Give {description}.")
    if settings.get("frame_start", 0) < 0:
        raise SettingsError(
            f"frame_start in {path.name} is {settings['frame_start']}, and no scene plays frames before 0.",
            "Choose a frame from 0 on.",
        )


def _beside(path: Path, name: str) -> Path:
    """A path that the manifest gives; links are followed up to its folder, as the suffix may be the link's alone."""
    try:
        if "\0" in name:
            raise ValueError("null character")
        full = Path(os.path.normpath(path.parent / name))
        return full.parent.resolve() / full.name
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(f"{path.name} names {name!r}, which is no path ({error}).", "Correct it.") from error


def _check_names(path: Path, where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in table:
        if name not in known:
            raise SettingsError(f"There is no {name!r} for {where} in {path.name}.", f"Choose from {', '.join(known)}.")


def _table(path: Path, content: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{name} in {path.name} is no table.", f"Write [{name}].")
    return table


def _text(path: Path, content: Mapping[str, Any], name: str, default: str) -> str:
    value = content.get(name, default)
    if not isinstance(value, str):
        raise SettingsError(f"{name} in {path.name} is {value!r}.", "Give the name of a folder.")
    return value


def _texts(path: Path, run: Mapping[str, Any], name: str) -> list[str]:
    values = run.get(name)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
        raise SettingsError(f"{name} of a [[run]] in {path.name} is {values!r}.", f'Write {name} = ["name", ...].')
    return values


def _short(stem: str) -> str:
    """A name as it is, or where that is too long the beginning and a number that stays the same."""
    name = os.fsencode(stem)
    if len(name) <= _MAX_STEM:
        return stem
    number = hashlib.sha256(name).hexdigest()[:8]
    return f"{name[: _MAX_STEM - len(number) - 1].decode(errors='ignore')}-{number}"


def _named_files(asset: Path) -> list[Path]:
    """Files beside a .gltf file that hold its meshes and pictures; those that are missing make Blender refuse it."""
    if asset.suffix.lower() != ".gltf":
        return []
    try:
        content = json.loads(asset.read_text(encoding="utf-8"))
        parts = [*content.get("buffers", ()), *content.get("images", ())]
        names = [unquote(part["uri"]) for part in parts if not part.get("uri", "data:").startswith("data:")]
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        return []
    return [path for path in (asset.parent / name for name in names) if path.is_file()]


def _content_hash(path: Path) -> str:
    try:
        status = path.stat()
        return _hash_of_version(path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FileError(f"{path} cannot be read ({reason}).", "Correct its name in the manifest.") from error


@lru_cache(maxsize=256)
def _hash_of_version(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
