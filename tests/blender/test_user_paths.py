"""Paths that nobody can open, and names of files that are no text, wherever they are entered."""

import os
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from fabricated_animation import fabricate
from recording_layout import RecordingLayout, panel_context

from gvf_blender.core.errors import FileError
from gvf_blender.core.sentence import Sentence
from gvf_blender.importer import ImportOptions, import_animation
from gvf_blender.translations import translated
from gvf_blender.user_path import real_path

VIDEO = Path(__file__).parents[2] / "examples" / "shark.mp4"
NOBODY = "~gvf-nobody/x"
NULL = "a\0b"


UNSAVED = "//x"


@pytest.mark.parametrize(
    "path, reason",
    [
        (NOBODY, "home folder in ~gvf-nobody/x"),
        (NULL, "null character"),
        (UNSAVED, "never saved.* Save the .blend file"),
    ],
)
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


@pytest.mark.parametrize("path", [None, 5, ["a.png"]])
def test_what_is_no_path_is_refused(api, cube, path):
    with pytest.raises(FileError, match="is no path"):
        api.start_frame(cube, path)


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


@pytest.fixture
def unreadable_name(tmp_path):
    """Makes files whose names are no UTF-8, as they come from old disks and archives."""

    def path_with(suffix, content=b"frames"):
        path = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
        try:
            path.write_bytes(content)
        except OSError:
            pytest.skip("this file system takes no such names")
        return path

    return path_with


def test_a_video_with_a_name_that_is_no_utf8_is_chosen_drawn_and_animated(api, cube, unreadable_name, server):
    video = unreadable_name(".mp4")
    assert bpy.ops.gvf.choose_video(filepath=str(video)) == {"FINISHED"}
    assert bpy.context.scene.gvf.video == str(video)
    layout = RecordingLayout()
    bpy.types.GVF_PT_animate.draw(SimpleNamespace(layout=layout), panel_context())
    job = api.start(cube, bpy.context.scene.gvf.video, outputs=["points"], server=server.client)
    bpy.types.GVF_PT_jobs.draw(SimpleNamespace(layout=layout), panel_context())
    layout.texts().encode()
    assert "Cube: caf?.mp4" in layout.texts()
    assert job.wait().points is not None


def test_a_problem_with_a_name_that_is_no_utf8_is_told(addon, unreadable_name):
    path = unreadable_name(".mp4", b"")
    with pytest.raises(RuntimeError, match=r"The video .*caf\?\.mp4 is empty"):
        bpy.ops.gvf.choose_video(filepath=str(path))
    with pytest.raises(RuntimeError, match=r"caf\?\.mp4"):
        bpy.ops.gvf.import_animation(filepath=str(path))


def test_blender_reads_a_video_whose_name_is_no_utf8(addon, unreadable_name):
    from gvf_blender.video_facts import is_unreadable, read_facts

    path = unreadable_name(".mp4", VIDEO.read_bytes())
    assert read_facts(path).frames == 24
    assert not is_unreadable(path)


def test_datablocks_are_named_after_a_file_whose_name_is_no_utf8(api, cube, unreadable_name, tmp_path):
    animation = fabricate(tmp_path, cube, frames=3)
    result = unreadable_name(".safetensors", animation.path.read_bytes())
    imported = import_animation(bpy.context, result, (), ImportOptions(motion=False))
    assert imported.splats.name == "caf? splats"
    (frame,) = api.export(imported.splats, tmp_path / "one.ply", frame_start=1, frame_end=1).paths
    assert api.import_splats(unreadable_name(".ply", frame.read_bytes())).splats.name == "caf?"


def test_the_report_can_be_copied_whatever_a_file_is_called(api, unreadable_name):
    bpy.context.scene.gvf.video = str(unreadable_name(".mp4"))
    assert "caf?.mp4" in api.diagnose()


def test_texts_for_people_are_never_half_characters():
    bad = "caf\udce9"
    for text in (Sentence("{path}", path=bad), Sentence(bad), str(FileError(bad, bad)), FileError(bad).message):
        assert text.replace(" ", "") in ("caf?", "caf?caf?")
    assert translated(bad) == translated("{name}", name=bad) == "caf?"
    assert translated("{title}", title=Sentence("{name}", name=bad)) == "caf?"


def test_links_that_lead_in_circles_are_told_by_what_uses_them(addon, tmp_path):
    (tmp_path / "loop.glb").symlink_to("loop.glb")
    assert real_path(tmp_path / "loop.glb").name == "loop.glb"
    (tmp_path / "link.glb").symlink_to("there.glb")
    assert real_path(tmp_path / "link.glb") == (tmp_path / "there.glb").resolve()
