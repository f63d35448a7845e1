"""Find the server and make sure that it is the right one."""

from pathlib import Path

from ..core.errors import ServerError
from .client import Client
from .handshake import read_handshake

API_VERSION = 1


def connect(handshake_path: Path | None = None, address: str | None = None, token: str | None = None) -> Client:
    """A client of a server that is there, is a GVF server, speaks this protocol and accepts the token.

    Args:
        handshake_path: The handshake file; None for the default place. Not used with an address and a token.
        address: "http://HOST:PORT"; None to take it from the handshake file.
        token: Bearer token of the server at `address`; None to take it from the handshake file.

    Raises:
        ServerError: With code "unreachable", "wrong_service", "wrong_version" or "wrong_token".
    """
    if not address or not token:
        address, token = _from_handshake(handshake_path, address)
    client = Client(address, token)
    health = client.health()
    if health.get("service") != "gvf":
        raise ServerError(
            f"Another service answers at {client.address}, not a GVF server.",
            "Correct the address, or remove it to use the handshake file of the running server.",
            "wrong_service",
        )
    versions = health.get("api")
    if not isinstance(versions, list) or API_VERSION not in versions:
        raise ServerError(
            f"The server at {client.address} (version {health.get('version')}) speaks protocol {versions}, "
            f"this add-on {API_VERSION}.",
            "Install the add-on and the server from the same release.",
            "wrong_version",
        )
    try:
        client.capabilities()
    except ServerError as error:
        if error.code != "unauthorized":
            raise
        raise ServerError(
            f"The server at {client.address} does not accept the token.",
            "Copy the token from the handshake file of that server, or remove it to use the file.",
            "wrong_token",
        ) from error
    return client


def _from_handshake(path: Path | None, address: str | None) -> tuple[str, str]:
    handshake = read_handshake(path)
    if address and address.rstrip("/") != handshake.address:
        # the token of one server is nothing that another address should ever see
        raise ServerError(
            f"There is no token for the server at {address}; the handshake file belongs to {handshake.address}.",
            "Enter the token of that server, or remove the address.",
            "wrong_token",
        )
    return handshake.address, handshake.token
