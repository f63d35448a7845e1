"""Which server the artist wants, told without asking the network."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import bpy

from .client import Client, connect, default_handshake_path
from .client.handshake import parse_handshake
from .core.errors import SettingsError


@dataclass(frozen=True)
class ServerChoice:
    """Where the server is expected: at an address, else where its handshake file says.

    Attributes:
        handshake_path: The handshake file; None for the usual place.
        address: For example "http://127.0.0.1:8000"; None to use the handshake file.
        token: The server's token; only with an address.
    """

    handshake_path: Path | None = None
    address: str | None = None
    token: str | None = None

    def locate(self) -> str:
        """The server's address as files and preferences tell it; whether it answers shows `connect`.

        Raises:
            ServerError: There is no usable handshake file.
            SettingsError: The address is none, or lies outside this machine while Blender is told to stay offline.
        """
        address = self.address
        if address is None:
            address = parse_handshake(self.handshake_path or default_handshake_path()).address
        host = _host(address)
        if not _is_loopback(host) and not bpy.app.online_access:
            raise SettingsError(
                f"The server {address} is not on this machine, and Blender is not allowed to go online.",
                "Enable Preferences > System > Network > Allow Online Access, or use a server on this machine.",
            )
        return address

    def connect(self) -> Client:
        """Speak to the server; waits for the network, so not for the main thread of a Blender with windows.

        Raises:
            ServerError: It does not answer, does not accept the token, or is something else.
        """
        if self.address is None:
            return connect(handshake_path=self.handshake_path)
        return connect(address=self.address, token=self.token)


def _host(address: str) -> str:
    try:
        parts = urlsplit(address)
        host = parts.hostname
        valid = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        host, valid = None, False
    if not host or not valid:
        raise SettingsError(
            f"{address!r} is not the address of a server.", "Enter one like http://127.0.0.1:8000 in the preferences."
        )
    return host


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
