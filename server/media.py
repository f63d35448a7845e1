"""Looks into uploads before anything is done with them."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from gvf_core.settings import AnimateSettings
from server.confined import BeyondBoundsError, Bounds, BrokenError, UnusableMediaError, ask
from server.database import Database
from server.errors import CheckingError, LimitError, QueueFullError
from server.finding import Finding, VideoLook
from server.limits import Limits
from server.storage import safe_name

PATIENCE_SECONDS = 3.0
"""How long a look waits for the one before it, whose artist may just have closed it."""
MOST_WAITING = 12
"""Requests that wait for a look or their turn; the pool that all routes share has 40 threads."""
RETRY_AFTER_SECONDS = 5
COMPILED_MB = 64
"""rembg keeps what it has compiled in files."""


class MediaProbe:
    """Finds out what uploads hold, each once, one after the other; and looks at videos as a job would, one at a time.

    Args:
        database: Where findings are kept.
        limits: On time, memory and what the uploads may hold.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._one_at_a_time = threading.Lock()
        self._looking = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_WAITING)
        self._stopped = threading.Event()

    def capture(self, path: Path) -> Finding:
        """What is in a capture file.

        Raises:
            UnusableMediaError: It cannot be read, or only with more time or memory than allowed.
            LimitError: It holds more than allowed.
            QueueFullError: Too many uploads wait for that.
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
            QueueFullError: Too many uploads wait for that.
        """
        found = self._find("video", path, safe_name(name or "video"))
        for value, limit, what, hint in (
            (found.pixels, self._limits.video_pixels, "pixels a frame", "Scale it down."),
            (found.pictures, self._limits.video_frames, "frames", "Cut it shorter."),
        ):
            if value > limit:
                raise LimitError(f"{name or 'The video'} has {value:,} {what}; this server takes {limit:,}.", hint)
        return found

    def look(self, path: Path, name: str, settings: AnimateSettings, given_up: Callable[[], bool]) -> VideoLook:
        """What a job would cut out of a driving video.

        Args:
            path: The video.
            name: Under which the artist knows it.
            settings: Of the job.
            given_up: Asked several times a second, whether nobody wants the answer any more.

        Raises:
            CheckingError: Another one is looked at.
            UnusableMediaError: A job would refuse the video, too.
            LimitError: It takes more time or memory than allowed.
            GivenUpError: `given_up` returned True, or the server ends.
        """
        self.video(path, name)
        with self._place():
            if not self._looking.acquire(timeout=PATIENCE_SECONDS):
                raise CheckingError("Another video is being looked at.", "Try again in a moment.")
        limits = self._limits
        # Decoder, OpenCV and networks use all cores.
        cpu_seconds = limits.check_seconds * (os.cpu_count() or 1)
        bounds = Bounds(limits.check_seconds, cpu_seconds, limits.check_mb, COMPILED_MB)
        name = safe_name(name or "video")
        try:
            answer = ask("look", path, name, asdict(settings), bounds, lambda: given_up() or self._stopped.is_set())
        except BeyondBoundsError as error:
            raise LimitError(
                f"Looking at {name} takes more than {bounds.seconds:g} seconds or {bounds.memory_mb:,.0f} MB.",
                "Use fewer frames, or animate without a look: a job may take more.",
            ) from error
        finally:
            self._looking.release()
        return VideoLook(**answer)

    def stop(self) -> None:
        """End what is being looked at."""
        self._stopped.set()

    def _find(self, role: Literal["capture", "video"], path: Path, name: str) -> Finding:
        query = "SELECT finding FROM findings WHERE sha256 = ? AND role = ?"
        with self._place(), self._one_at_a_time:
            with self._database.reading() as connection:
                known = connection.execute(query, (path.name, role)).fetchone()
            if known is not None:
                return Finding(**json.loads(known[0]))
            found = self._probe(role, path, name)
            with self._database.writing() as connection:
                connection.execute(
                    "INSERT INTO findings (sha256, role, finding) VALUES (?, ?, ?)",
                    (path.name, role, json.dumps(asdict(found))),
                )
            return found

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of those who wait; every other request needs a thread, too."""
        if not self._places.acquire(blocking=False):
            text = f"{MOST_WAITING} requests wait for uploads to be looked into, as many as this server takes."
            raise QueueFullError(text, "Try again in a moment.", RETRY_AFTER_SECONDS)
        try:
            yield
        finally:
            self._places.release()

    def _probe(self, role: Literal["capture", "video"], path: Path, name: str) -> Finding:
        limits = self._limits
        details = {"pixels": limits.video_pixels, "frames": limits.video_frames}
        # Twice the time by the clock: others compute here, too.
        bounds = Bounds(2 * limits.probe_seconds, limits.probe_seconds, limits.probe_mb)
        try:
            return Finding(**ask(role, path, name, details, bounds, self._stopped.is_set))
        except (BeyondBoundsError, BrokenError) as error:
            raise UnusableMediaError(
                f"{name} cannot be read within {limits.probe_seconds:g} seconds and {limits.probe_mb:,.0f} MB.",
                "Export it again, or convert a video to H.264 MP4.",
                "bad_video" if role == "video" else "bad_file",
            ) from error
