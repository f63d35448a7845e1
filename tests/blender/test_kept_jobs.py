"""Jobs outlive the Blender that started them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from recording_layout import RecordingLayout
from scripted_client import SHIFT, ScriptedClient
from scripted_pipeline import SEED_WAITS
from server_process import running_server

from gvf_blender.client import JobState, read_handshake
from gvf_blender.core.job_phase import Phase
from gvf_blender.core.kept_job import KeptJob, keep, kept_jobs, release
from gvf_blender.core.sources import SourceObject

FIRST_SESSION = """
import os, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
import gvf_blender
from gvf_blender import job, job_list
from gvf_blender.capture import CaptureOptions
job.CaptureOptions = lambda **options: CaptureOptions(views=2, size=16, samples=1)
gvf_blender.register()
bpy.ops.mesh.primitive_cube_add(size=2.0, location=(3.0, 1.0, 0.5))
blend, video, seed, end = sys.argv[1:]
bpy.ops.wm.save_as_mainfile(filepath=blend)
from gvf_blender.core.motion_settings import MotionSettings
from gvf_blender.preferences import results_folder, server_choice
from gvf_blender.request import make_request
request = make_request(bpy.context.object, video, MotionSettings(seed=int(seed)), frame_start=7)
made = job.AnimateJob(request, server_choice(bpy.context).connect, results_folder())
job_list.add(made)
while made.phase.value != "running":
    assert not made.finished, made.message
    made.poll()
if end == "rename":
    bpy.context.object.name = "Robot"
    bpy.ops.object.duplicate()
    bpy.ops.wm.save_mainfile()
if end != "crash":
    gvf_blender.unregister()
