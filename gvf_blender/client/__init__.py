"""The only code of the extension that talks to the server. Standard library only, no Blender.

Everything here waits for the network: call it from a thread, not from Blender's main thread.
"""

from ..core.job_state import JobError, JobState, JobStatus
from .client import Client
from .connection import connect
from .environment import Environment, fingerprint
from .handshake import Handshake, default_handshake_path, read_handshake
from .installation import Installation
from .server_process import ServerProcess

__all__ = [
    "Client",
    "Environment",
    "Handshake",
    "Installation",
    "JobError",
    "JobState",
    "JobStatus",
    "ServerProcess",
    "connect",
    "default_handshake_path",
    "fingerprint",
    "read_handshake",
]
