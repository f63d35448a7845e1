"""A capture changes nothing in the user's file and leaves no files, whether it ends, is cancelled or fails."""

import resource
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np
import pytest

from gvf_blender.capture import CaptureOptions, CaptureSession, capture
from gvf_blender.core.errors import FileError, RenderError, SelectionError, SettingsError

QUICK = CaptureOptions(views=3, size=32, samples=1)

# In Blender 4.2 Material.copy itself leaves these with one user too many until the file is opened again.
_USED_BY_NODES = ("images", "node_groups", "actions") if bpy.app.version >= (4, 3) else ()


def _values(struct):
    """All plain settings of a Blender struct."""
    return {
        entry.identifier: repr(getattr(struct, entry.identifier))
        for entry in struct.bl_rna.properties
        if entry.type not in ("POINTER", "COLLECTION") and entry.identifier != "use_nodes"  # warns of its removal
    }


def state():
    """Everything of the open file that an artist would notice if it changed."""
    context, scene = bpy.context, bpy.context.scene
    collections = [
        entry.identifier for entry in bpy.data.bl_rna.properties if entry.type == "COLLECTION" and not entry.is_hidden
    ]
    return {
        "data": {name: sorted(block.name for block in getattr(bpy.data, name)) for name in collections},
        "users": {
            name: {block.name: block.users for block in getattr(bpy.data, name)}
            for name in ("materials", "meshes", "objects", "worlds", *_USED_BY_NODES)
        },
        "scene": scene.name,
        "view layer": context.view_layer.name,
        "window scene": context.window.scene.name if context.window else None,
        "selected": sorted(thing.name for thing in context.view_layer.objects if thing.select_get()),
        "active": context.view_layer.objects.active.name,
        "mode": context.view_layer.objects.active.mode,
        "frame": (scene.frame_current, scene.frame_subframe),
        "scene settings": _values(scene),
        "render": _values(scene.render),
        "picture format": _values(scene.render.image_settings),
        "cycles": {name: repr(getattr(scene.cycles, name)) for name in ("samples", "device", "max_bounces")},
        "view": _values(scene.view_settings),
        "display": _values(scene.display_settings),
        "matrices": {thing.name: np.array(thing.matrix_world).tolist() for thing in bpy.data.objects},
        "nodes": {
            material.name: [(node.name, node.bl_idname) for node in material.node_tree.nodes]
            for material in bpy.data.materials
        },
        "links": {material.name: len(material.node_tree.links) for material in bpy.data.materials},
        "temporary files": sorted(str(file) for file in Path(bpy.app.tempdir).rglob("*")),
    }


