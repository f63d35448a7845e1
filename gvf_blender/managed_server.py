"""The one server that this Blender starts for itself. Nothing is started here: a job or a button does that."""

import os

from .client import ServerProcess
from .user_folder import user_folder

_process: ServerProcess | None = None


def managed_server() -> ServerProcess:
    """The process, running or not."""
    global _process
    if _process is None:
        _process = ServerProcess(user_folder() / "server", os.getpid())
    return _process


def unregister() -> None:
    """Tell the server to end, without waiting: jobs that it computed are taken up again at its next start."""
    global _process
    if _process is not None:
        _process.terminate()
        _process = None
