"""Who may talk to the server."""

import http.client
import stat
from urllib.parse import urlsplit

import pytest


def test_health_needs_no_token_and_names_the_service(server):
    status, body = server.raw("GET", "/v1/health", token="")
    assert status == 200
    assert body["service"] == "gvf"
    assert body["api"] == [1]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/capabilities"),
        ("PUT", "/v1/blobs/" + "0" * 64),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/x/events"),
        ("GET", "/v1/jobs/x/outputs/animation.safetensors"),
        ("POST", "/v1/jobs/x/retry"),
        ("POST", "/v1/models/unload"),
        ("GET", "/v1/log"),
        ("GET", "/v1/metrics"),
        ("POST", "/v1/jobs/x/cancel"),
        ("POST", "/v1/shutdown"),
        ("GET", "/v1/openapi.json"),
        ("GET", "/"),
    ],
)
@pytest.mark.parametrize("token", ["", "wrong", "ünicode"])
def test_everything_else_refuses_a_wrong_token(server, method, path, token):
    authorization = {"Authorization": f"Bearer {token}".encode()}
    status, body = server.raw(method, path, authorization)
    assert status == 401
    assert body["error"]["code"] == "unauthorized"
    assert "handshake" in body["error"]["hint"]


@pytest.mark.parametrize("path", ["/v1/health", "/v1/jobs"])
def test_a_foreign_host_is_refused_even_with_the_token(server, path):
    status, body = server.raw("GET", path, {"Host": "evil.example"})
    assert status == 403
    assert body["error"]["code"] == "foreign_request"
    assert "evil.example" in body["error"]["message"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_web_page_is_refused_even_with_the_token(server, origin):
    status, body = server.raw("GET", "/v1/jobs", {"Origin": origin})
    assert status == 403
    assert body["error"]["code"] == "foreign_request"


def test_localhost_is_a_name_of_the_server(server):
    port = urlsplit(server.client.address).port
    assert server.raw("GET", "/v1/jobs", {"Host": f"localhost:{port}"})[0] == 200


def test_no_answer_invites_other_origins(server):
    connection = http.client.HTTPConnection(urlsplit(server.client.address).netloc)
    connection.request("OPTIONS", "/v1/jobs", headers={"Authorization": f"Bearer {server.token}"})
    headers = {name.lower() for name, _ in connection.getresponse().getheaders()}
    connection.close()
    assert not any(name.startswith("access-control") for name in headers)


def test_the_handshake_is_readable_by_its_owner_only(server):
    assert stat.S_IMODE(server.handshake.stat().st_mode) == 0o600


def test_the_token_is_not_in_the_log(server):
    server.raw("GET", "/v1/jobs", token="wrong")
    assert server.log
    assert server.token not in server.log


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("DELETE", "/v1/jobs", 405)])
def test_errors_of_the_router_have_the_usual_body(server, method, path, status):
    actual, body = server.raw(method, path)
    assert actual == status
    assert set(body["error"]) == {"code", "message", "hint"}