@pytest.fixture
def asset(empty_scene):
    """A textured object with a modifier, an action and a shader group, in a scene with unusual settings."""
    scene = empty_scene
    bpy.ops.mesh.primitive_monkey_add()
    bpy.ops.mesh.primitive_cube_add(location=(3, 0, 0))
    thing = bpy.context.object
    thing.modifiers.new("Subdivision", "SUBSURF")
    material = bpy.data.materials.new("Paint")
    if material.node_tree is None:
        material.use_nodes = True
    tree = material.node_tree
    shader = next(node for node in tree.nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.new("Texture", 8, 8)
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    group = bpy.data.node_groups.new("Varnish", "ShaderNodeTree")
    group.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    group.links.new(
        group.nodes.new("ShaderNodeBsdfDiffuse").outputs[0], group.nodes.new("NodeGroupOutput").inputs["Shader"]
    )
    varnish, both = tree.nodes.new("ShaderNodeGroup"), tree.nodes.new("ShaderNodeMixShader")
    varnish.node_tree = group
    tree.links.new(shader.outputs[0], both.inputs[1])
    tree.links.new(varnish.outputs[0], both.inputs[2])
    tree.links.new(both.outputs[0], tree.get_output_node("CYCLES").inputs["Surface"])
    shader.inputs["Roughness"].keyframe_insert("default_value", frame=1)
    thing.data.materials.append(material)
    thing.keyframe_insert("location", frame=1)
    scene.frame_set(7, subframe=0.25)
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.filepath = "//my/shots/"
    scene.render.resolution_x, scene.render.resolution_percentage = 333, 40
    scene.view_settings.view_transform = "AgX"
    scene.world = bpy.data.worlds.new("Sky")
    bpy.context.view_layer.update()
    return thing


def test_a_whole_capture_leaves_the_file_as_it_was(asset, tmp_path):
    before = state()
    result = capture(bpy.context, [asset], tmp_path / "a.safetensors", QUICK)
    assert state() == before
    assert [file.name for file in tmp_path.iterdir()] == [result.path.name]


def properties_of_objects():
    """All that could be written on what is there: plain settings, custom properties and our own group."""
    found = {}
    for name in ("objects", "meshes", "materials", "scenes", "worlds"):
        for block in getattr(bpy.data, name):
            # An empty group of ours holds nothing, and exporters leave out what an add-on registered.
            registered = {entry.identifier for entry in block.bl_rna.properties if entry.is_runtime}
            custom = {key: repr(value) for key, value in block.items() if key not in registered}
            ours = _values(block.gvf) if name == "objects" and hasattr(block, "gvf") else None
            found[name, block.name] = (_values(block), custom, ours)
    return found


def without_new(after, before):
    """The state without what was not there before: the results."""
    if isinstance(before, dict):
        return {name: without_new(value, before[name]) for name, value in after.items() if name in before}
    return [item for item in after if item in before] if isinstance(before, list) else after


@pytest.mark.parametrize("end", ["imported", "failed", "cancelled"])
def test_a_whole_job_leaves_nothing_but_its_results(asset, addon, video, tmp_path, end):
    from scripted_client import ScriptedClient

    from gvf_blender.core.errors import ServerError
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    class Client(ScriptedClient):
        def download(self, job_id, path, on_progress):
            if end == "failed":
                raise ServerError("The server has forgotten the job.", "", "unknown_job")
            super().download(job_id, path, on_progress)

    before, written_before = state(), properties_of_objects()
    client = Client(hold_at="running")
    request = make_request([asset], video, MotionSettings(), outputs=["splats", "points"])
    job = AnimateJob(request, client.connect, tmp_path / "results", QUICK)
    while job.stage != "tracking":
        assert not job.finished, job.message
        job.poll()
    # While it runs, exporters would write nothing of it, either.
    assert {place: custom for place, (_, custom, _) in properties_of_objects().items()} == {
        place: custom for place, (_, custom, _) in written_before.items()
    }
    if end == "cancelled":
        job.cancel()
    client.released.set()
    while not job.finished:
        job.poll()
    assert job.phase == {"imported": "done"}.get(end, end), job.message
    written = properties_of_objects()
    assert {place: written[place] for place in written_before} == written_before
    job.close()
    after = state()
    if end != "imported":
        assert after == before
        return
    assert without_new(after, before) == before


def test_a_capture_of_another_frame_has_the_bytes_of_one_made_in_that_frame(asset, tmp_path):
    scene, tree = bpy.context.scene, asset.active_material.node_tree
    shader = tree.nodes["Principled BSDF"]
    tree.links.new(shader.outputs[0], tree.get_output_node("CYCLES").inputs["Surface"])
    color = shader.inputs["Base Color"]
    tree.links.remove(color.links[0])
    for frame, value in ((1, 0.0), (11, 1.0)):
        asset.scale.z, color.default_value = 1 + value, (value, 0, 0, 1)
        asset.keyframe_insert("scale", frame=frame)
        color.keyframe_insert("default_value", frame=frame)

    def made(name, **options):
        with CaptureSession(bpy.context, [asset], tmp_path / name, QUICK, **options) as session:
            while session.result is None:
                session.step()
            return session.result.path.read_bytes()

    scene.frame_set(4, subframe=0.5)
    there = made("there")
    scene.frame_set(11)
    assert made("here") != there
    asset.scale.z = 1.3  # and not keyed
    before = state()
    assert made("from afar", frame=4.5) == there
    assert state() == before and asset.scale.z == pytest.approx(1.3)


def test_a_capture_in_edit_mode_stays_in_edit_mode(asset, tmp_path):
    bpy.ops.object.mode_set(mode="EDIT")
    before = state()
    capture(bpy.context, [asset], tmp_path / "a.safetensors", QUICK)
    assert before["mode"] == "EDIT"
    assert state() == before


def test_progress_grows_to_one_and_only_the_last_step_has_the_result(asset, tmp_path):
    with CaptureSession(bpy.context, [asset], tmp_path / "a.safetensors", QUICK) as session:
        assert session.step() == pytest.approx(1 / 3)
        assert session.step() == pytest.approx(2 / 3)
        assert session.result is None
        assert session.step() == 1.0
        assert session.result.path.is_file()
        assert session.step() == 1.0


def test_a_cancelled_capture_leaves_the_file_as_it_was_and_writes_nothing(asset, tmp_path):
    before = state()
    session = CaptureSession(bpy.context, [asset], tmp_path / "a.safetensors", QUICK)
    session.step()
    session.close()
    session.close()
    assert state() == before
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_path_fails_at_the_end_and_leaves_the_file_as_it_was(asset, tmp_path):
    (tmp_path / "taken").mkdir()
    before = state()
    with pytest.raises(FileError, match=r"taken could not be written .* try again"):
        capture(bpy.context, [asset], tmp_path / "taken", QUICK)
    assert state() == before
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


@contextmanager
def full_disk():
    """Let every file of this process end at 100 bytes, as on a full disk.

    The limit ends with the block: pytest's own output may go to a file as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_between_two_views_is_a_file_error(asset, tmp_path):
    before = state()
    with CaptureSession(bpy.context, [asset], tmp_path / "a.safetensors", QUICK) as session:
        session.step()
        with full_disk(), pytest.raises(FileError, match=r"could not be stored .* Free some disk space"):
            session.step()
    assert state() == before
    assert list(tmp_path.iterdir()) == []


def test_a_failing_render_leaves_the_file_as_it_was(asset, tmp_path):
    before = state()
    with CaptureSession(bpy.context, [asset], tmp_path / "a.safetensors", QUICK) as session:
        session.step()
        (temporary,) = (scene for scene in bpy.data.scenes if scene != bpy.context.scene)
        temporary.camera = None
        with pytest.raises(RenderError, match="could not render"):
            session.step()
    assert state() == before


def test_an_undo_that_takes_the_temporary_scene_away_is_named(asset, tmp_path):
    before = state()
    with CaptureSession(bpy.context, [asset], tmp_path / "a.safetensors", QUICK) as session:
        session.step()
        (temporary,) = (scene for scene in bpy.data.scenes if scene != bpy.context.scene)
        bpy.data.scenes.remove(temporary)
        with pytest.raises(RenderError, match=r"temporary scene .* removed"):
            session.step()
    assert state() == before


def test_a_refused_selection_leaves_the_file_as_it_was(asset, tmp_path):
    mesh = bpy.data.meshes.new("Broken")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, float("inf"), 0)], [], [(0, 1, 2)])
    broken = bpy.data.objects.new("Broken", mesh)
    bpy.context.scene.collection.objects.link(broken)
    bpy.context.view_layer.update()
    before = state()
    with pytest.raises(SelectionError, match="'Broken'"):
        CaptureSession(bpy.context, [asset, broken], tmp_path / "a.safetensors", QUICK)
    assert state() == before


def test_a_file_that_is_saved_during_a_capture_holds_nothing_of_it(asset, tmp_path):
    before, saved = state(), tmp_path / "saved.blend"
    with CaptureSession(bpy.context, [asset], tmp_path / "a.safetensors", QUICK) as session:
        session.step()
        bpy.ops.wm.save_as_mainfile(filepath=str(saved), copy=True, check_existing=False)
        while session.result is None:
            session.step()
    assert state() == before
    with bpy.data.libraries.load(str(saved)) as (there, _):
        for kind in ("scenes", "objects", "meshes", "cameras", "materials", "node_groups"):
            assert sorted(getattr(there, kind)) == before["data"][kind], kind


@pytest.fixture
def file_with_leftovers(asset, tmp_path):
    """A file that was saved during a capture by a version that let the temporary scene be saved."""
    session = CaptureSession(bpy.context, [asset], tmp_path / "a.safetensors", QUICK)
    for kind in ("scenes", "objects", "meshes", "cameras", "materials", "node_groups"):
        for block in getattr(bpy.data, kind):
            block.is_runtime_data = False
    saved = tmp_path / "saved.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(saved), copy=True, check_existing=False)
    session.close()
    return saved


def test_what_an_earlier_version_left_in_a_saved_file_is_removed_by_the_next_capture(file_with_leftovers, tmp_path):
    before = state()
    bpy.ops.wm.open_mainfile(filepath=str(file_with_leftovers))
    assert len(bpy.data.scenes) == 2
    capture(bpy.context, [bpy.data.objects[before["active"]]], tmp_path / "b.safetensors", QUICK)
    assert state()["data"] == before["data"]


def test_what_an_earlier_version_left_in_a_saved_file_is_removed_when_it_is_opened(file_with_leftovers, addon):
    before = state()
    bpy.ops.wm.open_mainfile(filepath=str(file_with_leftovers))
    assert state()["data"] == before["data"]


def test_two_captures_at_once_do_not_remove_each_others_scenes(asset, tmp_path):
    before = state()
    first = CaptureSession(bpy.context, [asset], tmp_path / "a.safetensors", QUICK)
    second = CaptureSession(bpy.context, [bpy.data.objects["Suzanne"]], tmp_path / "b.safetensors", QUICK)
    second.close()
    while first.result is None:
        first.step()
    first.close()
    assert state() == before


def test_a_second_capture_of_the_same_asset_has_the_same_bytes(asset, tmp_path):
    for name in ("a", "b"):
        capture(bpy.context, [asset], tmp_path / name, QUICK)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("wrong", [{"views": 0}, {"size": 8}, {"samples": 0}])
def test_options_out_of_range_are_named(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        CaptureOptions(**wrong)
