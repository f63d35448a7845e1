"""The job behind panel and console, with a server that waits wherever the test wants it."""

import tempfile
import threading
from pathlib import Path

import bpy
import numpy as np
import pytest
from scripted_client import SHIFT, ScriptedClient

from gvf_blender.core.errors import FileError, GvfBlenderError, JobCancelled, ServerError
from gvf_blender.core.job_phase import Phase


@pytest.fixture
def make_job(addon, cube, video, tmp_path, monkeypatch):
    """Makes jobs on the cube and closes them at the end."""
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    made = []

    def make(client, asset=cube, **options):
        request = make_request([asset], video, MotionSettings(seed=7), **options)
        made.append((client, AnimateJob(request, client.connect, tmp_path / "home" / "results")))
        return made[-1][1]

    yield make
    for client, job in made:
        client.released.set()
        job.close()


def datablocks():
    """Counts of everything a capture or an import could leave behind."""
    names = ("scenes", "objects", "meshes", "materials", "images", "cameras", "node_groups", "actions", "collections")
    return {name: len(getattr(bpy.data, name)) for name in names}


def run_until(job, phase):
    """Run a job and cancel it as soon as it reports the phase."""
    with pytest.raises(JobCancelled):
        job.wait(lambda stage, fraction: job.cancel() if job.phase is phase else None)


def advance_to(job, phase):
    """Poll until a phase that the job cannot leave without the test's doing."""
    while job.phase is not phase:
        assert not job.finished, job.message
        job.poll()


def test_a_job_imports_all_outputs_where_the_object_stands(make_job, cube):
    job = make_job(ScriptedClient())
    imported = job.wait()
    assert job.phase is Phase.DONE
    assert job.progress == 1.0
    assert imported.motion == (cube,)
    bpy.context.scene.frame_set(3)
    evaluated = cube.evaluated_get(bpy.context.evaluated_depsgraph_get())
    moved = np.array([cube.matrix_world @ vertex.co for vertex in evaluated.data.vertices])
    # The cube has 2 m edges, the unit frame's edge is 1.
    np.testing.assert_allclose(moved.mean(axis=0), [3.0 + 2 * SHIFT, 1.0, 0.5], atol=1e-4)
    assert imported.splats is not None
    assert imported.points is not None


def test_further_videos_are_uploaded_and_submitted_with_their_views(make_job, tmp_path):
    client, side = ScriptedClient(), tmp_path / "side.mp4"
    side.write_bytes(b"the same moments")
    fractions = []
    make_job(client, further=[(str(side), 135, 15)]).wait(lambda stage, fraction: fractions.append(fraction))
    assert client.further == [{"video": "side.mp4", "video_name": "side.mp4", "azimuth": 135, "elevation": 15}]
    assert fractions == sorted(fractions)


def test_a_further_video_that_disappears_before_the_capture_is_named(make_job, tmp_path):
    side = tmp_path / "side.mp4"
    side.write_bytes(b"the same moments")
    job = make_job(ScriptedClient(), further=[(side, 135, 15)])
    side.unlink()
    with pytest.raises(FileError, match=r"side\.mp4 does not exist"):
        job.wait()


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ([("none.mp4", 90, 0)], r"The video .*none\.mp4 does not exist"),
        (["side.mp4"], r"'side\.mp4' is no further video"),
        ([("side.mp4", 90)], "is no further video"),
        ([("side.mp4", 900, 0)], "azimuth is 900"),
        ([("side.mp4", 0, "high")], "elevation is 'high'"),
        ([("side.mp4", 90, 0)] * 4, "4 further videos"),
    ],
)
def test_a_further_video_that_is_none_is_refused_before_the_job_begins(make_job, further, message):
    with pytest.raises(GvfBlenderError, match=message):
        make_job(ScriptedClient(), further=further)


def test_only_the_chosen_outputs_are_imported(make_job):
    imported = make_job(ScriptedClient(), outputs=["points"]).wait()
    assert imported.points is not None
    assert imported.splats is None
    assert imported.motion == ()


