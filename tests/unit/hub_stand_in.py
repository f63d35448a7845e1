"""A server on loopback that answers like the Hugging Face hub, as far as downloading files goes."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubStandIn:
    """What the server has, does wrong, and was asked.

    Attributes:
        files: Contents by "owner/name/path".
        breaks: Contents after how many bytes the connection breaks, once.
        holds: Contents that stop half-way until the event is set.
        claimed_sha256: Hash to claim instead of the true one.
        claimed_size: Size to claim in answers to HEAD instead of the true one.
        refusal: Status and error code of every answer, if any.
        requests: Method, "owner/name/path" and range of every request.
        tokens: Credentials that requests came with.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    holds: dict[str, threading.Event] = field(default_factory=dict)
    claimed_sha256: dict[str, str] = field(default_factory=dict)
    claimed_size: dict[str, int] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    endpoint: str = ""

    def ranges(self) -> list[str | None]:
        """The ranges of all downloads."""
        return [span for method, _, span in self.requests if method == "GET"]


@contextmanager
def serve() -> Iterator[HubStandIn]:
    """Run the server in a thread."""
    hub = HubStandIn()

    class Handler(_Handler):
        stand_in = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """What HF_ENDPOINT and HF_HUB_CACHE do. The client reads them when it is imported, which may have happened."""
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


class _Handler(BaseHTTPRequestHandler):
    stand_in: HubStandIn

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        hub = self.stand_in
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        name = f"{found[1]}/{found[2]}" if found else self.path
        span = self.headers.get("Range")
        hub.tokens.add(self.headers.get("Authorization"))
        hub.requests.append((self.command, name, span))
        if hub.refusal is not None:
            self._refuse(*hub.refusal)
        elif name in hub.files:
            self._send(name, hub.files[name], span, with_body=with_body)
        elif any(known.startswith(f"{found[1]}/" if found else "?") for known in hub.files):
            self._refuse(404, "EntryNotFound")
        else:
            self._refuse(404, "RepoNotFound")

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, name: str, content: bytes, span: str | None, *, with_body: bool) -> None:
        hub = self.stand_in
        start = int(re.fullmatch(r"bytes=(\d+)-", span)[1]) if span else 0  # type: ignore[index]
        sha256 = hub.claimed_sha256.get(name, hashlib.sha256(content).hexdigest())
        size = len(content) - start if with_body else hub.claimed_size.get(name, len(content))
        self.send_response(206 if span else 200)
        self.send_header("ETag", f'"{sha256}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(size))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            end = hub.breaks.pop(name, len(content))
            middle = (start + end) // 2 if name in hub.holds else start
            self.wfile.write(content[start:middle])
            self.wfile.flush()
            if name in hub.holds:
                hub.holds[name].wait(60)
            self.wfile.write(content[middle:end])
            # Fewer bytes than announced, and the connection is closed.
            self.close_connection = True
