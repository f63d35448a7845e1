"""Every panel draws in whatever state a file, a selection, a video or a job may be."""

from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from fabricated_animation import fabricate
from recording_layout import RecordingLayout, panel_context
from scripted_client import ScriptedClient

from gvf_blender.core.job_phase import Phase
from gvf_blender.importer import ImportOptions, import_animation

VIDEO = Path(__file__).parents[2] / "examples" / "shark.mp4"


@pytest.fixture
def draw_all(addon):
    """Draws every panel that wants to be drawn, and returns all that they show."""
    from gvf_blender import ui

    def draw():
        layout = RecordingLayout()
        context = panel_context()
        for panel in ui.CLASSES:
            if getattr(panel, "poll", lambda context: True)(context):
                panel.draw(SimpleNamespace(layout=layout), context)
        return layout

    return draw


def nothing(tmp_path):
    pass


def camera(tmp_path):
    bpy.ops.object.camera_add()


def rig(tmp_path):
    bpy.ops.object.empty_add()
    empty = bpy.context.object
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.object.parent = empty
    bpy.ops.object.select_all(action="DESELECT")
    empty.select_set(True)
    bpy.context.view_layer.objects.active = empty


def edit_mode(tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")


def curve_and_text(tmp_path):
    bpy.ops.object.text_add()
    bpy.ops.curve.primitive_bezier_circle_add()


def deleted_active_object(tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    bpy.data.objects.remove(bpy.context.object)


def imported(tmp_path, modifier=None):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    if modifier:
        cube.modifiers.new("Bevel", modifier)
    animation = fabricate(tmp_path, cube, frames=3)
    return cube, import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))


def activate(thing):
    bpy.context.view_layer.objects.active = thing
    thing.select_set(True)


def active_splats(tmp_path):
    activate(imported(tmp_path)[1].splats)


def active_points(tmp_path):
    activate(imported(tmp_path)[1].points)


def moved_by_shape_keys(tmp_path):
    activate(imported(tmp_path)[0])


def moved_by_modifier(tmp_path):
    activate(imported(tmp_path, "BEVEL")[0])


def splats_without_keys(tmp_path):
    active_splats(tmp_path)
    bpy.context.object.animation_data_clear()


def splats_without_nodes(tmp_path):
    active_splats(tmp_path)
    bpy.context.object.modifiers[0].node_group = None


def splats_with_emptied_nodes(tmp_path):
    active_splats(tmp_path)
    tree = bpy.context.object.modifiers[0].node_group
    tree.nodes.clear()
    tree.interface.clear()


def motion_without_data(tmp_path):
    moved_by_modifier(tmp_path)
    tree = bpy.context.object.modifiers["GVF Motion"].node_group
    tree.nodes["Motion data"].inputs["Object"].default_value = None


def motion_with_emptied_nodes(tmp_path):
    moved_by_modifier(tmp_path)
    bpy.context.object.modifiers["GVF Motion"].node_group.nodes.clear()


def motion_with_an_own_key(tmp_path):
    moved_by_shape_keys(tmp_path)
    bpy.context.object.shape_key_add(name="Smile")


def keys_in_one_place(tmp_path):
    moved_by_shape_keys(tmp_path)
    from gvf_blender.importer.compat import fcurves_of

    (curve,) = fcurves_of(bpy.context.object.data.shape_keys)
    for key in curve.keyframe_points:
        key.co = (5, 5)


def video_shown(tmp_path):
    from gvf_blender.video_facts import read_facts

    bpy.ops.mesh.primitive_cube_add()
    bpy.context.scene.gvf.video = str(VIDEO)
    assert read_facts(VIDEO).frames == 24
    assert bpy.ops.gvf.show_video() == {"FINISHED"}


def unreadable_video(tmp_path):
    from gvf_blender.video_facts import read_facts

    path = tmp_path / "broken.mp4"
    path.write_bytes(b"frames")
    bpy.context.scene.gvf.video = str(path)
    assert read_facts(path) is None


def odd_video_name(tmp_path):
    bpy.context.scene.gvf.video = "//\0missing\n.mp4"