def test_progress_never_falls_and_ends_at_one(make_job):
    reports = []
    make_job(ScriptedClient()).wait(lambda stage, fraction: reports.append((stage, fraction)))
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert "capturing" in [stage for stage, _ in reports]


def test_the_message_tells_how_long_the_server_may_still_take(make_job, monkeypatch):
    client = ScriptedClient(hold_at="running", seconds_left=200.0)
    job = make_job(client)
    advance_to(job, Phase.RUNNING)
    assert job.message == "Tracking, about 4 min left"
    client.released.set()
    job.wait()


def test_the_animation_starts_at_the_frame_that_was_current_when_the_job_began(make_job, cube):
    bpy.context.scene.frame_set(10)
    job = make_job(ScriptedClient(), outputs=["motion"])
    job.wait(lambda stage, fraction: None)
    bpy.context.scene.frame_set(12)
    evaluated = cube.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mean = np.mean([vertex.co for vertex in evaluated.data.vertices], axis=0)
    np.testing.assert_allclose(mean, [2 * SHIFT, 0, 0], atol=1e-4)


@pytest.mark.parametrize(
    "phase", ["waiting", "connecting", "capturing", "uploading", "queued", "running", "downloading"]
)
def test_a_cancel_in_any_phase_leaves_the_scene_and_the_disk_as_before(make_job, tmp_path, phase):
    before = datablocks()
    client = ScriptedClient(hold_at=phase)
    job = make_job(client)
    run_until(job, Phase(phase))
    client.released.set()
    job.close()
    assert job.phase is Phase.CANCELLED
    assert job.error is None
    assert datablocks() == before
    assert bpy.context.scene.frame_current == 1
    assert list((tmp_path / "scratch").iterdir()) == []
    assert list((tmp_path / "home" / "results").iterdir()) == []


@pytest.mark.parametrize("phase", ["queued", "running"])
def test_a_cancel_is_passed_on_to_the_server(make_job, phase):
    client = ScriptedClient(hold_at=phase)
    job = make_job(client)
    run_until(job, Phase(phase))
    client.released.set()
    job.close()
    assert client.cancelled_jobs == ["job-1"]


def test_an_interrupt_cancels_the_job(make_job):
    client = ScriptedClient(hold_at="running")
    job = make_job(client)

    def interrupt(stage, fraction):
        if job.phase is Phase.RUNNING:
            client.released.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.wait(interrupt)
    assert job.phase is Phase.CANCELLED


def test_only_the_jobs_own_thread_speaks_to_the_server(make_job):
    client = ScriptedClient()
    make_job(client).wait()
    assert threading.main_thread().name not in client.threads
    assert len(client.threads) == 1


def test_a_failing_import_keeps_the_result_and_names_it(make_job, monkeypatch):
    from gvf_blender import job_scene

    job = make_job(ScriptedClient())

    def fail(*_):
        raise FileError("The result is unusable.")

    with monkeypatch.context() as patch:
        patch.setattr(job_scene, "import_animation", fail)
        with pytest.raises(FileError) as raised:
            job.wait()
    assert job.phase is Phase.FAILED
    assert job.result_path.is_file()
    assert str(job.result_path) in str(raised.value)
    assert "Import Again" in raised.value.hint
    assert job.can_import_again
    imported = job.import_again()
    assert imported.splats is not None
    assert job.phase is Phase.DONE
    assert job.error is None


def test_a_kept_result_that_was_never_imported_outlives_the_job(make_job, monkeypatch):
    from gvf_blender import job_scene

    job = make_job(ScriptedClient())

    def fail(*_):
        raise FileError("The result is unusable.")

    monkeypatch.setattr(job_scene, "import_animation", fail)
    with pytest.raises(FileError):
        job.wait()
    job.close()
    assert job.result_path.is_file()


