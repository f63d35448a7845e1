"""Jobs of the list that wait until those before them are captured, and what becomes of them meanwhile."""

import tempfile

import bpy
import numpy as np
import pytest
from scripted_client import ScriptedClient

from gvf_blender.core.errors import GvfBlenderError, RenderError
from gvf_blender.core.job_phase import Phase
from gvf_blender.importer.retiming import playback_of


@pytest.fixture
def start(addon, video, tmp_path, monkeypatch):
    """Puts a job on an object into the list, with a server of its own that may wait somewhere."""
    from gvf_blender import job_list
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    clients = []

    def start_job(thing, hold_at="", **options):
        clients.append(ScriptedClient(hold_at))
        request = make_request(thing, video, MotionSettings(), **options)
        job = AnimateJob(request, clients[-1].connect, tmp_path / "results")
        job_list.add(job)
        job.client = clients[-1]
        return job

    yield start_job
    for client in clients:
        client.released.set()


@pytest.fixture
def captures(monkeypatch):
    """The names of what is captured, in order, also of what cannot be."""
    from gvf_blender import job as job_module

    begun = []

    class Counted(job_module.CaptureSession):
        def __init__(self, context, objects, *others):
            begun.append(objects[0].name)
            super().__init__(context, objects, *others)

    monkeypatch.setattr(job_module, "CaptureSession", Counted)
    return begun


def add_cube(name, **options):
    bpy.ops.mesh.primitive_cube_add(**options)
    bpy.context.object.name = name
    return bpy.context.object


def advance_until(condition):
    """Let the timer fire."""
    from gvf_blender import job_list

    while not condition():
        assert job_list.advance() is not None or condition()


def finish(*jobs):
    advance_until(lambda: all(job.finished for job in jobs))


def captured_center(job):
    """In the world."""
    return job.client._capture_tensors["world_from_unit"][:3, 3]


def test_jobs_are_captured_one_after_the_other_in_the_order_of_the_list(start, captures):
    jobs = [start(add_cube(name, location=(x, 0, 0))) for x, name in enumerate("ABC")]

    def all_done():
        phases = [job.phase for job in jobs]
        captured = [not phase.needs_scene for phase in phases]
        assert captured == sorted(captured, reverse=True)
        assert sum(phase in (Phase.CONNECTING, Phase.CAPTURING) for phase in phases) <= 1
        return all(captured)

    advance_until(all_done)
    finish(*jobs)
    assert captures == ["A", "B", "C"]
    assert [job.imported.motion[0].name for job in jobs] == ["A", "B", "C"]
    assert [captured_center(job)[0] for job in jobs] == pytest.approx([0, 1, 2])


def test_a_waiting_job_names_the_one_that_is_captured(start):
    first, second, third = (start(add_cube(name), hold_at="connecting") for name in "ABC")
    advance_until(lambda: first.phase is Phase.CONNECTING)
    assert (second.phase, second.stage, second.progress) == (Phase.WAITING, "waiting", 0.0)
    assert second.message == third.message == "Waiting for A: walk.mp4"
    first.cancel()
    advance_until(lambda: second.phase is Phase.CONNECTING)
    assert third.message == "Waiting for B: walk.mp4"


def test_the_wait_for_the_last_job_takes_those_before_it_along(start, captures):
    first, second, third = (start(add_cube(name)) for name in "ABC")
    assert third.wait().motion[0].name == "C"
    assert captures == ["A", "B", "C"]
    assert not first.finished and not second.finished
    assert second.wait().motion[0].name == "B"
    assert first.wait().motion[0].name == "A"
    assert captures == ["A", "B", "C"]


def test_a_wait_goes_on_when_a_job_before_it_fails(start):
    doomed, job = start(add_cube("A")), start(add_cube("B"))
    bpy.data.objects.remove(bpy.data.objects["A"])
    assert job.wait().motion[0].name == "B"
    assert "There is no object 'A'" in doomed.message


@pytest.mark.parametrize("how", ["cancel", "remove"])
def test_a_waiting_job_that_is_given_up_is_never_captured_and_leaves_nothing(start, captures, tmp_path, how):
    from gvf_blender import job_list

    first, second, third = (start(add_cube(name)) for name in "ABC")
    advance_until(lambda: first.phase is Phase.CAPTURING)
    second.cancel() if how == "cancel" else job_list.remove(second)
    assert second.phase is Phase.CANCELLED
    assert (second in job_list.jobs()) == (how == "cancel")
    finish(first, third)
    assert captures == ["A", "C"]
    job_list.remove(first)
    job_list.remove(third)
    assert list((tmp_path / "scratch").iterdir()) == list((tmp_path / "results").iterdir()) == []
    assert not second.client.threads


