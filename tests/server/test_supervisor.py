"""What a supervisor does when the database fails it: a real worker, and a table whose answers are made up."""

import hashlib
import logging
from pathlib import Path

import pytest
from server_under_test import wait_until

from gvf_core.settings import AnimateSettings
from server.errors import StorageError
from server.jobs import JobRequest, JobState
from server.limits import Limits
from server.service import open_service


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    opened = open_service(
        tmp_path,
        limits=Limits(),
        job_function="fake_jobs:scripted",
        probes_media=False,
        workers=[None],
        has_local_workers=False,
        stop=lambda: None,
        on_crash=lambda: None,
    )
    opened.fleet.start()
    yield opened
    opened.fleet.stop()


def submit(service, script: str) -> str:
    names = []
    for content in (b"capture", script.encode()):
        names.append(hashlib.sha256(content).hexdigest())
        service.storage.blob(names[-1]).write_bytes(content)
    job = service.admission.submit(JobRequest(*names, "walk.mp4", AnimateSettings()), script)
    service.fleet.wake()
    return job.id


def state(service, job_id: str) -> JobState:
    return service.table.status(job_id).state


def test_a_job_whose_database_fails_is_given_up_and_its_end_not_taken_for_that_of_the_next(
    service, tmp_path, monkeypatch, caplog
):
    first = submit(service, f"wait-for {tmp_path / 'go'}")
    wait_until(lambda: state(service, first) is JobState.RUNNING, "it runs")
    asked = service.table.cancel_requested

    def fail_once(job_id):
        monkeypatch.setattr(service.table, "cancel_requested", asked)
        raise StorageError("The database cannot be read.", "Free some disk space.")

    with caplog.at_level(logging.ERROR):
        monkeypatch.setattr(service.table, "cancel_requested", fail_once)
        second = submit(service, f"wait-for {tmp_path / 'never'}")
        wait_until(lambda: state(service, first) is JobState.FAILED, "it is given up")
    wait_until(lambda: not list(tmp_path.rglob(f"{first}*")), "its files are gone")
    assert "the job is given up: The database cannot be read." in caplog.text
    (tmp_path / "go").touch()
    wait_until(lambda: state(service, second) is JobState.RUNNING, "the other one runs")
    third = submit(service, "")
    assert state(service, second) is JobState.RUNNING
    assert state(service, third) is JobState.QUEUED
