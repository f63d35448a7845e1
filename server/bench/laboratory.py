"""A real server process in a folder of its own, and the plainest client for it."""

import hashlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from server.bench.fake_engine import DIARY_VARIABLE, JOB_FUNCTION, FakeWork

START_SECONDS = 60.0
POLL_SECONDS = 0.01
CAPTURE = b"the capture of a made-up job"


class RefusedError(Exception):
    """The server answered, but not with success.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500].decode('utf-8', 'replace')}")
        self.status = status


@dataclass
class Laboratory:
    """A folder in which servers run one after the other.

    Attributes:
        folder: Everything is in here.
        flags: Further flags of the server.
    """

    folder: Path
    flags: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    address: str = ""
    token: str = field(default="", repr=False)

    @property
    def diary(self) -> Path:
        """Where the fake engine notes what it runs."""
        return self.folder / "diary"

    def start(self) -> None:
        """Start a server and wait until it answers."""
        handshake = self.folder / "server.json"
        handshake.unlink(missing_ok=True)
        command = [sys.executable, "-m", "server", "--handshake", str(handshake), "--data", str(self.folder / "data")]
        command += ["--job-function", JOB_FUNCTION, "--unprobed", *self.flags]
        with (self.folder / "log").open("ab") as log:
            environment = os.environ | {DIARY_VARIABLE: str(self.diary)}
            self.process = subprocess.Popen(command, stderr=log, env=environment)
        deadline = time.monotonic() + START_SECONDS
        while not handshake.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(POLL_SECONDS)
        content = json.loads(handshake.read_text())
        self.address, self.token = urlsplit(content["address"]).netloc, content["token"]

    def kill(self) -> None:
        """End the server without warning, as a power cut or the system would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End the server as its users do."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def workers(self) -> list[psutil.Process]:
        """The worker processes of the server."""
        assert self.process is not None
        found = []
        for child in psutil.Process(self.process.pid).children():
            try:
                if any("spawn_main" in part for part in child.cmdline()):
                    found.append(child)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def connect(self) -> "Visitor":
        """A client with a connection of its own."""
        return Visitor(self.address, self.token)


class Visitor:
    """One connection to a server, kept open.

    Args:
        address: "HOST:PORT".
        token: Bearer token.
    """

    def __init__(self, address: str, token: str) -> None:
        self.connection = http.client.HTTPConnection(address, timeout=START_SECONDS)
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send JSON, and give the decoded answer.

        Raises:
            RefusedError: The server refused.
            OSError: It is gone.
        """
        encoded = None if body is None else json.dumps(body).encode()
        return json.loads(self.fetch(method, path, encoded, {"Content-Type": "application/json"}) or b"null")

    def fetch(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
        """Send bytes, and give the bytes of the answer.

        Raises:
            RefusedError: The server refused.
            OSError: It is gone.
        """
        self.connection.request(method, path, body, self._headers | (headers or {}))
        response = self.connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise RefusedError(response.status, content)
        return content

    def upload(self, content: bytes) -> str:
        """Upload bytes; gives their sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.fetch("PUT", f"/v1/blobs/{sha256}", content)
        return sha256

    def submit(self, work: FakeWork, key: str) -> str:
        """Queue a made-up job; gives its id."""
        capture, video = self.upload(CAPTURE), self.upload(json.dumps(asdict(work)).encode())
        submission = {"capture": capture, "video": video, "idempotency_key": key}
        return self.ask("POST", "/v1/jobs", submission)["id"]

    def wait(self, job_id: str) -> str:
        """Follow a job to its end; gives its state."""
        self.fetch("GET", f"/v1/jobs/{job_id}/events")
        return self.ask("GET", f"/v1/jobs/{job_id}")["state"]


@contextmanager
def laboratory(folder: Path, *flags: str) -> Iterator[Laboratory]:
    """A laboratory whose server runs, until the context ends."""
    lab = Laboratory(folder, flags)
    lab.start()
    try:
        yield lab
    finally:
        lab.stop()
