"""Real undo and redo around a job: the artist's steps and the import's are taken back one by one."""

import bpy
import numpy as np
import pytest
from scripted_client import SHIFT, ScriptedClient

from gvf_blender.core.job_phase import Phase


@pytest.fixture
def client():
    """A server that goes on when it is released."""
    return ScriptedClient(hold_at="running")


@pytest.fixture
def running(add_job, cube, client):
    """A job that was captured after its object was renamed and before the object was moved."""
    bpy.ops.ed.undo_push(message="Add Cube")
    cube.name = "Robot"
    bpy.ops.ed.undo_push(message="Rename")
    job = add_job("running", client)
    bpy.context.object.location.x += 5
    bpy.ops.ed.undo_push(message="Move")
    return job


@pytest.fixture
def finish(addon, client):
    """Lets the server go on and the timer import the result."""
    from gvf_blender import job_list

    def let_timer_work(job):
        client.released.set()
        while not job.finished:
            job_list.advance()
        assert job.phase is Phase.DONE, job.message

    return let_timer_work


def moves(name: str) -> bool:
    """Whether the object's own mesh moves by the animation's way."""
    thing = bpy.data.objects[name]
    bpy.context.scene.frame_set(3)
    evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mean = np.mean([vertex.co for vertex in evaluated.data.vertices], axis=0)
    return bool(np.allclose(mean, [2 * SHIFT, 0, 0], atol=1e-4))


def names() -> list[str]:
    """What there is of all that a capture makes."""
    kinds = ("scenes", "objects", "meshes", "cameras", "materials")
    return [block.name for kind in kinds for block in getattr(bpy.data, kind)]


def test_an_undo_between_capture_and_import_does_not_part_the_job_from_its_object(running, finish):
    assert bpy.ops.ed.undo() == {"FINISHED"}
    assert bpy.data.objects["Robot"].location.x == 3
    finish(running)
    assert moves("Robot")
    np.testing.assert_allclose(bpy.data.objects["Robot splats"].matrix_world.translation, (3, 1, 0.5), atol=1e-5)


def test_an_undo_past_the_renaming_does_not_either(running, finish):
    bpy.ops.ed.undo()
    assert bpy.ops.ed.undo() == {"FINISHED"}
    assert "Robot" not in bpy.data.objects
    finish(running)
    assert moves("Cube")


def test_an_undo_after_the_import_takes_back_the_import_alone_and_a_redo_brings_it_again(running, finish):
    finish(running)
    assert "Robot splats" in bpy.data.objects
    assert bpy.ops.ed.undo() == {"FINISHED"}
    assert bpy.data.objects.keys() == ["Robot"]
    assert bpy.data.objects["Robot"].data.shape_keys is None
    assert bpy.data.objects["Robot"].location.x == 8
    assert running.imported is None
    assert bpy.ops.ed.redo() == {"FINISHED"}
    assert moves("Robot")
    assert "Robot splats" in bpy.data.objects
    assert bpy.ops.ed.undo() == {"FINISHED"}
    assert running.import_again().motion == (bpy.data.objects["Robot"],)


@pytest.fixture
def capturing(add_job, cube):
    """A job that is captured while the artist makes two steps."""
    bpy.ops.ed.undo_push(message="Add Cube")
    before = names()
    job = add_job("capturing", ScriptedClient())
    job.poll()
    for _ in range(2):
        bpy.context.object.location.x += 1
        bpy.ops.ed.undo_push(message="Move")
    assert len(bpy.data.scenes) == 2
    return job, before


def test_the_temporary_scene_does_not_come_back_with_steps_that_were_made_during_the_capture(capturing, finish):
    job, before = capturing
    finish(job)
    for step in (bpy.ops.ed.undo, bpy.ops.ed.undo, bpy.ops.ed.redo):
        assert step() == {"FINISHED"}
        assert names() == before


def test_nor_with_an_undo_during_the_capture_which_starts_again(capturing, finish):
    job, before = capturing
    assert bpy.ops.ed.undo() == {"FINISHED"}
    assert names() == before
    finish(job)
    assert len(bpy.data.scenes) == 1
