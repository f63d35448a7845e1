"""What an artist reads when the server is not there, or something else is."""

import json
import os
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gvf_blender.client import Client, connect, default_handshake_path, read_handshake
from gvf_blender.core.errors import ServerError


@contextmanager
def other_service(status: int, body: bytes, asked: list[str] | None = None):
    """Another program's HTTP server on loopback that answers everything alike; yields its address.

    Args:
        status: Of every answer.
        body: Of every answer.
        asked: Gets the headers of every request.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if asked is not None:
                asked.append(str(self.headers))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def free_address():
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def refusal(**arguments) -> ServerError:
    with pytest.raises(ServerError) as caught:
        connect(**arguments)
    assert caught.value.hint
    return caught.value


def test_the_handshake_file_leads_to_the_server(server):
    assert connect(server.handshake).health()["service"] == "gvf"


def test_an_address_and_a_token_lead_to_the_server(server):
    assert connect(address=server.client.address + "/", token=server.token).capabilities()["engines"]


def test_a_wrong_token_is_told(server):
    error = refusal(address=server.client.address, token="wrong")
    assert error.code == "wrong_token"
    assert server.client.address in error.message


def test_a_wrong_token_is_told_at_the_first_upload_too(server, tmp_path):
    (tmp_path / "file").write_bytes(b"never seen before")
    with pytest.raises(ServerError, match="token is missing or wrong"):
        Client(server.client.address, "wrong").upload(tmp_path / "file")


def test_the_token_of_one_server_is_not_shown_to_another_address(server):
    with other_service(200, b"{}") as address:
        error = refusal(handshake_path=server.handshake, address=address)
    assert error.code == "wrong_token"
    assert address in error.message


def test_no_server_is_told_with_the_address_and_how_to_start_one(free_address):
    error = refusal(address=free_address, token="token")
    assert error.code == "unreachable"
    assert free_address in error.message
    assert "gvf-server" in error.hint


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"<html>not here</html>"), (200, b"hello"), (200, b"[]"), (200, b'{"service": "other"}'), (500, b"")],
)
def test_another_http_service_is_told_with_the_address(status, body):
    with other_service(status, body) as address:
        error = refusal(address=address, token="token")
    assert error.code == "wrong_service"
    assert f"Another service answers at {address}" in error.message


def test_a_service_that_does_not_speak_http_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=answer)
        thread.start()
        error = refusal(address=f"http://127.0.0.1:{listener.getsockname()[1]}", token="token")
        thread.join()
    assert error.code == "wrong_service"


def test_a_service_that_never_answers_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerError, match=f"{address} did not answer within 0.1 seconds"):
            Client(address, "token", timeout=0.1).health()


def test_another_version_of_the_protocol_is_told():
    with other_service(200, json.dumps({"service": "gvf", "api": [2, 3], "version": "9.0"}).encode()) as address:
        error = refusal(address=address, token="token")
    assert error.code == "wrong_version"
    assert "[2, 3]" in error.message


NO_ADDRESSES = [
    *("", "127.0.0.1:8000", "ftp://127.0.0.1", "http://[", "http://127.0.0.1:port", "http://a..b:80"),
    *("http://exa mple:80", "http://exa\x7fmple:80", "http://exa\u2028mple:80", f"http://{'a' * 64}.org"),
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_something_that_is_no_address_is_told(address):
    with pytest.raises(ServerError, match="is not the address of a server"):
        Client(address, "token")


@pytest.mark.parametrize(
    "token", ["t\u20acst-token", "test-token-\n0123456789", "test-token\n", "test\x00token", "\ud800"]
)
def test_a_token_with_characters_that_none_has_is_told_without_being_shown(token):
    error = refusal(address="http://127.0.0.1:1", token=token)
    assert error.code == "wrong_token"
    assert "characters that no token has" in error.message
    assert token.strip() not in str(error)


@pytest.mark.parametrize("address", ["http://b\u00fccher.example", "http://[::1]:8000", "http://my_host.:80"])
def test_unusual_names_of_hosts_are_addresses(address):
    assert Client(address, "token with spaces").address == address


def test_the_token_is_kept_from_what_has_not_said_that_it_is_a_server():
    asked = []
    with other_service(200, b'{"service": "other"}', asked) as address:
        refusal(address=address, token="the-studios-token")
    assert len(asked) == 1
    assert "the-studios-token" not in asked[0]


def test_a_proxy_of_the_system_is_not_used(server, monkeypatch, free_address):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, free_address)
    assert connect(server.handshake).health()["service"] == "gvf"


def test_a_missing_handshake_file_is_told(tmp_path):
    error = refusal(handshake_path=tmp_path / "server.json")
    assert error.code == "unreachable"
    assert str(tmp_path / "server.json") in error.message


def test_a_handshake_file_of_a_server_that_is_gone_is_told(tmp_path, free_address):
    path = tmp_path / "server.json"
    path.write_text(json.dumps({"service": "gvf", "address": free_address, "token": "t", "pid": 1}))
    error = refusal(handshake_path=path)
    assert error.code == "unreachable"
    assert f"{path} is gone: nothing listens at {free_address}" in error.message


@pytest.mark.parametrize("content", ["", "no json", "[]", "null", '{"service": "gvf"}', '{"service": "other"}'])
def test_a_file_that_is_no_handshake_is_told(tmp_path, content):
    path = tmp_path / "server.json"
    path.write_text(content)
    assert f"{path} is not the handshake file" in refusal(handshake_path=path).message


def test_an_unreadable_handshake_file_is_told(tmp_path):
    assert "cannot be read" in refusal(handshake_path=tmp_path).message


def test_the_handshake_does_not_show_its_token(server):
    assert server.token not in repr(read_handshake(server.handshake))


def test_the_default_place_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GVF_HOME", str(tmp_path))
    assert default_handshake_path() == tmp_path / "server.json"
    assert os.environ["GVF_HOME"] == str(tmp_path)
