"""What is written next to installed weights, `weights.json`, and read back with suspicion."""

import datetime
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from gvf_core.errors import WeightsError
from gvf_core.models.roles import PresetName

Origin = Literal["official", "user", "random"]
"""Fetched from the publisher, brought by the user, or never trained (for tests and demonstrations)."""

RECORD_NAME = "weights.json"
RECORD_VERSION = 1
# Ours are below 2 KB. A larger one is not ours, and is not read into memory.
_RECORD_BYTES = 100_000
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """One file in the folder of an entry.

    Attributes:
        name: Plain, without folders.
        sha256: Of its bytes.
        size: Number of bytes.
    """

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class SourceFile:
    """One file that an entry was made from.

    Attributes:
        name: Its path within the repository, or its name on the user's disk.
        sha256: Of its bytes.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Installed:
    """One entry of the store.

    Attributes:
        name: Of the entry in the registry.
        origin: Where the weights come from.
        preset: Size of the network; None where the entry is no network of ours.
        repository: Where they were fetched from; None for the user's own files.
        revision: Commit of the repository, if known.
        licence: As the publisher of the entry states it; None where none is stated.
        date: When they were installed, ISO 8601, UTC.
        sources: What they were made from.
        files: What is stored.
    """

    name: str
    origin: Origin
    preset: PresetName | None
    repository: str | None
    revision: str | None
    licence: str | None
    date: str
    sources: tuple[SourceFile, ...]
    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all stored files."""
        return sum(file.size for file in self.files)


def now() -> str:
    """The time as records have it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def sha256_of(path: Path, copy_to: Path | None = None) -> str:
    """Hash of a file, read once; the same bytes go into a copy if one is asked for.

    Raises:
        OSError: The file cannot be read, or the copy not written.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if copy_to is None:
            _each_chunk(file.read, digest.update)
        else:
            with copy_to.open("xb") as copy:
                _each_chunk(file.read, digest.update, copy.write)
    return digest.hexdigest()


def stored_file(path: Path) -> StoredFile:
    """Describe a file that was just written.

    Raises:
        OSError: The file cannot be read.
    """
    return StoredFile(path.name, sha256_of(path), path.stat().st_size)


def write_record(folder: Path, installed: Installed) -> None:
    """Write the record of an entry into its folder.

    Raises:
        OSError: It cannot be written.
    """
    values = {
        "version": RECORD_VERSION,
        "name": installed.name,
        "origin": installed.origin,
        "preset": installed.preset,
        "repository": installed.repository,
        "revision": installed.revision,
        "licence": installed.licence,
        "date": installed.date,
        "sources": [{"name": source.name, "sha256": source.sha256} for source in installed.sources],
        "files": [{"name": file.name, "sha256": file.sha256, "size": file.size} for file in installed.files],
    }
    (folder / RECORD_NAME).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Installed:
    """Read the record of an entry; every value in it is checked.

    Raises:
        WeightsError: It is missing, not readable, or does not validate; names of files that lead out of the folder
            are refused.
    """
    path = folder / RECORD_NAME
    try:
        with path.open("rb") as file:
            content = file.read(_RECORD_BYTES + 1)
        if len(content) > _RECORD_BYTES:
            raise ValueError("it is too long")
        installed = _validated(json.loads(content))
        if installed.name != folder.name:
            raise ValueError(f"it is about {installed.name!r}")
    # RecursionError: json recurses into nested lists.
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(
            f"The record {path} is not valid ({reason}).", f"Remove {folder.name} and install it again."
        ) from error
    return installed


def _validated(values: Any) -> Installed:
    """The record in decoded JSON, or ValueError with the reason."""
    if not isinstance(values, dict):
        raise ValueError("it is not an object")
    if values.get("version") != RECORD_VERSION:
        raise ValueError(f"its version is {values.get('version')!r}, not {RECORD_VERSION}")
    files = [_stored(item) for item in _items(values, "files")]
    names = {file.name.casefold() for file in files}
    if not files or len(names) < len(files):
        raise ValueError("it names no files, or one twice")
    return Installed(
        name=_text(values, "name"),
        origin=_one_of(values, "origin", get_args(Origin)),
        preset=None if values.get("preset") is None else _one_of(values, "preset", get_args(PresetName)),
        repository=_text_or_none(values, "repository"),
        revision=_text_or_none(values, "revision"),
        licence=_text_or_none(values, "licence"),
        date=_text(values, "date"),
        sources=tuple(SourceFile(_text(item, "name"), _sha256(item)) for item in _items(values, "sources")),
        files=tuple(files),
    )


def _stored(item: dict[str, Any]) -> StoredFile:
    name, size = _text(item, "name"), item.get("size")
    # No separators, no drive letters, no hidden files, and never the record itself.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name == RECORD_NAME:
        raise ValueError(f"it names a file {name!r}")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(f"the size of {name} is {size!r}")
    return StoredFile(name, _sha256(item), size)


def _items(values: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = values.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{key} is not a list of objects")
    return items


def _one_of(values: dict[str, Any], key: str, allowed: tuple[Any, ...]) -> Any:
    if values.get(key) not in allowed:
        raise ValueError(f"{key} is {values.get(key)!r}")
    return values[key]


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{key} is {value!r}")
    return value


def _text_or_none(values: dict[str, Any], key: str) -> str | None:
    return None if values.get(key) is None else _text(values, key)


def _sha256(values: dict[str, Any]) -> str:
    value = _text(values, "sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"sha256 is {value!r}")
    return value


def _each_chunk(read: Callable[[int], bytes], *consumers: Callable[[bytes], object]) -> None:
    while chunk := read(_CHUNK_BYTES):
        for consume in consumers:
            consume(chunk)