def remembered_view(tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.gvf.render_start_frame(filepath=str(tmp_path / "a.png"), width=64, height=64)
    bpy.context.scene.gvf.azimuth = 12


def collection_instance(tmp_path):
    bpy.data.collections.new("Group")
    bpy.ops.object.collection_instance_add(collection="Group")


STATES = {
    collection_instance: "object.duplicates_make_real",
    nothing: "No object is selected",
    camera: "The selection holds no mesh",
    rig: "1 object, 8 vertices",
    edit_mode: "Switch to object mode",
    curve_and_text: "No driving video",
    deleted_active_object: "No object is selected",
    active_splats: "play_speed",
    active_points: "display_size",
    moved_by_shape_keys: "gvf.remove_motion",
    moved_by_modifier: "gvf.remove_motion",
    splats_without_keys: "play_in_place",
    splats_without_nodes: "gvf.animate",
    splats_with_emptied_nodes: "gvf.animate",
    motion_without_data: "gvf.remove_motion",
    motion_with_emptied_nodes: "gvf.remove_motion",
    motion_with_an_own_key: "gvf.animate",
    keys_in_one_place: "gvf.remove_motion",
    video_shown: "512 x 512, 24 fps, 24 frames",
    unreadable_video: "Blender cannot read this video",
    odd_video_name: "video",
    remembered_view: "gvf.use_start_view",
}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_every_panel_draws(draw_all, tmp_path, state):
    state(tmp_path)
    layout = draw_all()
    assert STATES[state] in layout.texts() + " ".join(layout.names("prop") + layout.names("operator"))


@pytest.mark.parametrize("phase", list(Phase), ids=str)
def test_every_panel_draws_with_a_job_in_every_phase(draw_all, cube, video, tmp_path, phase):
    from gvf_blender import job_list
    from gvf_blender.core.errors import GvfBlenderError
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    client = ScriptedClient(hold_at="connecting")
    job = AnimateJob(make_request(cube, video, MotionSettings()), client.connect, tmp_path / "results")
    job_list.add(job)
    # The stations that a running job passes through are tested elsewhere; here only that all of them can be drawn.
    job.phase, job.stage, job.progress, job.warnings = phase, "tracking", 0.4, ("Something is odd.",)
    if phase is Phase.FAILED:
        job.error = GvfBlenderError("It failed.", "Try again.")
    layout = draw_all()
    buttons = layout.names("operator")
    assert "Something is odd." in layout.texts()
    assert ("gvf.cancel" in buttons) != phase.finished
    assert ("gvf.retry_job" in buttons) == (phase in (Phase.FAILED, Phase.CANCELLED))
    assert "gvf.remove_job" in buttons
    job.phase = Phase.CONNECTING
    client.released.set()


def test_the_panel_warns_about_what_the_artist_should_know_before(draw_all, cube, tmp_path):
    cube.keyframe_insert("location", frame=1)
    cube.location.x += 1
    cube.keyframe_insert("location", frame=10)
    image = bpy.data.images.new("Skin", 4, 4)
    image.source, image.filepath = "FILE", str(tmp_path / "missing.png")
    material = bpy.data.materials.new("Skin")
    if material.node_tree is None:
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.new("ShaderNodeTexImage").image = image
    info, shader = tree.nodes.new("ShaderNodeObjectInfo"), tree.nodes["Principled BSDF"]
    tree.links.new(info.outputs["Random"], shader.inputs["Base Color"])
    texts = draw_all().texts()
    assert "has no material" in texts
    assert "moved as a whole by an animation of its own" in texts
    cube.data.materials.append(material)
    texts = draw_all().texts()
    assert "The texture Skin of Cube is missing" in texts
    assert "A material of Cube reads Object Info > Random, which a capture cannot keep" in texts


def test_the_size_of_the_result_is_the_most_that_may_come(draw_all, cube):
    from gvf_blender import server_watch
    from gvf_blender.core.server_facts import ServerFacts, ServerReport, ServerState
    from gvf_blender.video_facts import read_facts

    read_facts(VIDEO)
    settings = bpy.context.scene.gvf
    settings.video, settings.max_frames, settings.outputs = str(VIDEO), 24, {"splats"}
    # 24 frames of 190,528 Gaussians with 14 components of 4 bytes; of 20,000 with 11.
    for engine, text in (
        ("fit", None),
        ("auto", "Result: 21 MB, with Diffusion up to 256 MB"),
        ("diffusion", "up to 256 MB in memory"),
    ):
        settings.engine = engine
        shown = draw_all().texts()
        assert ("Result: " in shown) == (text is not None)
        assert text is None or text in shown
    settings.engine, settings.gaussians, settings.follow_colors = "auto", 100_000, True
    facts = ServerFacts("1", "ready", (), 1, (), {"released": False})
    server_watch.watch().report = ServerReport(ServerState.RUNNING, facts=facts)
    from gvf_blender.import_cost import cost_of_settings

    assert cost_of_settings(bpy.context, 24).startswith("Result: 134 MB in memory")


def test_the_trim_tells_which_part_of_the_video_is_used(draw_all, cube):
    from gvf_blender.video_facts import read_facts

    read_facts(VIDEO)
    settings = bpy.context.scene.gvf
    settings.video, settings.start_frame, settings.frame_stride, settings.max_frames = str(VIDEO), 4, 2, 8
    assert "Uses 8 frames, 4 to 18: 0.6 s" in draw_all().texts()
    settings.max_frames = 500
    assert "Uses 10 frames, 4 to 22" in draw_all().texts()
    settings.start_frame = 23
    layout = draw_all()
    assert "ends before the second used frame. Lower First Frame" in layout.texts()
    assert not layout.button("gvf.animate").enabled
