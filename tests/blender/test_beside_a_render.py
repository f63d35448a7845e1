"""While the artist renders nothing is imported, removed, exported or rendered: the render would show it.

Without a window no render runs beside the operators, so Blender's answer is made up.
"""

import bpy
import pytest
from fabricated_animation import fabricate

from gvf_blender.importer import ImportOptions, import_animation

ACTIONS = {
    "imported": lambda folder: bpy.ops.gvf.import_animation(filepath=str(folder / "animation.safetensors")),
    "exported": lambda folder: bpy.ops.gvf.export(filepath=str(folder / "a.abc")),
    "rendered": lambda folder: bpy.ops.gvf.render_start_frame(filepath=str(folder / "a.png"), width=64, height=64),
    "removed": lambda folder: bpy.ops.gvf.remove_motion(),
}


@pytest.fixture
def renders(monkeypatch):
    """What Blender says of a render of the artist's."""
    said = [False]
    monkeypatch.setattr("gvf_blender.artist_render.is_rendering", lambda: said[0])
    return said


@pytest.fixture
def moving(cube, tmp_path):
    animation = fabricate(tmp_path, cube, frames=3)
    animation.path.rename(tmp_path / "animation.safetensors")
    import_animation(bpy.context, tmp_path / "animation.safetensors", animation.sources, ImportOptions(frame_start=1))
    bpy.ops.object.select_all(action="DESELECT")
    cube.select_set(True)
    bpy.context.view_layer.objects.active = cube
    return cube


def state(folder):
    return (
        sorted(thing.name for thing in bpy.data.objects),
        [thing.data.shape_keys is not None for thing in bpy.data.objects if thing.type == "MESH"],
        sorted(path.name for path in folder.iterdir()),
    )


def act(action, folder):
    try:
        return ACTIONS[action](folder)
    except RuntimeError as error:  # what an operator that reports an error becomes for a script
        return str(error)


@pytest.mark.parametrize("action", ACTIONS)
def test_it_is_refused_until_the_render_has_ended(addon, moving, tmp_path, renders, action):
    before = state(tmp_path)
    renders[0] = True
    assert f"A render runs, so nothing can be {action}. Try again when it has ended." in act(action, tmp_path)
    assert state(tmp_path) == before
    renders[0] = False
    assert act(action, tmp_path) == {"FINISHED"}
    assert state(tmp_path) != before


def test_a_result_is_not_removed_meanwhile(addon, moving, tmp_path, renders):
    before = state(tmp_path)
    renders[0] = True
    with pytest.raises(RuntimeError, match="nothing can be removed"):
        bpy.ops.gvf.remove_result()
    assert state(tmp_path) == before
