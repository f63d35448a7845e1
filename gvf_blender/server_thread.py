"""The thread of a job that speaks to the server; it never touches Blender.

The main thread gives it one order and takes news from a queue. Cancelling is a flag that the thread sees at every
piece of a transfer and at every event of the server. Because events may be seconds apart, a second, short-lived thread
tells the server at once; the event with which the job then ends wakes the first one.
"""

import logging
import queue
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client import Client, JobState
from .core.errors import DefectError, GvfBlenderError, JobCancelled, ServerError
from .core.further_video import FurtherVideo
from .core.job_phase import Phase
from .core.sentence import showable

LOGGER = logging.getLogger(__name__)

JOIN_SECONDS = 5.0
"""How long the end of a job may wait for a thread whose server does not answer; it is a daemon thread."""

PREVIEW_SECONDS = 0.5
"""Between two looks at how the running job's newest frame looks."""

Connect = Callable[[], Client]


@dataclass(frozen=True)
class ServerOrder:
    """What the server shall do.

    Attributes:
        capture: The capture file.
        video: The driving video.
        settings: Settings under the server's names.
        result: Where the result shall go.
        further: Synchronised videos from other sides.
    """

    capture: Path
    video: Path
    settings: dict[str, Any]
    result: Path
    further: tuple[FurtherVideo, ...] = ()


@dataclass(frozen=True)
class ResumeOrder:
    """A job that the server has already.

    Attributes:
        job_id: The server's name of the job.
        result: Where the result shall go.
    """

    job_id: str
    result: Path


@dataclass(frozen=True)
class Connected:
    """The server was found and accepts the token."""


@dataclass(frozen=True)
class Submitted:
    """The server has the job, and goes on with it also without Blender.

    Attributes:
        job_id: The server's name of the job.
    """

    job_id: str


@dataclass(frozen=True)
class Advanced:
    """The job went on.

    Attributes:
        phase: Uploading, queued, running or downloading.
        stage: The server's name of the step; may be empty.
        fraction: Fraction of the phase that is done, 0..1.
        seconds_left: How long the phase may still take; None if the server does not know.
    """

    phase: Phase
    stage: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True)
class Previewed:
    """A newer frame of the running job can be seen.

    Attributes:
        path: A small PNG file; gone with the scratch folder when the thread ends.
    """

    path: Path


@dataclass(frozen=True)
class Downloaded:
    """The result has arrived, complete."""

    path: Path


@dataclass(frozen=True)
class Failed:
    """Nothing more will come."""

    error: GvfBlenderError


News = Connected | Submitted | Advanced | Previewed | Downloaded | Failed


