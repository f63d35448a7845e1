"""Gaussian splats from PLY files: ours, other tools', and files that are none."""

import bpy
import numpy as np
import pytest
from fabricated_animation import fabricate
from hypothesis import given, settings
from hypothesis import strategies as st

from gvf_blender.core.errors import FileError
from gvf_blender.core.splat_ply_file import read_splat_ply
from gvf_blender.importer import ImportOptions, import_animation
from gvf_blender.importer.playback import stored_frames

NAMES = [
    *"xyz",
    "f_dc_0",
    "f_dc_1",
    "f_dc_2",
    "opacity",
    *(f"scale_{i}" for i in range(3)),
    *(f"rot_{i}" for i in range(4)),
]
ROW = dict(zip(NAMES, (1, 2, 3, 0.5, 0, -9, 0, -3, -2, -1, 2, 0, 0, 0), strict=True))


def ply(rows=(ROW, ROW), kind="float", extra=(), header=None, count=None, newline="\n"):
    names = [*rows[0], *extra]
    if header is None:
        lines = ["ply", "format binary_little_endian 1.0", "comment of a tool"]
        lines += [f"element vertex {len(rows) if count is None else count}"]
        lines += [f"property {kind} {name}" for name in names] + ["end_header"]
        header = "".join(line + newline for line in lines)
    table = np.array([[row.get(name, 0.1) for name in names] for row in rows], "<f8" if kind == "double" else "<f4")
    return header.encode() + table.tobytes()


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "bonsai.ply"
        path.write_bytes(content)
        return path

    return write


def test_an_exported_frame_comes_back_and_is_exported_the_same(api, tmp_path):
    bpy.ops.mesh.primitive_cube_add(location=(3, -1, 2), rotation=(0.3, 0.2, 1))
    animation = fabricate(tmp_path, bpy.context.object, frames=3)
    made = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1)).splats
    (first,) = api.export(made, tmp_path / "first.ply", frame_start=2, frame_end=2).paths
    imported = api.import_splats(first)
    assert imported.splats.name == "first_0002"
    assert (imported.points, imported.motion) == (None, ())
    (second,) = api.export(imported.splats, tmp_path / "second.ply", frame_start=7, frame_end=7).paths
    before, after = read_splat_ply(first), read_splat_ply(second)
    for name in ("positions", "scales", "colors", "opacities"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-5)
    alike = np.abs((before.rotations * after.rotations).sum(axis=1))
    np.testing.assert_allclose(alike, 1, atol=1e-5)


def test_every_display_shows_them_and_nothing_offers_to_play_them(api, file):
    from gvf_blender.result_properties import result_controls

    splats = api.import_splats(file(ply())).splats
    assert set(result_controls(splats)) == {"display", "display_size", "display_amount", "display_confidence"}
    assert shown_instances(splats, "SPLATS") in ([12, 12], [2])  # proxies, or Blender's own splats
    assert shown_instances(splats, "SOLID") == [42, 42]
    assert shown_instances(splats, "POINTS") == [2]


def shown_instances(splats, display):
    """Sizes of what stands for each Gaussian, or for all of them."""
    splats.gvf.display = display
    bpy.context.view_layer.update()
    shown = bpy.context.evaluated_depsgraph_get().object_instances
    found = [item.object.data for item in shown if item.is_instance and item.parent.original == splats]
    return [len(data.points if isinstance(data, bpy.types.PointCloud) else data.vertices) for data in found]


