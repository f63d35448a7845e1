"""The protocol beyond the life of one job: what the server says about itself, ranges, filters, log, figures."""

import http.client
import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from server_under_test import started

from gvf_blender.client import JobState
from server.access import Entrance
from server.app import create_app
from server.limits import Limits
from server.service import open_service

ROOT = Path(__file__).parents[2]
RESULT = "/outputs/animation.safetensors"


def answer(server, method: str, path: str, headers: dict | None = None):
    """Status, headers and bytes of an answer."""
    connection = http.client.HTTPConnection(urlsplit(server.client.address).netloc)
    connection.request(method, path, headers={"Authorization": f"Bearer {server.token}"} | (headers or {}))
    response = connection.getresponse()
    found = response.status, response.headers, response.read()
    connection.close()
    return found


def test_the_committed_description_is_that_of_the_server(tmp_path):
    service = open_service(tmp_path, Limits(), "none:none", True, [None], True, lambda: None, lambda: None)
    try:
        described = create_app(service, Entrance("token", "127.0.0.1:1")).openapi()
    finally:
        service.database.close()
    described["info"]["version"] = "1"
    committed = json.loads((ROOT / "docs/openapi.json").read_text())
    assert committed == described, "run: python -m tools.write_openapi"


def test_health_says_which_build_runs_and_for_how_long(server):
    first, second = server.client.health(), server.client.health()
    assert second["uptime_seconds"] >= first["uptime_seconds"] > 0
    assert len(first["build"]) == 12
    server.run("")
    assert server.client.health()["ready"] is True


def test_capabilities_say_what_it_computes_on_and_every_limit(server):
    server.run("")
    capabilities = server.client.capabilities()
    assert capabilities["limits"] == asdict(Limits(upload_mb=1))
    assert capabilities["devices"][0]["kind"] in ("cpu", "cuda")
    assert capabilities["memory_available_mb"] > 0
    assert "fit" in capabilities["engines"]


def test_answers_do_not_wait_for_each_other(server):
    connection = http.client.HTTPConnection(urlsplit(server.client.address).netloc)
    seconds = []
    for _ in range(51):
        begin = time.perf_counter()
        connection.request("GET", "/v1/health")
        connection.getresponse().read()
        seconds.append(time.perf_counter() - begin)
    connection.close()
    # Nagle's algorithm and delayed acknowledgements together would make each take 40 ms
    assert statistics.median(seconds) < 0.03


def test_a_result_can_be_fetched_in_parts_that_belong_together(server):
    job = server.run("")
    status, headers, whole = answer(server, "GET", f"/v1/jobs/{job.id}{RESULT}")
    assert (status, headers["Accept-Ranges"]) == (200, "bytes")
    status, part_headers, part = answer(
        server, "GET", f"/v1/jobs/{job.id}{RESULT}", {"Range": "bytes=5-", "If-Range": headers["ETag"]}
    )
    assert (status, part) == (206, whole[5:])
    assert part_headers["ETag"] == headers["ETag"]
    assert answer(server, "GET", f"/v1/jobs/{job.id}{RESULT}", {"Range": f"bytes={len(whole)}-"})[0] == 416
    assert answer(server, "GET", f"/v1/jobs/{job.id}{RESULT}", {"If-None-Match": headers["ETag"]})[0] == 304
    assert answer(server, "GET", f"/v1/jobs/{job.id}{RESULT}", {"If-None-Match": '"other"'})[2] == whole


def test_a_job_says_where_it_waits_and_what_it_has_made(server, tmp_path):
    running = server.submit(f"wait-for {tmp_path / 'go'}")
    server.running(running)
    waiting = [server.submit(""), server.submit("")]
    positions = [server.raw("GET", f"/v1/jobs/{job.id}")[1]["position"] for job in (running, *waiting)]
    assert positions == [None, 1, 2]
    (tmp_path / "go").touch()
    assert server.outcome(waiting[1]).state is JobState.SUCCEEDED
    assert server.raw("GET", f"/v1/jobs/{waiting[1].id}")[1]["outputs"][0]["name"] == "animation.safetensors"


