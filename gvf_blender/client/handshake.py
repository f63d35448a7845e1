"""The file in which a running server says where it is and what its token is."""

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..core.errors import ServerError
from ..core.sentence import Sentence

START_HINT = Sentence("Start the server with: python3 dev.py serve (or gvf-server).")
INSTALL_HINT = Sentence(
    "Press Install Server in the GVF tab, or start one yourself with: python3 dev.py serve (or gvf-server)."
)

PROBE_SECONDS = 1.0


@dataclass(frozen=True)
class Handshake:
    """Content of the file.

    Attributes:
        address: "http://127.0.0.1:PORT".
        token: Bearer token.
        pid: Process id of the server, in the process numbers of the server's side.
    """

    address: str
    token: str = field(repr=False)
    pid: int


def default_handshake_path() -> Path:
    """Where a server writes its handshake unless told otherwise: $GVF_HOME/server.json, else ~/.gvf/server.json."""
    return Path(os.environ.get("GVF_HOME") or Path.home() / ".gvf") / "server.json"


def read_handshake(path: Path | None = None) -> Handshake:
    """Read the file and make sure that something listens at its address.

    Whether the server lives is asked from the port and not from the process id, because a Blender from Flatpak
    or Snap has process numbers of its own.

    Args:
        path: The file; None for the default place.

    Raises:
        ServerError: The file is missing, unreadable, or left over from a server that is gone.
    """
    path = path or default_handshake_path()
    handshake = parse_handshake(path)
    parts = urlsplit(handshake.address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), PROBE_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise ServerError(
            f"The server that wrote {path} is gone: nothing listens at {handshake.address}.",
            INSTALL_HINT,
            "unreachable",
        ) from error
    return handshake


def parse_handshake(path: Path) -> Handshake:
    """The content of the file, without asking whether the server still lives: for places that must not wait.

    Raises:
        ServerError: The file is missing, unreadable, or no handshake.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["service"] != "gvf" or not urlsplit(content["address"]).port:
            raise ValueError("another service or no address")
        return Handshake(address=str(content["address"]), token=str(content["token"]), pid=int(content["pid"]))
    except FileNotFoundError as error:
        text = Sentence("No server is running: there is no {path}.", path=path)
        raise ServerError(text, INSTALL_HINT, "unreachable") from error
    except OSError as error:
        raise ServerError(
            f"The handshake file {path} cannot be read ({error.strerror}).",
            "Run the server as the same user as Blender.",
            "unreachable",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerError(
            f"{path} is not the handshake file of a GVF server.", f"Delete it. {START_HINT}", "unreachable"
        ) from error
