"""Which server the artist wants, told without asking the network."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import bpy

from .client import Client, Environment, ServerProcess, connect, default_handshake_path
from .client.handshake import parse_handshake
from .client.server_process import PYTHON_HINT
from .core.data_places import DataPlaces
from .core.errors import ServerError, SettingsError
from .core.sentence import Sentence


@dataclass(frozen=True)
class ServerChoice:
    """Where the server is expected: started by Blender, at an address, else where its handshake file says.

    Attributes:
        handshake_path: The handshake file; None for the usual place.
        address: For example "http://127.0.0.1:8000"; None to use the handshake file.
        token: The server's token; only with an address.
        process: The server that Blender starts for itself; None to use one of somebody else.
        python: The Python that runs the process; None while the artist has not chosen one.
        places: Where the process keeps its data; None for the usual places.
        environment: The environment of this Python if Blender made it; None of one that the artist chose by hand.
    """

    handshake_path: Path | None = None
    address: str | None = None
    token: str | None = None
    process: ServerProcess | None = None
    python: Path | None = None
    environment: Environment | None = None
    places: DataPlaces | None = None

    def locate(self) -> str:
        """Where the server is, as files and preferences tell it; whether it answers shows `connect`.

        Raises:
            ServerError: There is no usable handshake file, or no Python to start it with.
            SettingsError: The address is none, or lies outside this machine while Blender is told to stay offline.
        """
        if self.process is not None:
            return Sentence("started when needed by {python}", python=self._usable_python())
        address = self.address
        if address is None:
            address = parse_handshake(self._handshake).address
        host = _host(address)
        if not _is_loopback(host) and not bpy.app.online_access:
            raise SettingsError(
                Sentence(
                    "The server {address} is not on this machine, and Blender is not allowed to go online.",
                    address=address,
                ),
                "Enable Preferences > System > Network > Allow Online Access, or use a server on this machine.",
            )
        return address

    def connect(self) -> Client:
        """Speak to the server, and start it first if that is Blender's business.

        Waits for the network, so not for the main thread of a Blender with windows; touches nothing of Blender.

        Raises:
            ServerError: It does not answer or start, does not accept the token, or is something else.
        """
        if self.process is not None:
            return self.process.connect(self._usable_python(), self.places)
        return self.reach()

    def reach(self) -> Client:
        """Speak to the server if it runs; waits as `connect` does, and starts nothing.

        Raises:
            ServerError: It does not answer, does not accept the token, or is something else.
        """
        if self.address is None:
            return connect(handshake_path=self._handshake)
        return connect(address=self.address, token=self.token)

    def log(self) -> list[str]:
        """The last lines of the server's log; waits as `connect` does.

        Of a process that does not answer, what it wrote.

        Raises:
            ServerError: It does not answer, and Blender has not started it.
        """
        try:
            return self.reach().log()
        except ServerError:
            if self.process is None or not (output := self.process.output()):
                raise
            return output

    @property
    def _handshake(self) -> Path:
        if self.process is not None:
            return self.process.handshake
        return self.handshake_path or default_handshake_path()

    def _usable_python(self) -> Path:
        if self.python is None:
            raise ServerError("No Python is chosen to start the server with.", PYTHON_HINT, code="start")
        if not self.python.is_file():
            text = Sentence("There is no Python at {path}.", path=self.python)
            raise ServerError(text, PYTHON_HINT, code="start")
        return self.python


def _host(address: str) -> str:
    try:
        parts = urlsplit(address)
        host = parts.hostname
        valid = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        host, valid = None, False
    if not host or not valid:
        raise SettingsError(
            Sentence("{address!r} is not the address of a server.", address=address),
            "Enter one like http://127.0.0.1:8000 in the preferences.",
        )
    return host


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
