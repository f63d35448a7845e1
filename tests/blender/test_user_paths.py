"""Paths that nobody can open are named in a sentence, wherever they are entered."""

from types import SimpleNamespace

import bpy
import pytest
from recording_layout import RecordingLayout, panel_context

from gvf_blender.core.errors import FileError

NOBODY = "~gvf-nobody/x"
NULL = "a\0b"


@pytest.mark.parametrize("path, reason", [(NOBODY, "home folder in ~gvf-nobody/x"), (NULL, "null character")])
def test_functions_for_scripts_refuse_them(api, cube, video, path, reason):
    calls = (
        lambda: api.start(cube, path),
        lambda: api.start(cube, video, further=[(path, 90, 0)]),
        lambda: api.start(cube, video, server=path),
        lambda: api.check_video(path),
        lambda: api.start_frame(cube, path),
        lambda: api.export(cube, path + ".abc"),
        lambda: api.import_splats(path),
        lambda: api.batch(path),
    )
    for call in calls:
        with pytest.raises(FileError, match=reason) as raised:
            call()
        assert raised.value.hint


@pytest.mark.parametrize("name", ["choose_video", "import_animation", "import_splats", "render_start_frame", "export"])
def test_operators_refuse_the_home_of_nobody(cube, name):
    with pytest.raises(RuntimeError, match="The home folder in ~gvf-nobody/x"):
        getattr(bpy.ops.gvf, name)(filepath=f"{NOBODY}.abc")


def test_panel_and_report_name_the_home_of_nobody(api, cube):
    bpy.context.scene.gvf.video = NOBODY
    layout = RecordingLayout()
    bpy.types.GVF_PT_animate.draw(SimpleNamespace(layout=layout), panel_context(width=4000))
    assert "The home folder in ~gvf-nobody/x is not known" in layout.texts()
    assert "The home folder in ~gvf-nobody/x is not known" in api.diagnose()


def test_the_dialog_of_a_dropped_result_names_the_home_of_nobody(addon):
    from gvf_blender.operators.drop import GVF_OT_import_animation

    layout = RecordingLayout()
    values = {"filepath": NOBODY, "splats": True, "points": True, "motion": True}
    dialog = SimpleNamespace(layout=layout, bl_rna=bpy.ops.gvf.import_animation.get_rna_type(), **values)
    GVF_OT_import_animation.draw(dialog, bpy.context)
    assert "The home folder in ~gvf-nobody/x" in layout.texts()
