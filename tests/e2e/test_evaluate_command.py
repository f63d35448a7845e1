"""`gvf evaluate`: an asset's own clip is filmed, found again, and measured; a second run only adds what is missing."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gvf_core import cli
from gvf_core.commands.outputs import alone_in
from tests.e2e.animated_beam import export_animated

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module"),
    pytest.mark.timeout(600),
]
QUICK = ("--size", "96", "--frames", "3", "--views", "4", "--jobs", "1", "--set", "gaussians=400")
QUICK += ("--picture-size", "64")


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """A folder with a painted beam that slides and nods in the clip "Slide", and does next to nothing in "Wait"."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_cube_add(size=1)
    beam = bpy.context.object
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.subdivide(number_cuts=3)
    bpy.ops.object.mode_set(mode="OBJECT")
    for index, color in enumerate([(0.8, 0.1, 0.1, 1), (0.1, 0.2, 0.8, 1), (0.1, 0.6, 0.2, 1), (0.9, 0.8, 0.1, 1)]):
        material = bpy.data.materials.new(f"Paint {index}")
        material.use_nodes = True
        material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = color
        beam.data.materials.append(material)
    for index, face in enumerate(beam.data.polygons):
        face.material_index = index % 4
    folder = tmp_path_factory.mktemp("assets")
    export_animated(beam, folder / "beam.glb", last_frame=13)
    return folder


@pytest.fixture(scope="module")
def output(assets, tmp_path_factory):
    """The folder of a run with all baselines and the engine `fit`, asked for one clip of the two."""
    folder = tmp_path_factory.mktemp("evaluate") / "out"
    engines = ("--engines", "fit,static,rigid-only", "--preset", "fast")
    command = ["evaluate", "--assets", str(assets), "--clips", "1", "--out", str(folder), *engines, *QUICK]
    assert cli.main([*command, "--json", str(folder.parent / "figures.json")]) == 0
    return folder


