"""Finding released files on a disk by their official names. Needs no torch."""

import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gvf_core.errors import WeightsError
from gvf_core.models.registry import CHECKPOINTS, Checkpoint, Part

# A clone of a repository, or the hub's cache, is at most five deep.
MAX_DEPTH = 8
MAX_FILES = 200_000
_CONFIG_BYTES = 1_000_000
_CONFIGS: dict[Part, dict[str, Any]] = {
    Part.IMAGE_ENCODER: {"model_type": "dinov2_with_registers"},
    Part.PICTURE_EMBEDDING: {"model_type": "clip", "projection_dim": 512},
    Part.AESTHETIC_EMBEDDING: {"model_type": "clip", "projection_dim": 768},
}
"""Entries whose files are called as everybody's, and what the configuration beside them says."""


@dataclass(frozen=True)
class Candidate:
    """Files that look like an entry of the registry.

    Attributes:
        entry: Which one.
        files: What is there of it, all in one folder.
        missing: Names of the files that are not.
    """

    entry: Checkpoint
    files: tuple[Path, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What a search found.

    Attributes:
        candidates: At most one per entry, in the order of the registry.
        remarks: Sentences about what was passed over.
    """

    candidates: tuple[Candidate, ...]
    remarks: tuple[str, ...]


def find_checkpoints(place: Path) -> Findings:
    """Look through a folder, or at one file, for official names.

    Links to files are followed, because the hub's cache consists of them; links to folders are not.

    Raises:
        WeightsError: There is no such place, it cannot be read, or it holds too many files to look through.
    """
    remarks: list[str] = []
    if place.is_dir():
        folders = _files_by_folder(place, remarks)
    elif place.is_file():
        # One file of an entry that needs several brings the others along.
        names = (name for name in _names_with(place.name) if (place.parent / name).is_file())
        folders = {place.parent: set(names)}
    else:
        raise WeightsError(f"There is no file or folder {place}.", "Choose another one.")
    candidates = []
    for entry in CHECKPOINTS:
        official = {file.name for file in entry.files}
        found = {folder: present & official for folder, present in folders.items() if present & official}
        if entry.role in _CONFIGS:
            said = _CONFIGS[Part(entry.role)]
            found = {folder: present for folder, present in found.items() if _says(folder, said)}
        if not found:
            continue
        # The fullest folder; of equally full ones, the one that was reached first.
        best = max(found, key=lambda folder: len(found[folder]))
        for folder in found:
            if folder != best:
                remarks.append(f"{folder} has files of {entry.name} too; those in {best} are taken.")
        files = tuple(best / file.name for file in entry.files if file.name in found[best])
        missing = tuple(file.name for file in entry.files if file.name not in found[best])
        candidates.append(Candidate(entry, files, missing))
    return Findings(tuple(candidates), tuple(remarks))


def _files_by_folder(root: Path, remarks: list[str]) -> dict[Path, set[str]]:
    """Names of official files in every folder, nearest folders first."""
    folders: dict[Path, set[str]] = {}
    waiting, seen = deque([(root, 0)]), 0
    while waiting:
        folder, depth = waiting.popleft()
        try:
            with os.scandir(folder) as entries:
                items = sorted(entries, key=lambda item: item.name)
        except OSError as error:
            if folder == root:
                raise WeightsError(f"The folder {root} cannot be read ({error}).", "Choose another one.") from error
            remarks.append(f"{folder} was passed over ({error.strerror}).")
            continue
        seen += len(items)
        if seen > MAX_FILES:
            raise WeightsError(f"{root} holds more than {MAX_FILES} files.", "Choose a folder closer to the weights.")
        for item in items:
            if item.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH:
                    waiting.append((Path(item.path), depth + 1))
                else:
                    remarks.append(f"{item.path} was passed over: too deep.")
            elif item.name in _ALL_NAMES and _is_file(item):
                folders.setdefault(folder, set()).add(item.name)
    return folders


def _is_file(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_file()
    except OSError:
        # A link in a circle, or into a place that may not be read.
        return False


def _names_with(name: str) -> set[str]:
    """All file names of the entry that has a file of this name; none if no entry has."""
    for entry in CHECKPOINTS:
        names = {file.name for file in entry.files}
        if name in names:
            return names
    return set()


def _says(folder: Path, what: Mapping[str, Any]) -> bool:
    """Whether files with common names belong to a model, as the configuration beside them tells."""
    config = folder / "config.json"
    try:
        if config.stat().st_size > _CONFIG_BYTES:
            return False
        values: Any = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        # Any program's config.json may lie there; only one that says what we look for is ours.
        return False
    return isinstance(values, dict) and what.items() <= values.items()


_ALL_NAMES = {file.name for entry in CHECKPOINTS for file in entry.files}