def removed(thing):
    bpy.data.objects.remove(thing)


def renamed(thing):
    thing.name = "Renamed"


def hidden(thing):
    thing.hide_set(True)


def unlinked(thing):
    bpy.context.scene.collection.objects.unlink(thing)


def turned_into_a_wire(thing):
    thing.data = bpy.data.meshes.new("Empty")


def in_another_scene(thing):
    bpy.context.scene.name = "Renamed"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (removed, r"There is no object 'B' in this file\. Select"),
        (renamed, r"There is no object 'B' in this file\. Select"),
        (hidden, r"'B' is hidden\. Make it visible"),
        (unlinked, r"'B' is not in the view layer"),
        (turned_into_a_wire, r"'B' has no faces\. Select"),
        (in_another_scene, r"There is no scene 'Scene' in this file any more\. Select"),
    ],
)
def test_what_changes_while_a_job_waits_is_named_and_the_next_one_goes_on(start, captures, change, sentence):
    first = start(add_cube("A"))
    thing = add_cube("B")
    second, third = start(thing), start(add_cube("C"))
    advance_until(lambda: not first.phase.needs_scene)
    change(thing)
    finish(first, second, third)
    assert second.phase is Phase.FAILED
    with pytest.raises(GvfBlenderError, match=sentence):
        second.wait()
    assert third.phase is (Phase.FAILED if change is in_another_scene else Phase.DONE)


def test_a_video_that_vanishes_while_a_job_waits_costs_no_capture(start, captures, video):
    first, second = start(add_cube("A"), hold_at="connecting"), start(add_cube("B"))
    advance_until(lambda: first.phase is Phase.CONNECTING)
    video.unlink()
    first.cancel()
    finish(second)
    assert "walk.mp4 does not exist. Choose a video file that exists." in second.message
    assert captures == []


def test_a_file_that_is_opened_ends_waiting_jobs_with_a_sentence(start, tmp_path):
    jobs = [start(add_cube(name)) for name in "AB"]
    advance_until(lambda: jobs[0].phase is Phase.CAPTURING)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert [job.phase for job in jobs] == [Phase.FAILED] * 2
    assert jobs[1].message == "A file was opened before the mesh was captured. Press Animate again."
    assert list((tmp_path / "scratch").glob("gvf-job*")) == []


def test_an_undo_keeps_the_order_and_waiting_jobs_find_what_is_left(start, captures):
    bpy.ops.ed.undo_push(message="nothing")
    things = [add_cube(name) for name in "AB"]
    bpy.ops.ed.undo_push(message="two cubes")
    things.append(add_cube("C"))
    bpy.ops.ed.undo_push(message="a third one")
    jobs = [start(thing) for thing in things]
    advance_until(lambda: jobs[0].phase is Phase.CAPTURING)
    jobs[0].poll()
    bpy.ops.ed.undo()
    finish(*jobs)
    assert captures == ["A", "A", "B"]
    assert [job.phase for job in jobs] == [Phase.DONE, Phase.DONE, Phase.FAILED]
    assert "There is no object 'C'" in jobs[2].message


def test_unregistering_ends_waiting_jobs_and_leaves_no_folder(start, addon, tmp_path):
    jobs = [start(add_cube(name)) for name in "AB"]
    addon.unregister()
    try:
        assert [job.phase for job in jobs] == [Phase.CANCELLED] * 2
        assert list((tmp_path / "scratch").iterdir()) == []
    finally:
        addon.register()


@pytest.fixture
def walking():
    """A cube that moves from x = 0 in frame 1 to x = 9 in frame 10, and is hidden from frame 3 to 5."""
    thing = add_cube("Walker")
    for frame in (1, 10):
        thing.location.x = frame - 1
        thing.keyframe_insert("location", frame=frame)
    for frame, hidden_then in ((1, False), (3, True), (6, False)):
        thing.hide_viewport = hidden_then
        thing.keyframe_insert("hide_viewport", frame=frame)
    bpy.context.scene.frame_set(1)
    return thing


