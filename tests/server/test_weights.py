"""Weights over HTTP: a real server process and its download process, with a stand-in for the hub."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import save_file
from server_under_test import PATIENCE, started, wait_until

from gvf_blender.core.errors import ServerError
from gvf_core.models.registry import FOR_ANIMATING, checkpoint
from gvf_core.models.roles import Role
from server.weights import DownloadState, Weights, WeightsDownload, _Arrived

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from hub_stand_in import serve
from weight_files import SLAT_ENCODER_FILE, nano_state, save_statistics

LICENSED, UNSTATED = "trellis-slat-encoder", "gvf-statistics"
PUBLISHED = f"{checkpoint(LICENSED).repository}/ckpts/{SLAT_ENCODER_FILE}"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    save_file(nano_state(Role.SLAT_ENCODER), folder / SLAT_ENCODER_FILE)
    with serve() as hub:
        hub.files[PUBLISHED] = (folder / SLAT_ENCODER_FILE).read_bytes()
        for file in save_statistics(folder):
            hub.files[f"{checkpoint(UNSTATED).repository}/{file.name}"] = file.read_bytes()
        yield hub


@pytest.fixture(scope="module")
def running(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.endpoint)
        patch.setenv("HF_HOME", str(folder / "hub"))
        with started(folder) as server:
            patch.undo()  # its own environment has it; other servers of this file shall not
            yield server


@pytest.fixture
def server(running):
    """The server without any weights."""
    yield running
    running.client.cancel_models_download()
    for entry in running.client.models()["models"]:
        if entry["state"] != "missing":
            running.client.remove_model(entry["name"])


def entry(server, name):
    return next(found for found in server.client.models()["models"] if found["name"] == name)


def ended(server):
    """The download when it has ended; its process imports torch, which a busy machine takes a minute for."""
    pause, deadline = threading.Event(), time.monotonic() + 4 * PATIENCE
    while (download := server.client.models()["download"])["state"] == "running":
        assert time.monotonic() < deadline, "gave up waiting until the download has ended"
        pause.wait(0.2)
    return download


def refused(code):
    return pytest.raises(ServerError, check=lambda error: error.code == code)


def test_every_entry_is_listed_with_its_state_size_and_terms(server):
    listed = server.client.models()
    assert listed["download"] is None
    assert {found["state"] for found in listed["models"]} == {"missing"}
    licensed, unstated = entry(server, LICENSED), entry(server, UNSTATED)
    assert licensed["licence"] == "MIT" and licensed["terms"].endswith("under the licence MIT.")
    assert unstated["licence"] is None and "states no licence" in unstated["terms"]
    assert licensed["bytes"] > 1e8 and licensed["page"].startswith("https://")
    (released,) = listed["sets"]
    assert released["state"] == "missing" and released["lacks"] == [wanted.name for wanted in FOR_ANIMATING]


def test_weights_are_fetched_installed_and_removed(server):
    begun = server.client.download_models([LICENSED])
    assert (begun["state"], begun["names"]) == ("running", [LICENSED])
    assert ended(server) == {"state": "succeeded", "names": [LICENSED], "stage": "", "progress": 1.0, "error": None}
    installed = entry(server, LICENSED)
    assert (installed["state"], installed["origin"]) == ("installed", "official")
    assert server.client.download_models([LICENSED])["state"] == "succeeded"  # nothing left to do
    server.client.remove_model(LICENSED)
    assert entry(server, LICENSED)["state"] == "missing"


def test_unstated_licences_have_to_be_accepted(server):
    with refused("licence_not_accepted") as refusal:
        server.client.download_models([UNSTATED])
    assert UNSTATED in str(refusal.value) and "states no licence" in str(refusal.value)
    with refused("licence_not_accepted"):
        server.client.download_models()
    server.client.download_models([UNSTATED], accept_unstated_licences=True)
    assert ended(server)["state"] == "succeeded"


def test_progress_is_told_status_stays_fast_and_a_cancel_ends_it(server, hub):
    hub.holds[PUBLISHED] = threading.Event()
    try:
        server.client.download_models([LICENSED])
        wait_until(lambda: entry(server, LICENSED)["state"] == "downloading", "it is being fetched")
        wait_until(lambda: hub.requests and server.client.models()["download"]["stage"], "it has a stage")
        assert server.client.models()["download"]["stage"] == f"Fetching {LICENSED}"
        start = time.monotonic()
        server.client.health()
        assert time.monotonic() - start < 1
        with refused("download_running"):
            server.client.download_models([LICENSED])
        with refused("download_running"):
            server.client.remove_model(LICENSED)
        server.client.cancel_models_download()
        assert server.client.models()["download"]["state"] == "cancelled"
        assert entry(server, LICENSED)["state"] == "missing"
    finally:
        hub.holds.pop(PUBLISHED).set()


def test_what_stops_a_download_is_a_sentence(server, hub):
    hub.refusal = (401, "GatedRepo")
    try:
        server.client.download_models([LICENSED])
        failed = ended(server)
    finally:
        hub.refusal = None
    assert failed["state"] == "failed" and failed["error"]["code"] == "bad_weights"
    assert "accepted its terms" in failed["error"]["message"] and failed["error"]["hint"]


def test_names_that_nobody_knows_are_refused(server):
    with refused("bad_weights"):
        server.client.download_models(["bert"])
    with refused("bad_weights"):
        server.client.remove_model(LICENSED)


def test_without_a_connection_it_says_so(tmp_path):
    with started(tmp_path) as server:
        server.client.download_models([LICENSED])
        failed = ended(server)
    assert failed["state"] == "failed"
    assert "cannot be reached" in failed["error"]["message"] and "connection" in failed["error"]["hint"]


def test_the_end_of_the_server_is_the_end_of_its_download(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    hub.holds[PUBLISHED] = threading.Event()
    try:
        with started(tmp_path) as server:
            server.client.download_models([LICENSED])
            wait_until(lambda: bool(_downloads(server.process.pid)), "the process runs")
            (pid,) = _downloads(server.process.pid)
            server.process.kill()
            server.process.wait(PATIENCE)
            wait_until(lambda: not _runs(pid), "the download has ended")
    finally:
        hub.holds.pop(PUBLISHED).set()


def test_a_download_that_is_cut_off_in_the_middle_of_a_line_has_ended():
    weights = Weights()
    weights._download = WeightsDownload(DownloadState.RUNNING, [LICENSED])
    command = [sys.executable, "-c", 'print(\'{"name": "trel\')']
    weights._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    weights._follow(weights._process, _Arrived({LICENSED: 1}))
    assert weights._process is None
    assert weights._download.error.code == "internal"


def _downloads(server: int) -> list[int]:
    tasks = Path(f"/proc/{server}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in children if b"server.weights_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