def test_an_output_that_is_none_is_named(server):
    job = server.run("")
    status, body = server.raw("GET", f"/v1/jobs/{job.id}/outputs/..%2f..%2fjobs.sqlite")
    assert status == 404
    status, body = server.raw("GET", f"/v1/jobs/{job.id}/outputs/other")
    assert (status, body["error"]["code"]) == (404, "unknown_output")


def test_a_client_finds_its_jobs_again(server):
    mine = server.run("", client_id="scene of a bird")
    server.run("", client_id="another")
    failed = server.run("refuse", client_id="scene of a bird")
    assert [job.id for job in server.client.jobs(client_id="scene of a bird")] == [mine.id, failed.id]
    assert [job.id for job in server.client.jobs(client_id="scene of a bird", states=[JobState.FAILED])] == [failed.id]
    assert server.client.jobs(limit=1)[0].id == failed.id


@pytest.mark.parametrize("query", ["state=nonsense", "limit=0", "limit=many"])
def test_a_filter_that_is_none_is_refused(server, query):
    status, body = server.raw("GET", f"/v1/jobs?{query}")
    assert (status, body["error"]["code"]) == (422, "invalid_request")


def test_a_silent_job_shows_that_the_connection_lives(server, tmp_path):
    job = server.submit(f"wait-for {tmp_path / 'go'}")
    server.running(job)
    connection = http.client.HTTPConnection(urlsplit(server.client.address).netloc, timeout=6)
    connection.request("GET", f"/v1/jobs/{job.id}/events?after=2", headers={"Authorization": f"Bearer {server.token}"})
    assert connection.getresponse().readline() == b": heartbeat\n"
    connection.close()
    (tmp_path / "go").touch()
    assert server.outcome(job).state is JobState.SUCCEEDED


def test_the_time_left_is_learned_from_earlier_jobs(tmp_path):
    settings = {"engine": "fit", "max_frames": 7}
    with started(tmp_path) as server:
        script = "progress first 0.1\nprogress second 0.5\nsleep 0.2\nprogress third 0.9\nsleep 0.2"
        first = list(server.client.events(server.submit(script, settings).id))
        assert [event.seconds_left for event in first] == [None] * len(first)
        second = {event.stage: event.seconds_left for event in server.client.events(server.submit(script, settings).id)}
        assert second["first"] > second["second"]
        assert 0.4 <= second["first"] < 1.0


def test_the_log_tells_what_happened_to_a_job_and_no_token(server):
    job = server.run("raise something odd")
    lines = server.client.log(1000)
    about = [line for line in lines if f"job={job.id}" in line]
    assert any("queued" in line for line in about)
    assert any("gvf-worker" in line and "the job failed" in line for line in about)
    assert any("ZeroDivisionError: something odd" in line for line in lines)
    assert not any(server.token in line for line in lines)
    assert len(server.client.log(2)) == 2


def test_a_log_for_machines_has_one_object_per_line(tmp_path):
    with started(tmp_path, "--log-format", "json") as server:
        job = server.run("raise something odd")
        lines = [json.loads(line) for line in server.client.log(1000)]
        failed = next(line for line in lines if "something odd" in line["message"] and line["process"] == "gvf-worker")
        assert (failed["job"], failed["level"]) == (job.id, "ERROR")
        assert failed["message"].startswith("the job failed\n")


def test_figures_for_prometheus_count_what_happened(server):
    server.run("")
    text = answer(server, "GET", "/v1/metrics")[2].decode()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures['gvf_jobs{state="succeeded"}']) >= 1
    assert float(figures["gvf_uploaded_bytes_total"]) > 0
    assert float(figures['gvf_http_requests_total{method="POST",route="/v1/jobs",status="202"}']) >= 1
    assert float(figures["gvf_resident_bytes"]) > 0