def test_an_imported_result_is_removed_with_its_job(make_job):
    job = make_job(ScriptedClient())
    job.wait()
    path = job.result_path
    assert path.is_file()
    job.close()
    assert not path.exists()


def test_a_source_object_that_disappears_before_the_import_is_named(make_job, cube):
    client = ScriptedClient(hold_at="running")
    job = make_job(client)
    advance_to(job, Phase.RUNNING)
    bpy.data.objects.remove(cube)
    client.released.set()
    imported = job.wait()
    assert imported.splats is not None
    assert any("Cube" in warning and "no longer" in warning for warning in job.warnings)


def test_an_object_that_is_renamed_while_its_job_runs_moves_and_not_its_copy_under_the_old_name(make_job, cube):
    client = ScriptedClient(hold_at="running")
    job = make_job(client)
    advance_to(job, Phase.RUNNING)
    copy = cube.copy()
    copy.data = cube.data.copy()
    bpy.context.collection.objects.link(copy)
    cube.name = "Robot"
    copy.name = "Cube"
    client.released.set()
    imported = job.wait()
    assert imported.motion == (cube,)
    assert copy.data.shape_keys is None
    assert imported.splats.name == "Robot splats"


@pytest.mark.parametrize("reopened", [False, True])
def test_another_object_that_has_the_name_now_does_not_move_unless_the_file_was_opened_again(
    make_job, cube, tmp_path, reopened
):
    blend = str(tmp_path / "cube.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    client = ScriptedClient(hold_at="running")
    job = make_job(client)
    advance_to(job, Phase.RUNNING)
    if reopened:
        bpy.ops.wm.open_mainfile(filepath=blend)
    else:
        bpy.data.objects.remove(cube)
        bpy.ops.mesh.primitive_cube_add(size=0.2)
        bpy.context.object.name = "Cube"
    client.released.set()
    imported = job.wait()
    assert [thing.name for thing in imported.motion] == (["Cube"] if reopened else [])
    assert any("no longer in the scene" in warning for warning in imported.warnings) is not reopened


def test_the_mark_of_an_object_goes_with_the_last_job_that_needs_it(make_job, cube):
    first, second = ScriptedClient(hold_at="running"), ScriptedClient(hold_at="running")
    jobs = [make_job(first), make_job(second)]
    for job in jobs:
        advance_to(job, Phase.RUNNING)
    mark = cube.gvf.source_mark
    first.released.set()
    jobs[0].wait()
    assert cube.gvf.source_mark == mark != ""
    second.released.set()
    jobs[1].wait()
    assert cube.gvf.source_mark == ""


def test_an_object_that_is_renamed_during_the_capture_moves(make_job, cube):
    job = make_job(ScriptedClient())
    advance_to(job, Phase.CAPTURING)
    job.poll()
    cube.name = "Robot"
    assert job.wait().motion == (cube,)


def test_a_copy_that_is_animated_next_is_told_from_its_original(make_job, cube):
    clients = [ScriptedClient(hold_at="running"), ScriptedClient(hold_at="running")]
    first = make_job(clients[0], outputs=["motion"])
    advance_to(first, Phase.RUNNING)
    copy = cube.copy()
    copy.data = cube.data.copy()
    bpy.context.collection.objects.link(copy)
    second = make_job(clients[1], asset=copy, outputs=["motion"])
    advance_to(second, Phase.RUNNING)
    cube.name, copy.name = "First", "Second"
    for client in clients:
        client.released.set()
    assert second.wait().motion == (copy,)
    assert first.wait().motion == (cube,)


def test_motion_alone_cannot_do_without_its_object_but_keeps_the_result(make_job, cube):
    client = ScriptedClient(hold_at="running")
    job = make_job(client, outputs=["motion"])
    advance_to(job, Phase.RUNNING)
    bpy.data.objects.remove(cube)
    client.released.set()
    with pytest.raises(GvfBlenderError, match="Cube"):
        job.wait()
    assert job.result_path.is_file()


def test_an_object_that_disappears_before_the_capture_is_named(make_job, cube):
    client = ScriptedClient(hold_at="connecting")
    job = make_job(client)
    bpy.data.objects.remove(cube)
    client.released.set()
    with pytest.raises(GvfBlenderError, match="'Cube'"):
        job.wait()
    assert job.phase is Phase.FAILED


def test_an_undo_during_the_capture_starts_it_again(make_job, addon):
    from gvf_blender import job_list

    bpy.ops.ed.undo_push(message="start")
    bpy.context.object.location.x = 5.0
    bpy.ops.ed.undo_push(message="move")
    before = datablocks()
    job = make_job(ScriptedClient())
    job_list.add(job)
    advance_to(job, Phase.CAPTURING)
    job.poll()
    assert datablocks() != before
    bpy.ops.ed.undo()
    assert datablocks() == before
    assert job.wait().splats is not None


def test_opening_another_file_during_the_capture_fails_with_a_sentence(make_job, addon):
    from gvf_blender import job_list

    job = make_job(ScriptedClient())
    job_list.add(job)
    advance_to(job, Phase.CAPTURING)
    job.poll()
    bpy.ops.wm.read_homefile(use_empty=True)
    assert job.phase is Phase.FAILED
    assert "A file was opened" in job.message
    assert len(bpy.data.scenes) == 1


def test_a_result_is_not_imported_into_another_file(make_job, addon):
    from gvf_blender import job_list

    client = ScriptedClient(hold_at="running")
    job = make_job(client)
    job_list.add(job)
    advance_to(job, Phase.RUNNING)
    bpy.ops.wm.read_homefile(use_empty=True)
    client.released.set()
    with pytest.raises(GvfBlenderError, match="Another file was opened") as raised:
        job.wait()
    assert str(job.result_path) in str(raised.value)
    assert len(bpy.data.objects) == 0


def test_a_job_goes_on_when_its_own_file_is_loaded_again(make_job, addon, tmp_path):
    from gvf_blender import job_list

    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    client = ScriptedClient(hold_at="running")
    job = make_job(client)
    job_list.add(job)
    advance_to(job, Phase.RUNNING)
    bpy.ops.wm.open_mainfile(filepath=path)
    client.released.set()
    imported = job.wait()
    assert [item.name for item in imported.motion] == ["Cube"]


def test_unregistering_leaves_a_running_job_to_its_server(make_job, addon):
    from gvf_blender import job_list

    client = ScriptedClient(hold_at="running")
    job = make_job(client)
    job_list.add(job)
    advance_to(job, Phase.RUNNING)
    (thread,) = [each for each in threading.enumerate() if each.name == f"gvf-job-{job.id}"]
    addon.unregister()
    try:
        assert job.phase is Phase.CANCELLED
        client.released.set()
        thread.join(10)
        assert not thread.is_alive()
        assert client.cancelled_jobs == []
    finally:
        addon.register()


def test_a_defect_in_a_poll_ends_the_job_with_a_sentence(make_job, monkeypatch):
    from gvf_blender import job as job_module

    def break_down(*_):
        raise ZeroDivisionError("1/0")

    monkeypatch.setattr(job_module, "CaptureSession", break_down)
    job = make_job(ScriptedClient())
    with pytest.raises(GvfBlenderError, match="failed while capturing"):
        job.wait()


def test_a_folder_that_cannot_be_made_is_named(make_job, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device", str(Path("/tmp/gvf-x")))

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(FileError, match="No space left on device"):
        make_job(ScriptedClient())


def test_a_refused_connection_fails_the_job_before_anything_is_captured(make_job, monkeypatch):
    class Refusing(ScriptedClient):
        def connect(self):
            raise ServerError("No server answers.", "Start it.", code="unreachable")

    before = datablocks()
    job = make_job(Refusing())
    stages = []
    with pytest.raises(ServerError, match="No server answers"):
        job.wait(lambda stage, fraction: stages.append(stage))
    assert set(stages) <= {"waiting", "connecting"}
    assert datablocks() == before