def test_what_other_tools_write_is_read_with_its_mean_colour(api, file):
    content = ply(kind="double", extra=[f"f_rest_{number}" for number in range(45)], newline="\r\n")
    imported = api.import_splats(file(content))
    assert any("change with the direction of view" in warning for warning in imported.warnings)
    (position, _) = stored_frames(imported.splats.data, "position")[0]
    np.testing.assert_allclose(position, (1, 3, -2), atol=1e-6)
    np.testing.assert_allclose(stored_frames(imported.splats.data, "opacity")[0], 0.5)
    np.testing.assert_allclose(stored_frames(imported.splats.data, "scale")[0][0], np.exp((-3, -2, -1)), rtol=1e-5)
    (color, _) = stored_frames(imported.splats.data, "color")[0]
    np.testing.assert_allclose(color, (0.36858, 0.21404, 0), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(stored_frames(imported.splats.data, "rotation")[0], axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "name, value", [("x", np.nan), ("z", np.inf), ("scale_1", 200), ("rot_0", 0), ("f_dc_2", 1e38)]
)
def test_gaussians_without_finite_values_are_left_out(api, file, name, value):
    imported = api.import_splats(file(ply([ROW, ROW | {name: value}, ROW])))
    assert len(imported.splats.data.vertices) == 2
    assert "1 of 3 Gaussians in bonsai.ply have values that are not finite." in imported.warnings


FORMAT = "ply\nformat binary_little_endian 1.0\n"
HOSTILE = {
    "another kind of file": (b"<html>", "is not a PLY file"),
    "nothing": (b"", "is not a PLY file"),
    "a header without end": (b"ply\n" + b"comment\n" * 20_000, "is not a PLY file"),
    "text": (b"ply\nformat ascii 1.0\nelement vertex 1\nend_header\n1 2 3", "format 'ascii'"),
    "big endian": (b"ply\nformat binary_big_endian 1.0\nend_header\n", "format 'binary_big_endian'"),
    "no format": (b"ply\ncomment\nend_header\n", "format ''"),
    "a compressed file": (f"{FORMAT}element chunk 4\nend_header\n".encode(), "begins with 'chunk 4'"),
    "no elements": (f"{FORMAT}comment\nend_header\n".encode(), "instead of its vertices"),
    "a negative number": (ply(count=-2), "begins with 'vertex -2'"),
    "a number of a thousand digits": (ply(count="9" * 1000), "begins with 'vertex 999"),
    "a huge number": (ply(count=10**14), "is cut off: 100,000,000,000,000 Gaussians"),
    "none": (ply(count=0), "holds no Gaussians"),
    "a list": (f"{FORMAT}element vertex 1\nproperty list uchar int x\nend_header\n".encode(), "property list"),
    "an unknown type": (ply(kind="half"), "'property half x'"),
    "a mesh": (ply([{"x": 1, "y": 2, "z": 3, "red": 4}]), "lacks the property f_dc_0"),
    "flat splats": (ply([{n: ROW[n] for n in NAMES if n != "scale_2"}]), "lacks the property scale_2"),
    "a property twice": (ply(extra=["x"]), "has a property twice"),
    "half of it": (ply()[:-5], "is cut off: 2 Gaussians take 112 bytes, and 107 are there"),
    "nothing finite": (ply([ROW | {"x": np.nan}]), "No Gaussian in"),
}


@pytest.mark.parametrize("content, sentence", HOSTILE.values(), ids=HOSTILE)
def test_other_files_are_refused_with_a_sentence(api, file, content, sentence):
    before = len(bpy.data.objects), len(bpy.data.meshes)
    with pytest.raises(FileError, match=r"^.*bonsai\.ply.*") as raised:
        api.import_splats(file(content))
    assert sentence in raised.value.message and raised.value.hint
    assert (len(bpy.data.objects), len(bpy.data.meshes)) == before


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, data):
    content = bytearray(ply())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.ply"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        frame = read_splat_ply(path)
    except FileError:
        return
    assert 1 <= len(frame.positions) <= 2 and np.isfinite(frame.positions).all()


def test_the_operator_selects_what_it_made_and_names_what_is_wrong(addon, file):
    bpy.ops.mesh.primitive_cube_add()
    assert bpy.ops.gvf.import_splats(filepath=str(file(ply()))) == {"FINISHED"}
    assert [thing.name for thing in bpy.context.selected_objects] == ["bonsai"]
    assert bpy.context.object.name == "bonsai"
    with pytest.raises(RuntimeError, match="cut off"):
        bpy.ops.gvf.import_splats(filepath=str(file(ply()[:-1])))


def test_file_import_offers_results_and_splats(addon):
    from recording_layout import RecordingLayout, panel_context

    from gvf_blender.ui import import_menu

    class Menu:
        layout = RecordingLayout()

    import_menu.draw_entries(Menu, panel_context())
    assert Menu.layout.names("operator") == ["gvf.import_animation", "gvf.import_splats"]


def test_they_go_into_the_scene_where_the_active_collection_takes_nothing(addon, file, tmp_path):
    kept = bpy.data.collections.new("Kept")
    bpy.data.libraries.write(str(tmp_path / "library.blend"), {kept}, fake_user=True)
    bpy.data.collections.remove(kept)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.collections = ["Kept"]
    linked, excluded = bpy.data.collections["Kept"], bpy.data.collections.new("Excluded")
    layer = bpy.context.view_layer
    for collection in (linked, excluded):
        bpy.context.scene.collection.children.link(collection)
        layer.active_layer_collection = layer.layer_collection.children[collection.name]
        layer.active_layer_collection.exclude = collection is excluded
        assert bpy.context.collection == collection
        assert bpy.ops.gvf.import_splats(filepath=str(file(ply()))) == {"FINISHED"}
        assert bpy.context.object.users_collection == (bpy.context.scene.collection,)


def test_none_are_dropped_into_edit_mode_which_would_lose_its_active_object(cube, file):
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(RuntimeError, match=r"Blender is in edit mesh mode\. Switch to object mode"):
        bpy.ops.gvf.import_splats(filepath=str(file(ply())))
    assert (bpy.context.mode, bpy.context.object) == ("EDIT_MESH", cube)