class ServerThread:
    """Runs one job on the server, from the first connection to the downloaded result."""

    def __init__(self, connect: Connect, scratch: Path, name: str) -> None:
        """Prepare the thread.

        Args:
            connect: Finds the server; called on the thread.
            scratch: Folder of the job's temporary files, removed when the thread ends or is cancelled before it starts.
            name: Name of the thread.
        """
        self._connect = connect
        self._scratch = scratch
        self._orders: queue.SimpleQueue[ServerOrder | ResumeOrder | None] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._has_news = threading.Event()
        self._cancelled = threading.Event()
        self._left = False
        self._client: Client | None = None
        self._job_id: str | None = None
        self._preview_etag = ""
        self._next_preview = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._canceller: threading.Thread | None = None

    def start(self) -> None:
        """Start looking for the server."""
        self._thread.start()

    def send(self, order: ServerOrder | ResumeOrder) -> None:
        """Give the one order; uploading or following starts at once."""
        self._orders.put(order)

    def cancel(self) -> None:
        """Stop at the next opportunity and tell the server; further news is dropped."""
        self._cancelled.set()
        self._orders.put(None)
        if not self._has_started:
            self._remove_scratch()
        # Read once: the thread forgets it when it ends, which may be now.
        job_id = self._job_id
        if job_id is not None and self._canceller is None:
            name = f"{self._thread.name}-cancel"
            self._canceller = threading.Thread(target=self._cancel_on_server, args=(job_id,), name=name, daemon=True)
            self._canceller.start()

    def leave(self) -> None:
        """Stop at the next opportunity and let the server go on with the job; further news is dropped."""
        self._left = True
        self._cancelled.set()
        self._orders.put(None)

    def next_news(self) -> News | None:
        """The oldest news that has not been taken, without waiting."""
        self._has_news.clear()
        try:
            return self._news.get_nowait()
        except queue.Empty:
            return None

    def wait_for_news(self, timeout: float = 0.1) -> None:
        """Wait until there may be news; not for the main thread of a Blender with windows."""
        self._has_news.wait(timeout)

    def join(self, patience: float) -> None:
        """Wait at most so many seconds until the thread has ended; not for one that was told to leave.

        That one ends with the next event of its server, which nobody hastens.
        """
        if self._left:
            return
        deadline = time.monotonic() + patience
        for thread in (self._canceller, self._thread):
            if thread is not None and self._has_started:
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    LOGGER.info("%s still speaks to its server", thread.name)

    def _run(self) -> None:
        try:
            self._run_job()
        except JobCancelled:
            LOGGER.info("%s was cancelled", self._thread.name)
            if self._canceller is None and not self._left:
                self._cancel_on_server(self._job_id)
        except GvfBlenderError as error:
            self._tell(Failed(error))
        except Exception as error:
            LOGGER.exception("%s failed", self._thread.name)
            self._tell(Failed(DefectError("The add-on failed while it spoke to the server", error)))
        finally:
            self._job_id = None
            self._remove_scratch()

    @property
    def _has_started(self) -> bool:
        return self._thread.ident is not None

    def _remove_scratch(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self._scratch.exists():
            LOGGER.warning("The temporary folder %s could not be removed", self._scratch)

    def _cancel_on_server(self, job_id: str | None) -> None:
        client = self._client
        if client is None or job_id is None:
            return
        try:
            client.cancel(job_id)
        except ServerError as error:
            LOGGER.info("The server could not be told to cancel job %s: %s", job_id, error)

    def _run_job(self) -> None:
        self._client = client = self._connect()
        self._go_on(Connected())
        order = self._orders.get()
        if order is None:
            raise JobCancelled()
        if isinstance(order, ResumeOrder):
            self._job_id = self._resume(client, order)
        else:
            self._job_id = self._submit(client, order)
        self._go_on(Submitted(self._job_id))
        self._follow(client, self._job_id)
        client.download(
            self._job_id, order.result, lambda fraction: self._go_on(Advanced(Phase.DOWNLOADING, "", fraction))
        )
        self._tell(Downloaded(order.result))
        if self._cancelled.is_set():
            # Too late for `cancel` to see the file.
            order.result.unlink(missing_ok=True)

    def _submit(self, client: Client, order: ServerOrder) -> str:
        """Send everything and queue the job; returns the server's name of it."""
        files = [order.capture, order.video, *(Path(one.video) for one in order.further)]

        def upload(index: int) -> str:
            def tell(fraction: float) -> None:
                self._go_on(Advanced(Phase.UPLOADING, "", (index + fraction) / len(files)))

            return client.upload(files[index], tell)

        capture, video, *others = map(upload, range(len(files)))
        further = [
            {"video": sha256, "video_name": showable(path.name), "azimuth": one.azimuth, "elevation": one.elevation}
            for sha256, path, one in zip(others, files[2:], order.further, strict=True)
        ]
        return client.submit(capture, video, order.settings, video_name=showable(order.video.name), further=further).id

    def _resume(self, client: Client, order: ResumeOrder) -> str:
        """Take a job up; one that ended with its server is queued once more, under another name."""
        if client.status(order.job_id).state is JobState.INTERRUPTED:
            return client.retry(order.job_id).id
        return order.job_id

    def _follow(self, client: Client, job_id: str) -> None:
        """Pass the server's events on until the job has succeeded.

        Raises:
            ServerError: The job failed, or the server went away.
            JobCancelled: The artist cancelled it.
        """
        try:
            for status in client.events(job_id):
                match status.state:
                    case JobState.SUCCEEDED:
                        return
                    case JobState.FAILED | JobState.INTERRUPTED if status.error is not None:
                        raise ServerError(status.error.message, status.error.hint, status.error.code)
                    case JobState.QUEUED:
                        self._go_on(Advanced(Phase.QUEUED))
                    case JobState.RUNNING:
                        self._go_on(Advanced(Phase.RUNNING, status.stage, status.progress, status.seconds_left))
                        self._fetch_preview(client, job_id)
                    case _:
                        self._go_on(Advanced(Phase.RUNNING))
                        raise ServerError(f"The job was {status.state} on the server.", "Press Animate again.")
        except ServerError as error:
            if error.code != "unreachable":
                raise
            raise ServerError(
                f"The server went away while it ran the job. {error.message}", error.hint, error.code
            ) from error

    def _fetch_preview(self, client: Client, job_id: str) -> None:
        """Pass the newest frame on; a job without one goes on all the same."""
        now = time.monotonic()
        if now < self._next_preview:
            return
        try:
            newer = client.preview(job_id, self._preview_etag)
            if newer is None:
                return
            # Only then: the event that follows may be the last one for long.
            self._next_preview = now + PREVIEW_SECONDS
            png, self._preview_etag = newer
            path = self._scratch / f"preview-{uuid.uuid4().hex}.png"
            path.write_bytes(png)
        except (ServerError, OSError) as error:
            LOGGER.info("%s shows no preview: %s", self._thread.name, error)
        else:
            self._go_on(Previewed(path))

    def _go_on(self, news: News) -> None:
        if self._cancelled.is_set():
            raise JobCancelled()
        self._tell(news)

    def _tell(self, news: News) -> None:
        self._news.put(news)
        self._has_news.set()
