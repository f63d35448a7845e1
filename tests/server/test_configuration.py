"""Flags, environment, configuration file: who wins, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from server_under_test import PATIENCE, server_environment, started

from gvf_blender.client import Client
from gvf_blender.core.errors import ServerError
from server.configuration import read_options
from server.errors import StartError

TOKEN = "a token of my own"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GVF_HOME", str(tmp_path))
    return tmp_path


def test_flags_win_over_the_environment_and_that_over_the_file(home):
    (home / "server.toml").write_text("port = 1\nmax_upload_mb = 5\nmax_queued_jobs = 7\n")
    options = read_options(["--port", "3"], {"GVF_SERVER_PORT": "2", "GVF_SERVER_MAX_UPLOAD_MB": "6"})
    assert (options.port, options.limits.upload_mb, options.limits.queued_jobs) == (3, 6.0, 7)


def test_the_defaults_are_local(home):
    options = read_options([], {})
    assert (options.host, options.is_local, options.data) == ("127.0.0.1", True, home / "server")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "would listen on 0.0.0.0, where others can reach it"),
        (["--host", "nowhere"], "'nowhere' is no address"),
        (["--port", "x"], "--port is 'x'"),
        (["--max-queued-jobs", "0"], r"--max-queued-jobs \(jobs that wait\) is 0"),
        (["--max-disk-gb", "nan"], "--max-disk-gb"),
        (["--log-format", "xml"], "log_format is 'xml'"),
        (["--config", "/no/such/file"], "/no/such/file cannot be read"),
        (["--token-file", "/no/such/file"], "/no/such/file cannot be read"),
        (["--executor", "slurm"], "There is no executor 'slurm'"),
        (["--cluster-workers", "0"], "--cluster-workers is 0"),
    ],
)
def test_what_cannot_be_is_named(home, arguments, sentence):
    with pytest.raises(StartError, match=sentence):
        read_options(arguments, {})


@pytest.mark.parametrize("content", ["port = ", "no_such_option = 1", "token = 5", "port = []", "log_format = 1"])
def test_a_file_that_makes_no_sense_is_refused(home, content):
    (home / "server.toml").write_text(content)
    with pytest.raises(StartError):
        read_options([], {})


def test_a_short_token_is_refused(home):
    with pytest.raises(StartError, match="at least 16"):
        read_options([], {"GVF_SERVER_TOKEN": "secret"})


def test_a_token_file_comes_before_a_token(tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    options = read_options(["--token-file", str(tmp_path / "token")], {"GVF_SERVER_TOKEN": "another one, as long"})
    assert options.token == TOKEN


def test_an_open_server_has_the_token_that_it_was_given_and_answers_to_the_names_that_were_allowed(tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    flags = ["--host", "0.0.0.0", "--token-file", str(tmp_path / "token"), "--allowed-hosts", "render.studio"]
    with started(tmp_path, *flags) as server:
        assert server.token == TOKEN
        port = server.client.address.rpartition(":")[2]
        assert server.raw("GET", "/v1/jobs", {"Host": f"render.studio:{port}"})[0] == 200
        assert server.raw("GET", "/v1/jobs", {"Host": f"evil.example:{port}"})[0] == 403
        with pytest.raises(ServerError) as caught:
            Client(server.client.address, "wrong").jobs()
        assert caught.value.code == "unauthorized"


def test_gvf_serve_passes_everything_on():
    command = [sys.executable, "-m", "gvf_core.cli", "serve", "--port", "x"]
    ended = subprocess.run(command, env=server_environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1
    assert "--port is 'x'" in ended.stderr
