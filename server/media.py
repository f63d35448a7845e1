"""Looks into uploads in a process of its own, which a malicious or broken file may crash or fill without harm."""

import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from gvf_core.errors import GvfError
from gvf_core.settings import AnimateSettings
from server.database import Database
from server.errors import CheckingError, LimitError
from server.finding import Finding
from server.limits import Limits
from server.storage import safe_name

LOGGER = logging.getLogger(__name__)

Role = Literal["capture", "video", "cut_out"]


class UnusableMediaError(GvfError):
    """The upload cannot be used; `code` is that of the core's error.

    Args:
        message: See `GvfError`.
        hint: See `GvfError`.
        code: See `GvfError`.
    """

    def __init__(self, message: str, hint: str = "", code: str = "bad_file") -> None:
        super().__init__(message, hint)
        self.code = code


class MediaProbe:
    """Finds out what uploads hold, each once, one after the other.

    Args:
        database: Where findings are kept.
        limits: On time, memory and what the uploads may hold.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._one_at_a_time = threading.Lock()
        self._checking = threading.Lock()

    def capture(self, path: Path) -> Finding:
        """What is in a capture file.

        Raises:
            UnusableMediaError: It cannot be read, or only with more time or memory than allowed.
            LimitError: It holds more than allowed.
        """
        found = self._find("capture", path, "The capture")
        for value, limit, what in (
            (found.vertices, self._limits.capture_vertices, "vertices"),
            (found.pictures, self._limits.capture_views, "views"),
        ):
            if value > limit:
                raise LimitError(
                    f"The capture has {value:,} {what}; this server takes {limit:,}.", "Simplify the asset."
                )
        return found

    def video(self, path: Path, name: str) -> Finding:
        """What is in a driving video.

        Raises:
            UnusableMediaError: It cannot be read, or only with more time or memory than allowed.
            LimitError: It holds more than allowed.
        """
        found = self._find("video", path, safe_name(name or "video"))
        for value, limit, what, hint in (
            (found.pixels, self._limits.video_pixels, "pixels a frame", "Scale it down."),
            (found.pictures, self._limits.video_frames, "frames", "Cut it shorter."),
        ):
            if value > limit:
                raise LimitError(f"{name or 'The video'} has {value:,} {what}; this server takes {limit:,}.", hint)
        return found

    def check(self, path: Path, name: str, settings: AnimateSettings) -> dict[str, Any]:
        """What a job would cut out of a driving video: fields of `server.descriptions.VideoChecked`.

        Raises:
            CheckingError: Another one is looked at.
            GvfError: A job would refuse the video, too.
        """
        self.video(path, name)
        if not self._checking.acquire(blocking=False):
            raise CheckingError("Another video is being looked at.", "Try again in a moment.")
        limits = self._limits
        try:
            return self._look(
                "cut_out", path, safe_name(name or "video"), asdict(settings), limits.check_seconds, limits.check_mb
            )
        finally:
            self._checking.release()

    def _find(self, role: Role, path: Path, name: str) -> Finding:
        query = "SELECT finding FROM findings WHERE sha256 = ? AND role = ?"
        with self._one_at_a_time:
            with self._database.reading() as connection:
                known = connection.execute(query, (path.name, role)).fetchone()
            if known is not None:
                return Finding(**json.loads(known[0]))
            limits = self._limits
            details = {"pixels": limits.video_pixels, "frames": limits.video_frames}
            found = Finding(**self._look(role, path, name, details, limits.probe_seconds, limits.probe_mb))
            with self._database.writing() as connection:
                connection.execute(
                    "INSERT INTO findings (sha256, role, finding) VALUES (?, ?, ?)",
                    (path.name, role, json.dumps(asdict(found))),
                )
            return found

    def _look(
        self, role: Role, path: Path, name: str, details: dict[str, Any], seconds: float, memory_mb: float
    ) -> dict[str, Any]:
        command = [sys.executable, "-m", "server.media_process", role, str(path), name]
        command += [str(memory_mb), str(seconds), json.dumps(details)]
        # one thread, whose memory is bounded: pools of threads reserve address space by the core
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        ended = None
        try:
            ended = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=2 * seconds,  # of the wall clock; the process has a limit on its own time
            )
            answer: dict[str, Any] = json.loads(ended.stdout)
        except (subprocess.TimeoutExpired, ValueError) as error:
            if ended is not None:
                LOGGER.warning("looking into %s ended with %d: %s", path.name, ended.returncode, ended.stderr[-2000:])
            raise UnusableMediaError(
                f"{name} cannot be read within {seconds:g} seconds and {memory_mb:,.0f} MB.",
                "Export it again, or convert a video to H.264 MP4.",
                "bad_file" if role == "capture" else "bad_video",
            ) from error
        if "error" in answer:
            raise UnusableMediaError(**answer["error"])
        return answer