def test_the_pose_is_that_of_the_frame_in_which_the_job_was_started(start, walking):
    scene = bpy.context.scene
    first = start(add_cube("A"), hold_at="running")
    scene.frame_set(10)
    waiting = start(walking, hold_at="running")
    scene.frame_set(4, subframe=0.3)
    moment = scene.frame_current, scene.frame_subframe
    assert not walking.visible_get()
    advance_until(lambda: first.phase is waiting.phase is Phase.RUNNING)
    np.testing.assert_allclose(captured_center(waiting), [9, 0, 0], atol=1e-5)
    assert (scene.frame_current, scene.frame_subframe) == moment
    assert bpy.data.scenes[:] == [scene]
    waiting.client.released.set()
    finish(waiting)
    assert playback_of(waiting.imported.splats).start == 10


def test_an_object_in_edit_mode_is_captured_as_it_is_edited_and_stays_so(start, walking):
    job = start(add_cube("A"))
    bpy.context.scene.frame_set(10)
    waiting = start(walking)
    bpy.context.scene.frame_set(1)
    bpy.context.view_layer.objects.active = walking
    bpy.ops.object.select_all(action="DESELECT")
    walking.select_set(True)
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 3))
    advance_until(lambda: not waiting.phase.needs_scene)
    assert walking.mode == "EDIT"
    bpy.ops.object.mode_set(mode="OBJECT")
    finish(job, waiting)
    np.testing.assert_allclose(captured_center(waiting), [9, 0, 3], atol=1e-5)


def test_a_start_frame_can_be_rendered_between_two_views(start, tmp_path):
    undisturbed = start(add_cube("A"))
    finish(undisturbed)
    job = start(add_cube("B"))
    advance_until(lambda: job.phase is Phase.CAPTURING and job.progress > 0)
    assert bpy.ops.gvf.render_start_frame(filepath=str(tmp_path / "a.png"), width=64, height=64) == {"FINISHED"}
    assert job.phase is Phase.CAPTURING
    finish(job)
    assert job.phase is Phase.DONE
    np.testing.assert_array_equal(job.client._capture_tensors["png"], undisturbed.client._capture_tensors["png"])
    assert (tmp_path / "a.png").is_file()


def test_a_capture_pauses_while_the_artist_renders(start, monkeypatch):
    job = start(add_cube("A"))
    advance_until(lambda: job.phase is Phase.CAPTURING)
    renders = True
    # Without a window no render runs beside the timers, so Blender's answer is made up.
    monkeypatch.setattr("gvf_blender.job.is_rendering", lambda: renders)
    for _ in range(5):
        job.poll()
    assert (job.phase, job.progress) == (Phase.CAPTURING, 0)
    renders = False
    finish(job)
    assert job.phase is Phase.DONE


def test_a_script_does_not_wait_for_a_render_that_cannot_end_meanwhile(start, monkeypatch):
    job = start(add_cube("A"))
    monkeypatch.setattr("gvf_blender.job.is_rendering", lambda: True)
    with pytest.raises(RenderError, match="A render runs"):
        job.wait()
    assert job.phase is Phase.CANCELLED


def test_a_result_waits_until_the_artist_has_rendered(start, monkeypatch):
    cube = add_cube("A")
    job = start(cube, hold_at="running")
    advance_until(lambda: job.phase is Phase.RUNNING)
    renders = True
    monkeypatch.setattr("gvf_blender.job.is_rendering", lambda: renders)
    job.client.released.set()
    advance_until(lambda: job.phase is Phase.IMPORTING)
    for _ in range(5):
        job.poll()
    assert (job.phase, cube.data.shape_keys) == (Phase.IMPORTING, None)
    assert job.message == "Waiting for the render to end"
    renders = False
    finish(job)
    assert job.phase is Phase.DONE and cube.data.shape_keys is not None


def test_a_script_that_cannot_wait_for_a_render_keeps_the_result(start, monkeypatch):
    job = start(add_cube("A"), hold_at="running")
    advance_until(lambda: job.phase is Phase.RUNNING)
    monkeypatch.setattr("gvf_blender.job.is_rendering", lambda: True)
    job.client.released.set()
    with pytest.raises(RenderError, match=r"nothing can be imported.*use Import Again"):
        job.wait()
    job.import_again()
    assert job.phase is Phase.DONE


def test_another_try_is_of_the_frame_of_the_first(start, walking, video, tmp_path):
    bpy.context.scene.frame_set(10)
    job = start(walking)
    advance_until(lambda: job.phase is Phase.CAPTURING)
    job.cancel()
    bpy.context.scene.frame_set(1)
    client = ScriptedClient("")
    again = job.again(client.connect, tmp_path / "results")
    again.client = client
    again.wait()
    finish(again)
    np.testing.assert_allclose(captured_center(again), [9, 0, 0], atol=1e-5)
