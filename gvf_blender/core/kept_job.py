"""Jobs that the server has, written down so that another Blender session can take them up: one JSON file each."""

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .sources import SourceObject

LOGGER = logging.getLogger(__name__)

OWNED_SECONDS = 30.0
"""A file that was touched more recently belongs to a Blender that still follows the job."""

TOUCH_SECONDS = 5.0
"""Between two touches by the Blender that follows the job."""

RESUMABLE_CODES = frozenset(
    {
        *("unreachable", "start", "wrong_service", "wrong_version", "wrong_token", "unauthorized"),
        *("interrupted", "server_stopped"),
    }
)
"""Codes of failures after which the server may still have the job, or can do it again."""

_FORMAT = 1


@dataclass(frozen=True)
class KeptJob:
    """What a job needs to go on in another session.

    Attributes:
        id: The extension's name of the job.
        server_job: The server's name of it.
        objects: Names of the captured objects.
        video: Path of the driving video.
        settings: Settings under the server's names.
        outputs: What is imported.
        frame_start: Scene frame of the first video frame.
        views: Number of rendered views.
        movable: Name of the vertex group that says what may move; may be empty.
        scene: Name of the scene.
        blend: Path of the .blend file; empty if it had none.
        sources: Which vertices of the capture belong to which object.
        further: Path, azimuth and elevation of every further video.
    """

    id: str
    server_job: str
    objects: tuple[str, ...]
    video: str
    settings: dict[str, Any]
    outputs: tuple[str, ...]
    frame_start: int
    views: int
    movable: str
    scene: str
    blend: str
    sources: tuple[SourceObject, ...]
    further: tuple[tuple[str, float, float], ...] = ()

    def to_json(self) -> str:
        """As text."""
        values = asdict(self)
        for source in values["sources"]:
            source["matrix_world"] = source["matrix_world"].tolist()
        return json.dumps({"format": _FORMAT, **values})

    @classmethod
    def from_json(cls, text: str) -> "KeptJob":
        """From text.

        Raises:
            ValueError, KeyError, TypeError: It is something else, or of another version.
        """
        values = json.loads(text)
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        sources = [
            SourceObject(**{**source, "matrix_world": np.array(source["matrix_world"], np.float64).reshape(4, 4)})
            for source in values.pop("sources")
        ]
        values["objects"], values["outputs"] = tuple(values["objects"]), tuple(values["outputs"])
        values["further"] = tuple(map(tuple, values.get("further", ())))
        return cls(**values, sources=tuple(sources))


def keep(folder: Path, job: KeptJob) -> None:
    """Write a job down, complete or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{job.id}.partial"
    partial.write_text(job.to_json(), encoding="utf-8")
    partial.replace(_file(folder, job.id))


def forget(folder: Path, job_id: str) -> None:
    """Remove a job; one that is not there is no error."""
    try:
        _file(folder, job_id).unlink(missing_ok=True)
    except OSError as error:
        LOGGER.warning("The job %s could not be forgotten: %s", job_id, error)


def touch(folder: Path, job_id: str) -> None:
    """Show other Blenders that this one follows the job."""
    _set_time(folder, job_id, time.time())


def release(folder: Path, job_id: str) -> None:
    """Let any Blender take the job up from now on."""
    _set_time(folder, job_id, 0.0)


def kept_jobs(folder: Path) -> Iterator[KeptJob]:
    """The jobs that nobody follows, in the order of their names; damaged files are left out."""
    for file in sorted(folder.glob("*.json")):
        try:
            if time.time() - file.stat().st_mtime < OWNED_SECONDS:
                continue
            yield KeptJob.from_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            LOGGER.debug("%s is no kept job: %r", file, error)


def _file(folder: Path, job_id: str) -> Path:
    return folder / f"{job_id}.json"


def _set_time(folder: Path, job_id: str, seconds: float) -> None:
    try:
        os.utime(_file(folder, job_id), (seconds, seconds))
    except OSError as error:
        LOGGER.info("The job %s could not be touched: %s", job_id, error)
