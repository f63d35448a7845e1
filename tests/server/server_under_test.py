"""A real server process on a real socket, with a worker that runs the fakes of fake_jobs.py."""

import http.client
import json
import os
import select
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gvf_blender.client import Client, JobState, JobStatus, read_handshake

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which a test gives up; nothing should come near it."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"gave up waiting until {what}"
        tick.wait(0.01)


@dataclass(frozen=True)
class ProcessWatch:
    """Sees the end of a process that need not be a child, also before anybody has collected it."""

    descriptor: int

    @classmethod
    def of(cls, pid: int) -> "ProcessWatch":
        return cls(os.pidfd_open(pid))

    def ends(self) -> bool:
        return bool(select.select([self.descriptor], [], [], PATIENCE)[0])


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen
    folder: Path
    client: Client
    token: str

    @property
    def handshake(self) -> Path:
        return self.folder / "server.json"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def worker_group(self) -> int:
        """Process id of the worker, told by the operating system."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        return next(pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def upload(self, content: str | bytes) -> str:
        path = self.folder / f"{uuid.uuid4().hex}.upload"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.client.upload(path)

    def submit(self, script: str, settings: dict | None = None, **options) -> JobStatus:
        """Submit a job that does what the script says; see fake_jobs.py."""
        return self.client.submit(self.upload("capture"), self.upload(script), settings or {}, **options)

    def further(self, content: str | bytes, **values) -> dict:
        """A further video for `submit`, uploaded."""
        view = {"video_name": "side.mp4", "azimuth": 90, "elevation": 0}
        return view | {"video": self.upload(content)} | values

    def run(self, script: str, **options) -> JobStatus:
        return self.outcome(self.submit(script, **options))

    def outcome(self, job: JobStatus) -> JobStatus:
        return list(self.client.events(job.id))[-1]

    def event(self, job: JobStatus, is_wanted: Callable[[JobStatus], bool]) -> JobStatus:
        """The first event of the kind; the job must not end before it."""
        return next(status for status in self.client.events(job.id) if is_wanted(status))

    def running(self, job: JobStatus) -> JobStatus:
        return self.event(job, lambda status: status.state is JobState.RUNNING)

    def worker_pid(self) -> int:
        """Process id of the worker, told by a job."""
        job = self.submit("tell-pid")
        pid = int(self.event(job, lambda status: status.stage.isdigit()).stage)
        assert self.outcome(job).state is JobState.SUCCEEDED
        return pid

    def raw(
        self,
        method: str,
        path: str,
        headers: dict | None = None,
        body: bytes | Iterator[bytes] | None = None,
        token: str | None = None,
    ):
        """Status and decoded body of a request as no well-behaved client sends it."""
        connection = http.client.HTTPConnection(urlsplit(self.client.address).netloc, timeout=PATIENCE)
        authorization = {"Authorization": f"Bearer {self.token if token is None else token}"}
        try:
            connection.request(method, path, body, authorization | (headers or {}))
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content else None
        finally:
            connection.close()


def server_command(folder: Path, *flags: str, job_function: str = "fake_jobs:scripted") -> list[str]:
    probing = [] if job_function == "fake_jobs:instant" else ["--unprobed"]
    return [
        *(sys.executable, "-m", "server"),
        *("--handshake", str(folder / "server.json")),
        *("--data", str(folder / "data")),
        *("--job-function", job_function),
        *probing,
        *flags,
    ]


def server_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}


@contextmanager
def started(folder: Path, *flags: str, job_function: str = "fake_jobs:scripted", shell: str = "") -> Iterator[Server]:
    """A server of its own, killed at the end if it still runs."""
    command = server_command(folder, *flags, job_function=job_function)
    if shell:
        command = ["bash", "-c", f'{shell}; exec "$@"', "bash", *command]
    # With weights of its own and nobody to fetch any from, unless the test says otherwise.
    alone = {"GVF_MODELS_DIR": str(folder / "models"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, cwd=folder, env=alone | server_environment())
    handshake = folder / "server.json"
    try:
        wait_until(lambda: handshake.exists() or process.poll() is not None, "the server runs")
        assert process.poll() is None, (folder / "log").read_text()
        content = read_handshake(handshake)
        yield Server(process, folder, Client(content.address, content.token), content.token)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
