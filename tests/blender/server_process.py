"""A real server process whose jobs are made up by `scripted_pipeline`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gvf_blender.client import Client, connect
from gvf_blender.core.errors import ServerError


@dataclass(frozen=True)
class RunningServer:
    """The process and a client of it."""

    process: subprocess.Popen
    handshake: Path
    client: Client


@contextmanager
def running_server(home: Path) -> Iterator[RunningServer]:
    """A server that publishes its handshake in the given GVF_HOME, until the context ends."""
    home.mkdir(parents=True, exist_ok=True)
    folder = str(Path(__file__).parent)
    places = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "GVF_HOME": str(home), "PYTHONPATH": places}
    command = [sys.executable, "-m", "server", "--job-function", "scripted_pipeline:run", "--unprobed"]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield RunningServer(process, home / "server.json", _connect_when_ready(process, home))
    finally:
        process.terminate()
        process.wait(20)


def _connect_when_ready(process: subprocess.Popen, home: Path) -> Client:
    while process.poll() is None:
        try:
            return connect(handshake_path=home / "server.json")
        except ServerError:
            # Not listening yet: ask again as soon as the file system has news or a moment has passed.
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
    raise RuntimeError((home / "server.log").read_text())
