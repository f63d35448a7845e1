"""Jobs from submission to result."""

import pytest

from gvf_blender.client import Client, JobState
from gvf_blender.core.errors import FileError, ServerError
from gvf_core.settings import AnimateSettings


def test_a_job_runs_with_its_settings_and_its_result_can_be_fetched(server, tmp_path):
    job = server.run("progress half 0.5", settings={"seed": 7})
    assert (job.state, job.progress, job.error) == (JobState.SUCCEEDED, 1.0, None)
    fractions = []
    server.client.download(job.id, tmp_path / "result", fractions.append)
    assert (tmp_path / "result").read_bytes() == b"fake animation " + repr(AnimateSettings(seed=7)).encode()
    assert fractions[-1] == 1.0
    assert list(tmp_path.iterdir()) == [tmp_path / "result"]


def test_networks_without_weights_are_refused_before_the_job_is_queued(server):
    before = server.client.jobs()
    with pytest.raises(ServerError, match=r"set of weights no-such-set lacks gvf-dit, .*Known sets: released"):
        server.submit("progress a 0.2", settings={"engine": "diffusion", "weights": "no-such-set"})
    assert server.client.jobs() == before
    assert server.client.capabilities()["weights"]["released"] in (True, False)


def test_events_come_in_order_and_progress_never_falls(server):
    job = server.submit("progress a 0.2\nprogress b 0.6\nprogress c 0.3\nprogress d 0.9")
    events = list(server.client.events(job.id))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.state for event in events[:2]] == [JobState.QUEUED, JobState.RUNNING]
    assert [(event.stage, event.progress) for event in events[2:-1]] == [("a", 0.2), ("b", 0.6), ("c", 0.6), ("d", 0.9)]
    assert events[-1].state is JobState.SUCCEEDED


def test_events_are_replayed_from_where_the_client_stopped(server):
    job = server.run("progress a 0.2\nprogress b 0.6")
    everything = list(server.client.events(job.id))
    assert list(server.client.events(job.id, after=2)) == everything[2:]
    assert list(server.client.events(job.id, after=everything[-1].seq)) == []


def test_events_arrive_while_the_job_runs(server, tmp_path):
    job = server.submit(f"progress waiting 0.5\nwait-for {tmp_path / 'go'}")
    stream = server.client.events(job.id)
    assert next(event for event in stream if event.stage == "waiting").progress == 0.5
    (tmp_path / "go").touch()
    assert list(stream)[-1].state is JobState.SUCCEEDED


def test_two_clients_follow_the_same_job(server, tmp_path):
    other = Client(server.client.address, server.token)
    job = server.submit(f"wait-for {tmp_path / 'go'}")
    streams = server.client.events(job.id), other.events(job.id)
    assert next(streams[0]) == next(streams[1])
    (tmp_path / "go").touch()
    assert list(streams[0]) == list(streams[1])


def test_the_server_answers_while_the_worker_computes(server, tmp_path):
    job = server.submit(f"wait-for {tmp_path / 'go'}")
    server.running(job)
    assert server.client.status(job.id).state is JobState.RUNNING
    assert server.client.capabilities()["worker"] == "busy"
    (tmp_path / "go").touch()
    assert server.outcome(job).state is JobState.SUCCEEDED


def test_jobs_are_listed_oldest_first(server):
    jobs = [server.run("").id, server.run("").id]
    assert [status.id for status in server.client.jobs()][-2:] == jobs


def test_the_same_idempotency_key_gives_the_same_job(server):
    first = server.submit("progress a 0.5", idempotency_key="one")
    assert server.submit("progress a 0.5", idempotency_key="one").id == first.id
    with pytest.raises(ServerError, match="'one'") as caught:
        server.submit("progress b 0.5", idempotency_key="one")
    assert caught.value.code == "idempotency_conflict"
    server.outcome(first)


@pytest.mark.parametrize("missing", ["capture", "video"])
def test_a_job_that_names_something_never_uploaded_is_refused(server, missing):
    blobs = {"capture": server.upload("c"), "video": server.upload("v"), missing: "0" * 64}
    count = len(server.client.jobs())
    with pytest.raises(ServerError, match=f"The {missing} 000.* has not been uploaded") as caught:
        server.client.submit(blobs["capture"], blobs["video"], {})
    assert caught.value.code == "unknown_blob"
    assert len(server.client.jobs()) == count


def test_further_videos_reach_the_worker_under_their_names_and_with_their_views(server):
    left = server.further("seen from the left", video_name="../walk.mp4", azimuth=-90)
    above = server.further("seen from above", video_name="../walk.mp4", azimuth=12.5, elevation=80)
    job = server.submit("tell-further", video_name="walk.mp4", further=[left, above])
    stages = [event.stage for event in server.client.events(job.id) if event.state is JobState.RUNNING]
    name = "_walk.mp4"
    assert [stage for stage in stages if stage.startswith(name)] == [
        f"{name} -90 0 seen from the left",
        f"{name} 12.5 80 seen from above",
    ]


