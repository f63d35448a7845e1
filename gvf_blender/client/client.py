"""The server's functions as methods. Endpoints and shapes: docs/protocol.md."""

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..core.errors import FileError, ServerError
from ..core.job_state import JobState, JobStatus
from ..core.json_number import number
from ..core.stillness import stay
from ..core.video_check import VideoCheck

if TYPE_CHECKING:
    from .answer import Answer

CHUNK_BYTES = 1 << 20
REPORT_SECONDS = 0.1
"""Between two reports of a download, whose pieces may be as small as the server likes: 16 kB each with TLS."""

SILENCE_SECONDS = 20.0
"""A stream of events that is silent for four heartbeats of the server (5 s each) is dead."""

LOOKING_SECONDS = 120.0
"""What a look at a video may take beyond the server's limit on it: others' uploads are looked into before."""

LARGEST_LOOKING_LIMIT = 3600.0
"""More than that, in seconds, no server can be told to allow."""

MAX_RECONNECTS = 3

Progress = Callable[[float], None]
"""Called with the fraction that is done, 0..1, never falling."""


class Client:
    """One server. Holds no connection; threads may share it.

    Args:
        address: "http://HOST:PORT".
        token: Bearer token.
        timeout: Seconds that connecting may take, and an answer. Long jobs and transfers go on as long as they take;
            of a transfer, something has to come within each timeout.

    Raises:
        ServerError: The address or the token is none. Every method may raise it too: no answer, or the server's
            refusal with its code, message and hint.
    """

    def __init__(self, address: str, token: str, timeout: float = 10.0) -> None:
        # http.client takes a fifth of the time for which Blender's start waits for the extension.
        from .transport import Transport

        self._http = Transport(address, token, timeout)

    @property
    def address(self) -> str:
        """Where the server is: "http://HOST:PORT"."""
        return self._http.address

    def health(self) -> dict[str, Any]:
        """Which service this is and which versions of the protocol it speaks; needs no token."""
        return self._http.json("GET", "/v1/health")

    def capabilities(self) -> dict[str, Any]:
        """Engines, formats and limits."""
        return self._http.json("GET", "/v1/capabilities")

    def upload(self, path: Path, on_progress: Progress = lambda fraction: None) -> str:
        """Bring a file to the server, unless its content is there already; one that broke off goes on where it stopped.

        Returns:
            Its sha256, by which jobs refer to it.

        Raises:
            FileError: The file cannot be read.
            ServerError: Too large for the server, its disk is full, or it cannot be reached.
        """
        sha256 = _sha256(path)
        target = f"/v1/blobs/{sha256}"
        here = self._http.uploaded(target)
        if here is not None:
            size = _size(path)
            megabytes = self._limit("upload_mb")
            if megabytes is not None and size > (limit := round(megabytes * 1e6)):
                raise ServerError(
                    f"{path} has {size:,} bytes; the server at {self.address} accepts {limit:,}.",
                    "Use a shorter or smaller video, or start the server with a larger --max-upload-mb.",
                    "too_large",
                )
            start = here if here < size else 0
            content_range = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
            pieces = _pieces(path, start, size, on_progress)
            with self._http.exchange("PUT", target, pieces, size - start, headers=content_range) as response:
                self._http.whole(response)
        on_progress(1.0)
        return sha256

    def check_video(
        self,
        video: str,
        settings: dict[str, Any],
        video_name: str = "",
        while_waiting: Callable[[], None] = lambda: None,
    ) -> VideoCheck:
        """What a job would cut out of an uploaded video; takes seconds, with a network for it a minute or more.

        Args:
            video: sha256 of the uploaded video.
            settings: Fields of the server's settings; those left out take its defaults.
            video_name: Name of the video, for the server's messages about it.
            while_waiting: Called several times a second; what it raises ends the look, also on the server.

        Raises:
            ServerError: With code "checking" while the server looks at another video; or why a job would refuse it.
        """
        path = f"/v1/videos/{quote(video, safe='')}/check"
        seconds = self._limit("check_seconds")
        if seconds is None:
            raise ServerError(
                f"The server at {self.address} is older than this add-on and cannot look at videos.",
                "Install both from the same release, or press Animate without a look.",
                "wrong_version",
            )
        body = {"video_name": video_name, "settings": settings}
        patience = min(max(seconds, 0.0), LARGEST_LOOKING_LIMIT) + LOOKING_SECONDS
        answer = self._http.json("POST", path, body, patience, while_waiting)
        try:
            return VideoCheck.from_json(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise self._http.wrong_service("what it says of a video is incomplete") from error

    def submit(
        self,
        capture: str,
        video: str,
        settings: dict[str, Any],
        idempotency_key: str | None = None,
        video_name: str = "",
        client_id: str = "",
        further: Sequence[dict[str, Any]] = (),
    ) -> JobStatus:
        """Queue a job.

        Args:
            capture: sha256 of the uploaded capture file.
            video: sha256 of the uploaded driving video.
            settings: Fields of the server's settings; those left out take its defaults.
            idempotency_key: Submitting again with the same key gives the same job; None for a new key.
            video_name: Name of the video, for the server's messages about it.
            client_id: Name under which `jobs` finds the job again.
            further: Synchronised videos from other sides, each with `video` (its sha256), `video_name`, `azimuth` and
                `elevation`.

        Raises:
            ServerError: Why not; with code "wrong_version" if the server takes one video only.
        """
        # An older server would leave the further videos out without a word.
        if further and not self.capabilities().get("further_videos"):
            raise ServerError(
                f"The server at {self.address} is older than this add-on and takes one video only.",
                "Install both from the same release, or animate without the second video.",
                "wrong_version",
            )
        body = {
            "capture": capture,
            "video": video,
            "video_name": video_name,
            "settings": settings,
            "idempotency_key": idempotency_key or uuid.uuid4().hex,
            "client_id": client_id,
            "further": list(further),
        }
        return self._status(self._http.json("POST", "/v1/jobs", body))

    def status(self, job_id: str) -> JobStatus:
        """The newest status of a job."""
        return self._status(self._http.json("GET", _job(job_id)))

    def jobs(self, states: Iterable[JobState] = (), client_id: str | None = None, limit: int = 1000) -> list[JobStatus]:
        """The newest status of the newest jobs, oldest first; of one client or in some states only.

        Args:
            states: Which; none for all.
            client_id: Whose; None for everybody's.
            limit: At most so many, up to 1000.
        """
        query = [("limit", str(limit)), *(("state", state) for state in states)]
        if client_id is not None:
            query.append(("client_id", client_id))
        jobs = self._http.json("GET", f"/v1/jobs?{urlencode(query)}").get("jobs")
        if not isinstance(jobs, list):
            raise self._http.wrong_service("its list of jobs is none")
        return [self._status(job) for job in jobs]

    def cancel(self, job_id: str) -> JobStatus:
        """Cancel exactly this job; to cancel a cancelled job is no error.

        Returns:
            Its status: cancelled if it was queued, else running until it has stopped, which takes at most 2 s.

        Raises:
            ServerError: With code "already_finished" if it has succeeded or failed.
        """
        return self._status(self._http.json("POST", _job(job_id) + "/cancel"))

    def retry(self, job_id: str) -> JobStatus:
        """Queue a job that ended without success once more, as a new job; asked again, it gives that one.

        Raises:
            ServerError: With code "not_retryable" if it has not ended, or has succeeded.
        """
        return self._status(self._http.json("POST", _job(job_id) + "/retry"))

    def events(self, job_id: str, after: int = 0) -> Iterator[JobStatus]:
        """The statuses of a job as they come, until the one with which it ends.

        A broken stream is taken up again where it broke. Cancel from another thread, or between two events.

        Args:
            job_id: The job.
            after: Sequence number of the last status that is known already.
        """
        reconnects = 0
        while True:
            try:
                for status in self._stream(job_id, after):
                    if status.seq <= after:
                        continue
                    after, reconnects = status.seq, 0
                    yield status
                    if status.state.is_terminal:
                        return
                newest = self.status(job_id)
                if newest.state.is_terminal and newest.seq <= after:
                    return
                error = ServerError(f"The server at {self.address} keeps ending the events of job {job_id}.")
            except _BrokenStreamError as broken:
                error = broken.error
            reconnects += 1
            if reconnects > MAX_RECONNECTS:
                raise error

    def preview(self, job_id: str, etag: str = "") -> tuple[bytes, str] | None:
        """The newest frame of a running job as a small PNG file, and its ETag; None if there is no newer one.

        Args:
            job_id: The job.
            etag: That of the picture that is known already.
        """
        return self._http.picture(_job(job_id) + "/preview", etag)

    def download(self, job_id: str, path: Path, on_progress: Progress = lambda fraction: None) -> None:
        """Fetch the animation of a job that succeeded; the file appears complete or not at all.

        Raises:
            FileError: The file cannot be written, for example because it does not fit on the disk.
            ServerError: With code "no_result" if there is none.
        """
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._http.exchange("GET", _job(job_id) + "/outputs/animation.safetensors") as response:
                size = self._size_of(response)
                _check_space(path.parent, size)
                with partial.open("wb") as file:
                    self._receive(response, size, file.write, on_progress)
            partial.replace(path)
        except OSError as error:
            raise FileError(
                f"The result could not be written to {path} ({error.strerror}).",
                "Free some disk space there, then try again.",
            ) from error
        finally:
            with contextlib.suppress(OSError):  # what kept the file from being written may keep it from being removed
                partial.unlink()

    def unload(self) -> None:
        """Ask the server to give back the memory of its models.

        Raises:
            ServerError: With code "busy" while it computes a job.
        """
        self._http.json("POST", "/v1/models/unload")

    def models(self) -> dict[str, Any]:
        """Every network's weights, whether they are installed, and how the newest download stands."""
        return self._http.json("GET", "/v1/models")

    def download_models(self, names: Iterable[str] = (), accept_unstated_licences: bool = False) -> dict[str, Any]:
        """Let the server fetch weights from their publishers.

        Args:
            names: Which; none for all that animating needs.
            accept_unstated_licences: Whether also those whose publishers state no licence.

        Returns:
            How the download stands.

        Raises:
            ServerError: With code "licence_not_accepted", or "download_running" while another one runs.
        """
        wish = {"names": list(names), "accept_unstated_licences": accept_unstated_licences}
        return self._http.json("POST", "/v1/models/download", wish)

    def cancel_models_download(self) -> None:
        """Stop fetching weights, if the server does; what arrived is kept for the next time."""
        self._http.json("POST", "/v1/models/download/cancel")

    def remove_model(self, name: str) -> None:
        """Delete installed weights.

        Raises:
            ServerError: They are not installed, or just being fetched.
        """
        self._http.json("DELETE", f"/v1/models/{quote(name, safe='')}")

    def log(self, lines: int = 200) -> list[str]:
        """The last lines of the server's log, oldest first."""
        log = self._http.json("GET", f"/v1/log?tail={lines}").get("lines", [])
        if not isinstance(log, list):
            raise self._http.wrong_service("its log is none")
        return [str(line) for line in log]

    def shutdown(self) -> None:
        """Ask the server to end; a running job is interrupted, queued ones wait for the next start."""
        self._http.json("POST", "/v1/shutdown")

    def _limit(self, name: str) -> float | None:
        """One of the server's limits; None if it knows none of that name."""
        try:
            limit = self.capabilities()["limits"].get(name)
            return None if limit is None else number(limit)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._http.wrong_service("its description of its limits is incomplete") from error

    def _size_of(self, response: "Answer") -> int:
        """How many bytes will come: no more are read than an answer announces, so it has to."""
        if response.length is None:
            raise self._http.wrong_service("it does not say how long the result is")
        return response.length

    def _receive(self, response: "Answer", total: int, write: Callable[[bytes], object], on_progress: Progress) -> None:
        received, reported = 0, float("-inf")
        for piece in self._http.pieces(response, CHUNK_BYTES):
            write(piece)
            received += len(piece)
            if received == total or time.monotonic() - reported >= REPORT_SECONDS:
                on_progress(received / total)
                reported = time.monotonic()
        if received != total:
            raise ServerError(
                f"The server at {self.address} sent {received:,} of {total:,} bytes.", "Try again.", "unreachable"
            )

    def _stream(self, job_id: str, after: int) -> Iterator[JobStatus]:
        """One connection's worth of events.

        Raises:
            _BrokenStreamError: The connection broke after it stood.
        """
        silence = max(self._http.timeout, SILENCE_SECONDS)
        with self._http.exchange("GET", f"{_job(job_id)}/events?after={after}", timeout=silence) as response:
            try:
                for line in self._http.lines(response):
                    # the server writes each event's data on one line; ids repeat what the data holds
                    if line.startswith(b"data:"):
                        yield self._event(line[5:])
            except ServerError as error:
                if error.code != "unreachable":
                    raise
                raise _BrokenStreamError(error) from error

    def _event(self, data: bytes) -> JobStatus:
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._http.wrong_service("its events are not JSON") from error
        return self._status(values)

    def _status(self, values: dict[str, Any]) -> JobStatus:
        try:
            return JobStatus.from_json(values)
        except (KeyError, TypeError, ValueError) as error:
            raise self._http.wrong_service("its description of a job is incomplete") from error


class _BrokenStreamError(Exception):
    """A stream of events broke; `error` says how."""

    def __init__(self, error: ServerError) -> None:
        super().__init__(str(error))
        self.error = error


def _job(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
                stay()
            return digest.hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _check_space(folder: Path, size: int) -> None:
    """Make sure, before anything is written, that a file fits.

    Raises:
        FileError: It does not.
        OSError: Nobody knows.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise FileError(
            f"The result has {size:,} bytes; {free:,} are free in {folder}.",
            "Free some disk space there, then try again.",
        )


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError(f"{path} cannot be read ({error.strerror}).", "Choose another file.")


def _pieces(path: Path, start: int, size: int, on_progress: Progress) -> Iterator[bytes]:
    """The first `size` bytes of a file from `start` on, in pieces.

    Raises:
        FileError: The file cannot be read, or became shorter.
    """
    sent = start
    try:
        with path.open("rb") as file:
            file.seek(start)
            while sent < size:
                piece = file.read(min(CHUNK_BYTES, size - sent))
                if not piece:
                    raise FileError(
                        f"{path} became shorter while it was read.", "Wait until it is written, then try again."
                    )
                yield piece
                sent += len(piece)
                on_progress(sent / size)
    except OSError as error:
        raise _unreadable(path, error) from error
