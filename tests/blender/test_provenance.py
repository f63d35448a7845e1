"""Whose motion it is, after files went through other programs and properties through somebody's hands."""

import json

import bpy
import pytest
from fabricated_animation import fabricate

from gvf_blender.exporter.provenance import provenance_note
from gvf_blender.importer import ImportOptions, import_animation, provenance_of

MADE = '{"engine": "fit", "version": "0.3.0", "is_result": true, "settings": {"seed": 7}}'


def moving(cube, tmp_path):
    animation = fabricate(tmp_path, cube, frames=3, provenance=MADE)
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    return cube


def read_back(path):
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.usd_import(filepath=str(path))
    return next(thing for thing in bpy.data.objects if thing.type == "MESH")


def test_an_artists_own_motion_is_not_called_generated_when_it_comes_back(api, cube, tmp_path):
    api.export(cube, tmp_path / "a.usda", frame_start=1, frame_end=3)
    read = read_back(tmp_path / "a.usda")
    assert "gvf_provenance" in read
    assert provenance_note(read).keys() == {"generator"}


def test_a_generated_motion_says_the_same_when_it_comes_back(api, cube, tmp_path):
    note = provenance_note(moving(cube, tmp_path))
    assert note["ai_generated_motion"] is True and note["seed"] == 7
    api.export(cube, tmp_path / "a.usda")
    assert provenance_note(read_back(tmp_path / "a.usda")) == note


def test_an_imported_motion_counts_on_a_mesh_with_a_note_of_its_own(cube, tmp_path):
    cube["gvf_provenance"] = '{"generator": "Gaussian Variation Fields for Blender, version 1"}'
    assert provenance_of(moving(cube, tmp_path))["engine"] == "fit"


EDITED = ["garbage", "[1]", '""', "[" * 100_000, 5, {"a": 1}]


@pytest.mark.parametrize("value", EDITED, ids=lambda value: str(value)[:10])
def test_a_property_that_somebody_edited_counts_for_nothing(api, cube, tmp_path, value):
    cube["gvf_provenance"] = value
    assert provenance_of(cube) == {}
    for name in ("a.glb", "a.usda"):
        assert api.export(cube, tmp_path / name, frame_start=1, frame_end=3).error < 1e-5
    kept = cube["gvf_provenance"]
    assert (kept.to_dict() if isinstance(value, dict) else kept) == value


def test_a_note_without_its_usual_parts_is_exported_as_far_as_it_goes(api, cube, tmp_path):
    cube["gvf_provenance"] = json.dumps({"engine": "fit", "settings": 5})
    assert api.export(cube, tmp_path / "a.glb", frame_start=1, frame_end=3).error < 1e-5
    note = provenance_note(cube)
    assert (note["engine"], note["ai_generated_motion"], "seed" in note) == ("fit", True, False)