@pytest.fixture(autouse=True, scope="module")
def _without_weights(tmp_path_factory):
    """No weights that happen to be installed here take part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GVF_MODELS_DIR", str(tmp_path_factory.mktemp("models")))
        yield


def figures(output) -> dict:
    return json.loads((output.parent / "figures.json").read_text())


def row(report: dict, engine: str) -> dict:
    (found,) = (row for row in report["clips"] if row["engine"] == engine)
    return found


def test_the_clip_that_hardly_moves_is_passed_over(output):
    report = figures(output)
    assert {one["clip"] for one in report["clips"]} == {"Slide"}
    assert all("'Wait' of beam hardly moves" in sentence for sentence in report["passed_over"])


def test_the_unmoved_asset_has_ratio_1_and_the_oracle_finds_a_rigid_motion(output):
    report = figures(output)
    unmoved, rigid = row(report, "unmoved"), row(report, "rigid-only")
    assert (unmoved["ratio_all"], unmoved["ratio_visible"], unmoved["ratio_in_plane"]) == pytest.approx((1, 1, 1))
    assert unmoved["psnr_gain"] == pytest.approx(0)
    assert rigid["ratio_all"] < 0.01 and rigid["psnr_gain"] > 5


def test_the_engine_finds_some_of_the_motion_and_tells_what_it_took(output):
    fit = row(figures(output), "fit")
    assert fit["ratio_in_plane"] < 0.6 and fit["ratio_all"] < 0.9
    assert fit["psnr_driving"] > 15
    assert fit["seconds"] > 0
    assert fit["figures"]["engine_used"] == "fit" and fit["figures"]["alignment_iou"] > 0.8


def test_surfaces_and_pictures_are_beside_the_truth_and_what_is_absent_says_why(output):
    report = figures(output)
    unmoved, rigid, fit = (row(report, engine) for engine in ("unmoved", "rigid-only", "fit"))
    assert unmoved["vertex_error"] > fit["vertex_error"] > rigid["vertex_error"]
    assert unmoved["cd_4d"] > rigid["cd_4d"] and unmoved["cd_m"] > rigid["cd_m"] and unmoved["cd_3d"] < unmoved["cd_4d"]
    assert len(unmoved["drift"]) == 2 and unmoved["drift"][1] > unmoved["drift"][0]
    assert np.mean(unmoved["drift"]) == pytest.approx(unmoved["surface_error"], rel=0.05)
    assert rigid["pictures"]["psnr"] > unmoved["pictures"]["psnr"] and rigid["pictures"]["size"] == 64
    assert (rigid["pictures"]["lpips"], report["summary"]["pictures"]["lpips"]) == (None, None)
    assert "gvf models download vgg16" in report["absent"]["lpips"]
    text = (output / "report.md").read_text()
    assert "CD-4D" in text and "LPIPS is absent" in text


def test_root_and_deformation_are_told_apart(output):
    report = figures(output)
    unmoved, rigid = row(report, "unmoved"), row(report, "rigid-only")
    # The beam is rigid: half of its turn of 0.4 after one of two frames, all of it after both.
    assert unmoved["root_rotation_error"] == pytest.approx(np.degrees(0.3), rel=0.1)
    assert rigid["root_rotation_error"] < 0.1 and rigid["root_translation_error"] < 0.001
    assert unmoved["ratio_deformation"] is None and report["summary"]["ratio_deformation"] is None
    assert "root rotation, degrees" in (output / "report.md").read_text()


def test_the_summary_is_that_of_the_first_engine(output):
    report = figures(output)
    assert report["summary"] == report["summaries"]["fit"]
    assert report["summary"]["clips"] == 1 and report["summary"]["failed"] == 0
    assert report["summary"]["ratio_all"]["median"] == pytest.approx(row(report, "fit")["ratio_all"])
    assert report["summaries"]["unmoved"]["share_worse_than_unmoved"] == 0


def test_there_is_a_table_and_a_sheet_whose_pictures_show_something(output):
    assert "| beam | Slide |" in (output / "report.md").read_text()
    (sheet,) = (output / "sheets").glob("*.fit.png")
    picture = np.asarray(Image.open(sheet))
    assert picture.shape[0] > 4 * 160 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_a_second_run_takes_what_is_there_and_one_with_other_settings_does_not(output, assets, monkeypatch):
    from gvf_core.evaluation import clip_jobs

    def none_starts(task):
        raise AssertionError(f"{task.slug} is worked on again")

    monkeypatch.setattr(clip_jobs, "_start", none_starts)
    command = ["evaluate", "--assets", str(assets), "--clip", "beam:Slide", "--out", str(output), *QUICK]
    command += ["--preset", "fast", "--json", str(output.parent / "again.json"), "--engine", "fit,unmoved"]
    before = (output / "report.json").read_text()
    assert cli.main(command) == 0
    again = json.loads((output.parent / "again.json").read_text())
    assert [one for one in json.loads(before)["clips"] if one["engine"] != "rigid-only"] == again["clips"]
    with pytest.raises(AssertionError, match="worked on again"):
        cli.main([*command, "--set", "gaussians=500"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            ("--engine", "magic"),
            "There is no engine 'magic'. Choose from auto, fit, diffusion, diffusion+refine, unmoved, rigid-only, "
            "rest-depth",
        ),
        (("--set", "azimuth=3"), "--set azimuth=3 cannot be used"),
        (("--set", "gaussians=many"), "The setting gaussians is 'many', not a number"),
        (("--set", "gaussians=1"), "The setting gaussians is 1. Choose a whole number"),
        (("--preset", "eternal"), "eternal"),
        (
            ("--engine", "diffusion,diffusion+refine", "--set", "refine_seconds=9"),
            "the engine diffusion is refined, too",
        ),
        (("--picture-size", "8"), "--picture-size is 8"),
        (("--results", "."), "takes no --results"),
        (("--elevation", "90"), "--elevation is 90"),
        (("--clip", "cat:Run"), "Write ASSET:CLIP with one of the assets beam"),
        (("--jobs", "0"), "--jobs is 0"),
        (("--out", "nowhere/out"), "There is no folder nowhere"),
        (("--json", "."), "The output . is a folder"),
        (("--json", "film.mp4"), "film.mp4 does not end in .json"),
        (("--out", str(Path(__file__).parent)), "holds other files"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(assets, tmp_path, capsys, wrong, sentence):
    command = ["evaluate", "--assets", str(assets), "--out", str(tmp_path / "out"), "--engine", "unmoved", *wrong]
    assert cli.main(command) == 1
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_an_engine_without_weights_fails_in_its_rows_and_the_others_are_measured(assets, output, monkeypatch, capsys):
    from gvf_core.evaluation import clip_jobs

    monkeypatch.setattr(clip_jobs, "_start", lambda task: pytest.fail("what is measured is measured again"))
    command = ["evaluate", "--assets", str(assets), "--clip", "beam:Slide", "--out", str(output), *QUICK]
    command += ["--preset", "fast", "--json", str(output.parent / "unable.json"), "--engine", "diffusion,static,fit"]
    assert cli.main(command) == 0
    report = json.loads((output.parent / "unable.json").read_text())
    diffusion = row(report, "diffusion")
    assert diffusion["failure"].startswith("The set of weights released lacks") and "ratio_all" not in diffusion
    assert (report["summaries"]["diffusion"]["clips"], report["summaries"]["diffusion"]["failed"]) == (0, 1)
    assert row(report, "unmoved")["ratio_all"] == pytest.approx(1) and row(report, "fit")["ratio_all"] < 1
    assert "failed: The set of weights released lacks" in (output / "report.md").read_text()
    assert "diffusion is not measured" in " ".join(capsys.readouterr().err.split())


def test_where_no_engine_can_run_nothing_is_begun(assets, tmp_path, capsys):
    command = ["evaluate", "--assets", str(assets), "--out", str(tmp_path / "out"), "--engine", "diffusion"]
    assert cli.main(command) == 1
    assert "The set of weights released lacks" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "clips").exists()


def test_two_programs_do_not_write_into_one_folder(assets, tmp_path, capsys):
    command = ["evaluate", "--assets", str(assets), "--out", str(tmp_path), "--engine", "static", *QUICK]
    with alone_in(tmp_path):
        assert cli.main(command) != 0
    assert "Another program" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_clip_that_cannot_be_read_fails_by_itself(assets, tmp_path, capsys):
    command = ["evaluate", "--assets", str(assets), "--clip", "beam:Fly", "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--engine", "unmoved", *QUICK]) == 1
    (failed,) = json.loads((tmp_path / "out" / "report.json").read_text())["clips"]
    assert "There is no clip 'Fly'" in failed["failure"] and "ratio_all" not in failed
