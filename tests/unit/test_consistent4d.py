"""Results are compared with the truth view by view and picture by picture, from pictures or from animation files."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from gvf_core import cli
from gvf_core.animation import Animation, save_animation
from gvf_core.errors import FileFormatError
from gvf_core.evaluation.animation_tracks import load_tracks
from gvf_core.evaluation.consistent4d import ASIDE, VIEWS, ObjectTask, evaluate_object, find_objects, read_view
from gvf_core.evaluation.consistent4d_report import consistent4d_report
from gvf_core.evaluation.side_pictures import side_pictures
from gvf_core.gaussians import Gaussians, VariationField
from gvf_core.rendering import orbit_camera

FRAMES = 2


def write_views(folder, shade=0, frames=FRAMES, alpha=255) -> None:
    """Pictures with a red square that moves; `shade` is added to the square."""
    for view in VIEWS:
        (folder / view).mkdir(parents=True)
        for frame in range(frames):
            picture = np.full((64, 64, 4), (255, 255, 255, alpha), np.uint8)
            picture[20:40, 10 + 5 * frame : 30 + 5 * frame] = (200, 30 + shade, 30, 255)
            Image.fromarray(picture).save(folder / view / f"{frame}.png")


@pytest.fixture
def sets(tmp_path):
    for name in ("fish", "skull"):
        write_views(tmp_path / "truth" / name)
        write_views(tmp_path / "results" / name, shade=20 if name == "skull" else 0)
    (tmp_path / "out" / "objects").mkdir(parents=True)
    (tmp_path / "out" / "sheets").mkdir()
    return tmp_path


def tasks_of(sets) -> list[ObjectTask]:
    return find_objects(sets / "truth", sets / "results", sets / "out", "")


def test_objects_are_paired_by_name(sets):
    assert [task.name for task in tasks_of(sets)] == ["fish", "skull"]
    with pytest.raises(FileFormatError, match="holds no folders OBJECT/eval_0"):
        find_objects(sets, sets, sets, "")


def test_an_object_without_a_result_or_without_a_view_fails_by_itself(sets):
    write_views(sets / "truth" / "pistol")
    shutil.rmtree(sets / "truth" / "skull" / "eval_0")
    fish, pistol, skull = tasks_of(sets)
    for task in (fish, pistol, skull):
        evaluate_object(task)
    assert "There is no result for pistol in" in pistol.kept()["failure"]
    assert "eval_0 holds no PNG files" in skull.kept()["failure"]
    assert [task.is_measured() for task in (fish, pistol, skull)] == [True, False, False]
    assert len(consistent4d_report([one.kept() for one in (fish, pistol, skull)], {}, None)["objects"]) == 3
    write_views(sets / "results" / "pistol")
    assert tasks_of(sets)[1].kept() is None


def test_results_of_other_objects_altogether_are_refused(sets):
    (sets / "results" / "fish").rename(sets / "results" / "fishes")
    (sets / "results" / "skull").rename(sets / "results" / "skulls")
    with pytest.raises(FileFormatError, match="There is no result for fish"):
        tasks_of(sets)


def test_pictures_that_lie_beside_others_than_their_own_are_a_failure(sets):
    fish, skull = tasks_of(sets)
    for side, gone in (("truth", 1), ("results", 2)):
        for task in (fish, skull):
            shutil.rmtree(sets / side / task.name)
            write_views(sets / side / task.name, frames=4)
        (sets / side / "fish" / "eval_3" / f"{gone}.png").unlink()
    for view in VIEWS:
        for number in reversed(range(4)):
            (sets / "results" / "skull" / view / f"{number}.png").rename(
                sets / "results" / "skull" / view / f"{number + 1}.png"
            )
    for task in (fish, skull):
        evaluate_object(task)
    assert "The pictures in eval_3 of the result fish have other numbers" in fish.kept()["failure"]
    assert skull.kept()["psnr"] == 100


def test_true_pictures_of_one_colour_have_no_range_and_say_so(sets):
    fish, _ = tasks_of(sets)
    blank = Image.fromarray(np.full((64, 64, 3), 255, np.uint8))
    blank.save(sets / "truth" / "fish" / "eval_1" / "0.png")
    evaluate_object(fish)
    row = fish.kept()
    assert row["psnr"] > 10 and row["psnr_of_data_range"] is None
    assert row["absent"]["psnr_of_data_range"] == "A true picture has a single colour."


def test_pictures_are_sorted_by_number_and_laid_over_white(tmp_path):
    for number in (10, 9):
        picture = np.zeros((8, 8, 4), np.uint8)
        picture[..., 3], picture[..., 0] = (128, 200) if number == 10 else (255, 0)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    first, second = read_view(tmp_path)
    assert first.shape == (3, 512, 512) and first.max() == 0
    assert second[:, 4, 4].tolist() == [227, 127, 127]
    (tmp_path / "last.png").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"last\.png in .* is not called by a number"):
        read_view(tmp_path)


@pytest.mark.parametrize("mode", ["grey", "colour"])
def test_pictures_of_16_bits_are_as_light_as_those_of_8(tmp_path, mode):
    deep = np.full((8, 8) if mode == "grey" else (8, 8, 3), 100 * 257, np.uint16)
    assert cv2.imwrite(str(tmp_path / "0.png"), deep)
    assert np.unique(read_view(tmp_path)).tolist() == [100]


def test_a_number_that_is_there_twice_is_no_choice(tmp_path):
    for name in ("1", "01", "2"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.raises(FileFormatError, match=r"01?\.png in .* has the number of 0?1\.png"):
        read_view(tmp_path)


def test_an_object_like_the_truth_scores_best_and_another_worse(sets):
    pytest.importorskip("torchmetrics")
    fish, skull = tasks_of(sets)
    for task in (fish, skull):
        evaluate_object(task)
    same, shaded = fish.kept(), skull.kept()
    assert (same["psnr"], same["ssim"]) == (100, 1)
    # A fifth of one channel's difference in 400 of 64 x 64 pixels, a little more at the edges of the larger picture.
    expected = -10 * np.log10((20 / 255) ** 2 * 400 / 4096 / 3)
    assert shaded["psnr"] == pytest.approx(expected, abs=0.1)
    assert shaded["psnr"] - 1.1 < shaded["psnr_of_data_range"] <= shaded["psnr"]
    assert shaded["lpips"] is None and "vgg16" in shaded["absent"]["lpips"]
    sheet = np.asarray(Image.open(sets / "out" / "sheets" / f"{fish.slug}.png"))
    assert sheet.shape[0] > 8 * 160


def test_figures_are_kept_until_a_picture_changes(sets):
    fish, _ = tasks_of(sets)
    evaluate_object(fish)
    assert fish.kept() is not None
    path = sets / "results" / "fish" / "eval_2" / "1.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    assert fish.kept() is None


def test_videos_of_different_lengths_are_a_failure_with_a_sentence(sets):
    fish, _ = tasks_of(sets)
    (sets / "results" / "fish" / "eval_1" / "1.png").unlink()
    evaluate_object(fish)
    assert "eval_1 of the result fish has 1 frames, the truth 2" in fish.kept()["failure"]


# Animation files


def animation(camera: dict | None) -> Animation:
    """Three coloured Gaussians, the first of which moves to the right of the picture."""
    means = torch.tensor([[0.2, 0.0, 0.1], [-0.2, 0.1, 0.0], [0.0, -0.2, -0.2]])
    colors = torch.tensor([[0.9, -0.9, -0.9], [-0.9, 0.9, -0.9], [-0.9, -0.9, 0.9]])
    raw = Gaussians(means, torch.full((3, 3), 3.0), torch.zeros(3, 4), colors, torch.full((3,), 4.0))
    deltas = torch.zeros(2, 3, 14)
    deltas[1, 0, 0] = 0.1
    told = {"azimuth": 30.0, "elevation": 10.0} | ({"camera": camera} if camera else {})
    return Animation(raw, VariationField(deltas), np.zeros((2, 3, 3), np.float32), np.eye(4), 12.0, told)


CENTERED = {"distance": 2.0, "intrinsics": [1.1, 1.1, 0.5, 0.5]}


def test_an_animation_file_is_drawn_as_it_was_found(tmp_path):
    path, made = tmp_path / "fish.safetensors", animation(CENTERED)
    save_animation(path, made)
    tracks = load_tracks(path)
    assert tracks.frames == 2
    camera = tracks.camera(0.0, 96, 96)
    exact = orbit_camera(30.0, 10.0, 2.0, 2 * np.degrees(np.arctan(0.5 / 1.1)), 96)
    np.testing.assert_allclose(camera.world_to_camera, exact.world_to_camera)
    drawn = side_pictures(tracks.splats, camera, 2).astype(int)
    expected = side_pictures(lambda frame: made.gaussians.activate(made.variation.deltas[frame]), exact, 2).astype(int)
    assert (drawn[0] != drawn[1]).any() and drawn.min() < 150
    assert np.abs(drawn - expected).max() <= 3


def test_views_from_the_side_keep_the_part_of_the_shift_that_they_can_know(tmp_path):
    path = tmp_path / "fish.safetensors"
    save_animation(path, animation({"distance": 1.8, "intrinsics": [1.1, 1.2, 0.6, 0.45]}))
    tracks = load_tracks(path)
    centers = [tracks.camera(aside, 64, 64).intrinsics for aside in (0.0, 60.0, 90.0, 180.0)]
    assert [center[2] for center in centers] == pytest.approx([0.6, 0.55, 0.5, 0.4])
    assert all(center[3] == 0.45 for center in centers)
    assert np.linalg.norm(tracks.camera(ASIDE[0], 64, 64).position) == pytest.approx(1.8)


def test_a_file_that_does_not_tell_its_camera_is_refused(tmp_path):
    path = tmp_path / "fish.safetensors"
    save_animation(path, animation(None))
    with pytest.raises(FileFormatError, match="does not tell the camera"):
        load_tracks(path)


# The command


def test_the_command_writes_a_report_with_means_and_takes_what_is_kept(sets, capsys):
    pytest.importorskip("torchmetrics")
    save_animation(sets / "results" / "fish.safetensors", animation(CENTERED))
    shutil.rmtree(sets / "results" / "fish")
    command = ["evaluate", "--protocol", "consistent4d", "--assets", str(sets / "truth"), "--jobs", "1"]
    command += ["--results", str(sets / "results"), "--out", str(sets / "report"), "--json", str(sets / "figures.json")]
    assert cli.main(command) == 0
    report = json.loads((sets / "figures.json").read_text())
    assert report["summary"]["objects"] == 2 and report["summary"]["failed"] == 0
    both = [row["psnr"] for row in report["objects"]]
    assert report["summary"]["psnr"] == pytest.approx(np.mean(both)) and both[0] < both[1]
    text = (sets / "report" / "report.md").read_text()
    assert "| skull | 2 |" in text and "| mean of 2 |" in text and "lpips is absent" in text
    kept = {path: path.stat().st_mtime_ns for path in (sets / "report" / "objects").iterdir()}
    assert cli.main(command) == 0
    assert kept == {path: path.stat().st_mtime_ns for path in (sets / "report" / "objects").iterdir()}
    assert cli.main([*command[:-6], *command[-4:]]) == 1
    assert "Name their folder with --results" in " ".join(capsys.readouterr().err.split())


def evaluated_unless_fish(task: ObjectTask) -> None:
    """In place of `evaluate_object`: the process dies of the fish, as it does when memory runs out."""
    if task.name == "fish":
        os._exit(9)
    evaluate_object(task)


def test_an_object_whose_process_dies_takes_no_other_with_it(sets, monkeypatch, capsys):
    pytest.importorskip("torchmetrics")
    monkeypatch.setattr("gvf_core.evaluation.consistent4d.evaluate_object", evaluated_unless_fish)
    command = ["evaluate", "--protocol", "consistent4d", "--assets", str(sets / "truth"), "--jobs", "1"]
    assert cli.main([*command, "--results", str(sets / "results"), "--out", str(sets / "report")]) == 0
    report = json.loads((sets / "report" / "report.json").read_text())
    assert [one.get("failure") for one in report["objects"]] == ["The process broke down.", None]
    assert report["summary"]["failed"] == 1
