"""Looks into uploads in a process of its own, which a malicious or broken file may crash or fill without harm."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from gvf_core.errors import GvfError
from server.database import Database
from server.errors import LimitError
from server.finding import Finding
from server.limits import Limits
from server.storage import safe_name

Role = Literal["capture", "video"]


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

    def _find(self, role: Role, path: Path, name: str) -> Finding:
        query = "SELECT finding FROM findings WHERE sha256 = ? AND role = ?"
        with self._one_at_a_time:
            with self._database.reading() as connection:
                known = connection.execute(query, (path.name, role)).fetchone()
            if known is not None:
                return Finding(**json.loads(known[0]))
            found = self._look(role, path, name)
            with self._database.writing() as connection:
                connection.execute(
                    "INSERT INTO findings (sha256, role, finding) VALUES (?, ?, ?)",
                    (path.name, role, json.dumps(asdict(found))),
                )
            return found

    def _look(self, role: Role, path: Path, name: str) -> Finding:
        limits = self._limits
        command = [sys.executable, "-m", "server.media_process", role, str(path), name]
        command += [str(limits.probe_mb), str(limits.probe_seconds), str(limits.video_pixels), str(limits.video_frames)]
        # one thread, whose memory is bounded: pools of threads reserve address space by the core
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            ended = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=2 * limits.probe_seconds,  # of the wall clock; the process has a limit on its own time
            )
            answer = json.loads(ended.stdout)
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise UnusableMediaError(
                f"{name} cannot be read within {limits.probe_seconds:g} seconds and {limits.probe_mb:,.0f} MB.",
                "Export it again, or convert a video to H.264 MP4.",
                "bad_video" if role == "video" else "bad_file",
            ) from error
        if "error" in answer:
            raise UnusableMediaError(**answer["error"])
        return Finding(**answer)
