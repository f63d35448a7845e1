"""The handshake file: tells the programs of the same user where the server is and what its token is."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from server.errors import StartError


@dataclass(frozen=True)
class Handshake:
    """Content of the file.

    Attributes:
        address: "http://127.0.0.1:PORT".
        token: Bearer token of this run of the server.
        pid: Process id of the server.
        version: Version of the server.
        service: Always "gvf".
    """

    address: str
    token: str = field(repr=False)
    pid: int
    version: str
    service: str = "gvf"


def default_home() -> Path:
    """Folder of handshake and data: $GVF_HOME, else ~/.gvf."""
    return Path(os.environ.get("GVF_HOME") or Path.home() / ".gvf")


@contextmanager
def published(handshake: Handshake, path: Path) -> Iterator[None]:
    """Keep the file in place while the context lasts: complete from its first moment, readable by its owner only.

    Raises:
        StartError: The file cannot be written.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(handshake), file, indent=2)
        partial.replace(path)
    except OSError as error:
        raise StartError(
            f"The handshake file {path} cannot be written ({error}).", "Choose another --handshake."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
