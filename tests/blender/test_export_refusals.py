"""Exports that cannot be: each ends with a sentence, and what was in the folder before is still there."""

import os
import sys
from importlib import import_module

import bpy
import pytest
from fabricated_animation import fabricate

from gvf_blender.core.errors import FileError, SelectionError, SettingsError
from gvf_blender.importer import ImportOptions, import_animation

MESH_FORMATS = ["a.abc", "a.usdc", "a.glb", "a.pc2"]
EARLIER = b"an earlier file"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    """Where every format was exported to before."""
    folder = tmp_path / "exports"
    folder.mkdir()
    for name in (*MESH_FORMATS, "a_0001.ply", "a_0002.ply"):
        (folder / name).write_bytes(EARLIER)
    return folder


@pytest.fixture
def splats(cube, tmp_path):
    animation = fabricate(tmp_path, cube, frames=3)
    return import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1)).splats


@pytest.mark.parametrize("name", MESH_FORMATS)
@pytest.mark.parametrize("error", [FileError("It does not hold what was written."), KeyError("targets")])
def test_an_export_that_fails_leaves_the_earlier_file(api, cube, folder, monkeypatch, name, error):
    export, morph_glb = (import_module(f"gvf_blender.exporter.{module}") for module in ("export", "morph_glb"))

    def fail(*arguments):
        raise error

    for module, function in ((export, "error_of"), (export, "read_pc2"), (morph_glb, "read_morph_mesh")):
        monkeypatch.setattr(module, function, fail)
    before = contents(folder)
    with pytest.raises(type(error), match=r"does not hold|targets"):
        api.export(cube, folder / name, frame_start=1, frame_end=3)
    assert contents(folder) == before


def test_a_sequence_that_fails_at_a_later_frame_leaves_all_earlier_files(api, splats, folder):
    for frame, scale in ((1, (1, 1, 1)), (2, (1, 1, 1)), (3, (1, 2, 1))):
        splats.scale = scale
        splats.keyframe_insert("scale", frame=frame)
    before = contents(folder)
    with pytest.raises(SelectionError, match="scaled differently"):
        api.export(splats, folder / "a.ply")
    assert contents(folder) == before
    assert {path.name for path in api.export(splats, folder / "a.ply", frame_end=2).paths} <= before.keys()
    assert contents(folder).keys() == before.keys()


@pytest.mark.parametrize("name", MESH_FORMATS)
def test_an_export_that_succeeds_replaces_the_earlier_file_and_leaves_no_other(api, cube, folder, name):
    before = contents(folder)
    api.export(cube, folder / name, frame_start=1, frame_end=3)
    after = contents(folder)
    assert after.keys() == before.keys()
    assert len(after[name]) > len(EARLIER)
    assert [other for other in after if after[other] != before[other]] == [name]


@pytest.mark.parametrize("name", MESH_FORMATS)
def test_a_folder_in_the_place_of_a_file_is_told(api, cube, folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(FileError, match=rf"exports.{name} is no file") as caught:
        api.export(cube, folder / name, frame_start=1, frame_end=3)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*contents(folder), name])


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_stays_and_the_file_that_it_stands_for_is_replaced(api, cube, folder):
    link = folder.parent / "link.abc"
    link.symlink_to(folder / "a.abc")
    assert bpy.ops.gvf.export(filepath=str(link), frame_start=1, frame_end=3) == {"FINISHED"}
    assert link.is_symlink() and (folder / "a.abc").read_bytes() != EARLIER


def test_a_write_protected_file_is_left_alone(api, cube, folder):
    if hasattr(os, "getuid") and os.getuid() == 0:
        pytest.skip("root may write everything")
    (folder / "a.abc").chmod(0o444)
    with pytest.raises(FileError, match=r"a\.abc is write-protected"):
        api.export(cube, folder / "a.abc", frame_start=1, frame_end=3)
    assert (folder / "a.abc").read_bytes() == EARLIER


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody can write to")
@pytest.mark.parametrize("name", MESH_FORMATS)
def test_a_folder_that_cannot_be_written_to_is_named(api, cube, name):
    with pytest.raises(FileError, match="Nothing can be written to /proc"):
        api.export(cube, f"/proc/{name}", frame_start=1, frame_end=3)


@pytest.mark.parametrize("name", MESH_FORMATS)
def test_an_object_in_edit_mode_is_refused_before_anything_is_written(api, cube, folder, name):
    twin = bpy.data.objects.new("Twin", cube.data)
    bpy.context.collection.objects.link(twin)
    bpy.ops.object.mode_set(mode="EDIT")
    before = contents(folder)
    for thing in (cube, twin):
        with pytest.raises(SelectionError, match=f"'{thing.name}' is in Edit Mode"):
            api.export(thing, folder / name, frame_start=1, frame_end=3)
    assert contents(folder) == before
    bpy.ops.object.mode_set(mode="OBJECT")
    assert api.export([cube], folder / name, frame_start=1, frame_end=3).error < 1e-5


def test_splats_in_edit_mode_are_refused(api, splats, folder):
    bpy.context.view_layer.objects.active = splats
    bpy.ops.object.mode_set(mode="EDIT")
    before = contents(folder)
    with pytest.raises(SelectionError, match=f"'{splats.name}' is in Edit Mode"):
        api.export(splats, folder / "a.ply")
    assert contents(folder) == before


def test_the_dialog_asks_before_a_file_is_replaced(addon):
    asks = bpy.ops.gvf.export.get_rna_type().properties["check_existing"]
    assert asks.default and asks.is_hidden


def new_mesh(vertices, edges=()):
    mesh = bpy.data.meshes.new("Bare")
    mesh.from_pydata(vertices, edges, [])
    thing = bpy.data.objects.new("Bare", mesh)
    bpy.context.collection.objects.link(thing)
    return thing


@pytest.mark.parametrize("name", MESH_FORMATS)
def test_a_mesh_without_vertices_is_refused(api, cube, folder, name):
    bare = new_mesh([])
    before = contents(folder)
    with pytest.raises(SelectionError, match="'Bare' has no vertices"):
        api.export(bare, folder / name, frame_start=1, frame_end=3)
    if name != "a.pc2":
        with pytest.raises(SelectionError, match="'Bare' has no vertices"):
            api.export([cube, bare], folder / name, frame_start=1, frame_end=3)
    assert contents(folder) == before


def test_a_mesh_without_faces_is_refused_where_a_file_holds_faces_only(api, cube, folder):
    wire = new_mesh([(0, 0, 0), (1, 0, 0)], [(0, 1)])
    before = contents(folder)
    with pytest.raises(SelectionError, match="'Bare' has no faces"):
        api.export([cube, wire], folder / "a.glb", frame_start=1, frame_end=3)
    assert contents(folder) == before
    for name in ("a.abc", "a.usdc", "a.pc2"):
        if name == "a.usdc" and bpy.app.version[:2] == (5, 1):
            # That version writes vertices without faces, but does not read them.
            with pytest.raises(FileError, match=r"reads meshes with \[0\] vertices from .* instead of \[2\]"):
                api.export(wire, folder / name, frame_start=1, frame_end=3)
            continue
        assert api.export(wire, folder / name, frame_start=1, frame_end=3).error < 1e-5


def test_usd_refuses_frames_that_it_does_not_know(api, cube, folder):
    before = contents(folder)
    with pytest.raises(SettingsError, match="-4 to 3"):
        api.export(cube, folder / "a.usdc", frame_start=-4, frame_end=3)
    assert contents(folder) == before
    assert api.export(cube, folder / "a.usdc", frame_start=0, frame_end=3).error < 1e-5