def test_the_same_idempotency_key_with_another_further_video_is_refused(server):
    side = server.further("side")
    first = server.submit("", idempotency_key="two", further=[side])
    assert server.submit("", idempotency_key="two", further=[side]).id == first.id
    for other in ([], [side | {"azimuth": 91}], [server.further("another side")]):
        with pytest.raises(ServerError) as caught:
            server.submit("", idempotency_key="two", further=other)
        assert caught.value.code == "idempotency_conflict"
    server.outcome(first)


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        ({"video": "0" * 64}, "unknown_blob", "The further video 000.* has not been uploaded"),
        ({"video": "side.mp4"}, "invalid_request", "'side.mp4' is not a sha256"),
        ({"azimuth": 361}, "bad_settings", "azimuth is 361"),
        ({"elevation": 90}, "bad_settings", "elevation is 90"),
        ({"elevation": float("nan")}, "bad_settings", "elevation is nan"),
        ({"elevation": None}, "invalid_request", "elevation"),
    ],
)
def test_a_further_video_that_is_none_is_refused_before_the_job_is_queued(server, values, code, message):
    count = len(server.client.jobs())
    with pytest.raises(ServerError, match=message) as caught:
        server.submit("", further=[server.further("side") | values])
    assert (caught.value.code, len(server.client.jobs())) == (code, count)


def test_a_server_that_takes_one_video_only_is_named_instead_of_leaving_the_others_out(server, monkeypatch):
    count, side = len(server.client.jobs()), server.further("side")
    capture, video = server.upload("capture"), server.upload("")
    monkeypatch.setattr(Client, "capabilities", lambda client: {})
    with pytest.raises(ServerError, match="takes one video only") as caught:
        server.client.submit(capture, video, {}, further=[side])
    assert (caught.value.code, len(server.client.jobs())) == ("wrong_version", count)


def test_more_than_three_further_videos_are_refused(server):
    side = server.further("side")
    assert server.client.capabilities()["further_videos"] == 3
    assert server.run("", further=[side] * 3).state is JobState.SUCCEEDED
    with pytest.raises(ServerError, match="further") as caught:
        server.submit("", further=[side] * 4)
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sed": 1}, "Unknown setting 'sed'"),
        ({"gaussians": 1}, "gaussians is 1"),
        ({"seed": "many"}, "seed is 'many'"),
        ({"seed": 10**400}, "seed is"),
        ({"azimuth": float("nan")}, "azimuth is nan"),
        ({"engine": "magic"}, "no engine 'magic'"),
    ],
)
def test_bad_settings_are_refused_before_the_job_is_queued(server, settings, message):
    count = len(server.client.jobs())
    with pytest.raises(ServerError, match=message) as caught:
        server.submit("", settings=settings)
    assert caught.value.code == "bad_settings"
    assert len(server.client.jobs()) == count


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"{}", b'{"capture": 1}'])
def test_a_malformed_submission_is_refused_with_the_usual_body(server, body):
    status, answer = server.raw("POST", "/v1/jobs", {"Content-Type": "application/json"}, body)
    assert (status, answer["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("path", ["", "/events", "/outputs/animation.safetensors"])
def test_an_unknown_job_is_named(server, path):
    status, body = server.raw("GET", f"/v1/jobs/nobody{path}")
    assert (status, body["error"]["code"]) == (404, "unknown_job")
    assert "'nobody'" in body["error"]["message"]


def test_there_is_no_result_before_success(server, tmp_path):
    job = server.submit(f"wait-for {tmp_path / 'go'}")
    server.running(job)
    with pytest.raises(ServerError, match="is running and has no result") as caught:
        server.client.download(job.id, tmp_path / "result")
    assert caught.value.code == "no_result"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "go").touch()
    server.outcome(job)


def test_a_result_that_does_not_fit_on_the_disk_is_a_clear_error_and_leaves_nothing(server, tmp_path):
    job = server.run("")
    (tmp_path / "result.partial").symlink_to("/dev/full")
    with pytest.raises(FileError, match=r"could not be written to .*result \(No space left on device\)"):
        server.client.download(job.id, tmp_path / "result")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_video_fails_the_job_with_the_name_the_artist_knows(server):
    job = server.run("refuse", video_name="../flying bird.mp4")
    assert job.state is JobState.FAILED
    assert (job.error.code, job.error.hint) == ("bad_video", "Choose another video.")
    assert job.error.message == "_flying bird.mp4 holds no frames."


def test_an_unexpected_error_fails_the_job_leaves_its_trace_in_the_log_and_the_server_goes_on(server):
    job = server.run("raise a very odd thing")
    assert (job.state, job.error.code) == (JobState.FAILED, "internal")
    assert "ZeroDivisionError: a very odd thing" in job.error.message
    assert "Traceback" in server.log
    assert job.id in server.log
    assert server.run("").state is JobState.SUCCEEDED


@pytest.mark.parametrize("stage", range(6))
def test_a_job_that_fails_in_any_stage_is_failed_at_once_and_for_everybody(server, stage):
    lines = [f"progress {number} {number / 6}" for number in range(6)]
    job = server.run("\n".join([*lines[: stage + 1], "refuse", *lines[stage + 1 :]]))
    assert (job.state, job.stage, job.error.code) == (JobState.FAILED, str(stage), "bad_video")
    assert server.client.status(job.id) == job


def test_a_failed_job_keeps_no_result_and_no_working_files(server):
    job = server.run("leave-result-and-fail")
    assert job.state is JobState.FAILED
    assert list((server.data / "results").glob(f"{job.id}*")) == []
    server.run("")
    assert not (server.data / "work" / job.id).exists()