os._exit(0)
"""


@pytest.fixture
def server(addon, tmp_path):
    with running_server(tmp_path / "home") as running:
        yield running


@pytest.fixture
def first_session(addon, video, tmp_path):
    """A Blender that starts a job and ends while the job runs; its file is open afterwards."""
    blend = tmp_path / "cube.blend"

    def run(end):
        folders = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
        command = [sys.executable, "-c", FIRST_SESSION, str(blend), str(video), str(SEED_WAITS), end]
        subprocess.run(command, env=environment, check=True, timeout=120)
        bpy.ops.wm.open_mainfile(filepath=str(blend))

    return run


def some_job(name="a1"):
    return KeptJob(
        id=name,
        server_job="5da2d66b29cc7535",
        objects=("Cube",),
        video="/videos/walk.mp4",
        settings={"seed": 3},
        outputs=("motion",),
        frame_start=5,
        views=60,
        movable="",
        scene="Scene",
        blend="",
        sources=(SourceObject("Cube", np.eye(4), 0, 8, False),),
        further=(("/videos/side.mp4", 135.0, 15.0),),
    )


def offered():
    from gvf_blender import kept_jobs

    kept_jobs.look_again()
    return kept_jobs.offered()


def draw_jobs():
    from gvf_blender.ui.job_panel import GVF_PT_jobs

    layout = RecordingLayout()
    context = SimpleNamespace(
        region=SimpleNamespace(width=4000), preferences=bpy.context.preferences, scene=bpy.context.scene
    )
    GVF_PT_jobs.draw(SimpleNamespace(layout=layout), context)
    return layout


def test_a_job_of_a_blender_that_quit_is_offered_and_its_result_imported(first_session, server, tmp_path):
    first_session("quit")
    (kept,) = offered()
    assert server.client.status(kept.server_job).state is JobState.RUNNING
    layout = draw_jobs()
    assert "Cube: walk.mp4" in layout.texts()
    assert "gvf.take_up_job" in layout.names("operator")
    (tmp_path / "home" / "go").touch()
    assert bpy.ops.gvf.take_up_job(job_id=kept.id) == {"FINISHED"}
    cube = bpy.data.objects["Cube"]
    keys = cube.data.shape_keys
    assert keys.animation_data.action.frame_range[0] == 7
    moved = [key.data[0].co.x - cube.data.vertices[0].co.x for key in keys.key_blocks]
    assert moved[-1] == pytest.approx(2 * SHIFT, abs=1e-3)
    assert offered() == ()


def test_an_object_that_was_renamed_before_blender_quit_is_found_in_the_next_session(first_session, server, tmp_path):
    first_session("rename")
    assert sorted(bpy.data.objects.keys()) == ["Robot", "Robot.001"]
    (kept,) = offered()
    (tmp_path / "home" / "go").touch()
    assert bpy.ops.gvf.take_up_job(job_id=kept.id) == {"FINISHED"}
    assert bpy.data.objects["Robot"].data.shape_keys is not None
    assert bpy.data.objects["Robot.001"].data.shape_keys is None


def test_a_job_of_a_blender_that_crashed_is_offered_once_it_counts_as_gone(first_session, server, tmp_path):
    first_session("crash")
    assert offered() == ()
    folder = tmp_path / "home" / "blender" / "jobs"
    (file,) = folder.glob("*.json")
    release(folder, file.stem)  # as half a minute does
    (tmp_path / "home" / "go").touch()
    assert bpy.ops.gvf.take_up_job(job_id=file.stem) == {"FINISHED"}
    assert bpy.data.objects["Cube"].data.shape_keys is not None


def test_a_job_that_ended_with_its_server_starts_again_without_a_new_capture(first_session, tmp_path):
    with running_server(tmp_path / "home"):
        first_session("quit")
    (kept,) = offered()
    (tmp_path / "home" / "go").touch()
    with running_server(tmp_path / "home") as again:
        assert again.client.status(kept.server_job).state is JobState.INTERRUPTED
        assert bpy.ops.gvf.take_up_job(job_id=kept.id) == {"FINISHED"}
    assert bpy.data.objects["Cube"].data.shape_keys is not None


def test_a_forgotten_job_is_cancelled_on_the_server(first_session, server):
    first_session("quit")
    (kept,) = offered()
    assert bpy.ops.gvf.forget_job(job_id=kept.id) == {"FINISHED"}
    assert offered() == ()
    assert server.client.status(kept.server_job).state in (JobState.CANCELLED, JobState.RUNNING)
    assert list(server.client.events(kept.server_job))[-1].state is JobState.CANCELLED


def test_a_job_that_the_server_does_not_know_any_more_is_not_offered_again(server, tmp_path):
    folder = tmp_path / "home" / "blender" / "jobs"
    keep(folder, some_job())
    release(folder, "a1")
    with pytest.raises(RuntimeError, match="5da2d66b29cc7535"):
        bpy.ops.gvf.take_up_job(job_id="a1")
    assert offered() == ()


def test_a_job_whose_server_went_away_can_be_taken_up_in_the_same_session(addon, cube, video, tmp_path):
    from gvf_blender import job_list
    from gvf_blender.core.errors import ServerError
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    class Dying(ScriptedClient):
        def events(self, job_id):
            raise ServerError("Nothing answers.", "Start it.", "unreachable")
            yield

    job = AnimateJob(make_request(cube, video, MotionSettings()), Dying().connect, tmp_path / "results")
    job_list.add(job)
    while not job.finished:
        job.poll()
    assert job.can_be_taken_up
    layout = draw_jobs()
    assert layout.names("operator").count("gvf.take_up_job") == 1
    second = AnimateJob.take_up(job.kept, ScriptedClient().connect, tmp_path / "results")
    assert second.id == job.id
    job_list.replace(job, second)
    assert job_list.jobs() == (second,)
    assert second.kept is not None
    second.cancel()
    assert not list((tmp_path / "home" / "blender" / "jobs").iterdir())


def test_a_job_that_another_blender_follows_is_not_offered(addon, tmp_path):
    folder = tmp_path / "home" / "blender" / "jobs"
    keep(folder, some_job())
    assert offered() == ()
    release(folder, "a1")
    assert [kept.id for kept in offered()] == ["a1"]


def test_a_kept_job_comes_back_as_it_was_and_damaged_files_are_left_out(tmp_path):
    keep(tmp_path, some_job())
    release(tmp_path, "a1")
    for name, text in (("b", "{"), ("c", '{"format": 9}'), ("d", "[]"), ("e", '{"format": 1, "sources": [], "x": 1}')):
        (tmp_path / f"{name}.json").write_text(text)
        release(tmp_path, name)
    (job,) = kept_jobs(tmp_path)
    assert job.to_json() == some_job().to_json()
    assert job.further == some_job().further


def test_a_job_that_is_taken_up_asks_for_the_same_videos_and_an_older_one_for_its_only_one(addon):
    from gvf_blender.kept_jobs import request_of

    assert request_of(some_job()).further == ((Path("/videos/side.mp4"), 135.0, 15.0),)
    values = json.loads(some_job().to_json())
    del values["further"]
    assert request_of(KeptJob.from_json(json.dumps(values))).further == ()


def test_a_running_job_is_written_down_with_its_further_videos(addon, cube, video, tmp_path):
    from gvf_blender.core.job_phase import Phase
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    client = ScriptedClient(hold_at="running")
    request = make_request(cube, video, MotionSettings(), further=[(video, 90, 0)])
    job = AnimateJob(request, client.connect, tmp_path / "results")
    while job.phase is not Phase.RUNNING:
        assert not job.finished, job.message
        job.poll()
    assert job.kept.further == ((str(video), 90, 0),)
    job.leave()
    client.released.set()
    assert [kept.further for kept in offered()] == [((str(video), 90, 0),)]


def test_a_finished_and_a_cancelled_job_leave_nothing_to_take_up(addon, cube, video, tmp_path):
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    request = make_request(cube, video, MotionSettings())
    done = AnimateJob(request, ScriptedClient().connect, tmp_path / "results")
    done.wait()
    client = ScriptedClient(hold_at="running")
    cancelled = AnimateJob(request, client.connect, tmp_path / "results")
    while cancelled.phase is not Phase.RUNNING:
        cancelled.poll()
    assert cancelled.kept is not None
    cancelled.cancel()
    client.released.set()
    cancelled.close()
    done.close()
    assert not list((tmp_path / "home" / "blender" / "jobs").iterdir())
    assert client.cancelled_jobs == ["job-1"]


def test_after_a_crash_of_blenders_own_server_the_job_is_taken_up_and_the_server_starts_again(
    addon, cube, video, tmp_path, monkeypatch
):
    from gvf_blender import job_list
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.managed_server import managed_server
    from gvf_blender.operators import kept_jobs as operators
    from gvf_blender.request import make_request
    from gvf_blender.server_choice import ServerChoice

    folders = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    monkeypatch.setenv("GVF_SERVER_JOB_FUNCTION", "scripted_pipeline:run")
    monkeypatch.setenv("GVF_SERVER_UNPROBED", "1")
    choice = ServerChoice(process=managed_server(), python=Path(sys.executable))
    monkeypatch.setattr(operators, "server_choice", lambda context: choice)
    request = make_request(cube, video, MotionSettings(seed=SEED_WAITS))
    job = AnimateJob(request, choice.connect, tmp_path / "results")
    job_list.add(job)
    while job.phase is not Phase.RUNNING:
        assert not job.finished, job.message
        job.poll()
    first = read_handshake(choice.process.handshake).pid
    os.kill(first, signal.SIGKILL)
    while not job.finished:
        job.poll()
    assert job.can_be_taken_up, job.message
    assert "signal 9" in choice.process.exit_reason
    (tmp_path / "home" / "go").touch()
    assert bpy.ops.gvf.take_up_job(job_id=job.id) == {"FINISHED"}
    assert cube.data.shape_keys is not None
    assert read_handshake(choice.process.handshake).pid != first
    choice.process.stop()


def test_a_failed_job_that_leaves_the_full_list_is_offered(addon, cube, video, tmp_path):
    from gvf_blender import job_list
    from gvf_blender.core.errors import ServerError
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    request = make_request(cube, video, MotionSettings())
    client = ScriptedClient(hold_at="running")
    lost = AnimateJob(request, client.connect, tmp_path / "results")
    job_list.add(lost)
    while lost.phase is not Phase.RUNNING:
        lost.poll()
    lost._fail(ServerError("Nothing answers.", "", "unreachable"))
    client.released.set()
    for _ in range(job_list.MAX_FINISHED + 1):
        job = AnimateJob(request, ScriptedClient().connect, tmp_path / "results")
        job.cancel()
        job_list.add(job)
    assert lost not in job_list.jobs()
    assert [kept.id for kept in offered()] == [lost.id]


def test_an_import_that_no_file_holds_is_offered_to_the_next_session(addon, cube, video, tmp_path, monkeypatch):
    from gvf_blender import job_list
    from gvf_blender.core.kept_job import TOUCH_SECONDS
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    # Blender has no windows here.
    monkeypatch.setattr("gvf_blender.job._has_windows", lambda: True)
    request = make_request(cube, video, MotionSettings())
    saved, unsaved = (AnimateJob(request, ScriptedClient().connect, tmp_path / "results") for _ in range(2))
    for job in (saved, unsaved):
        job_list.add(job)
        job.wait()
        assert job_list.advance() == TOUCH_SECONDS
        assert offered() == ()
        if job is saved:
            bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
            assert job_list.advance() is None
    addon.unregister()
    assert [kept.id for kept in offered()] == [unsaved.id]
    addon.register()
