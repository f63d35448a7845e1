"""What one task of a batch, one manifest or one path brings, and what the others and the artist see of it."""

import json
import shutil
from pathlib import Path

import bpy
import pytest

from gvf_blender.batch import run_batch
from gvf_blender.core.batch_state import state_path
from gvf_blender.core.errors import DefectError, FileError, JobCancelled, SettingsError
from gvf_blender.core.manifest import BatchTask, read_manifest
from gvf_blender.importer import Imported

ONE = '[[run]]\nassets = ["asset.glb"]\nvideos = ["walk.mp4"]\n'


@pytest.fixture
def assets(cube, video, tmp_path):
    """A GLB file and a video."""
    bpy.ops.export_scene.gltf(filepath=str(tmp_path / "asset.glb"))
    return tmp_path


def write(folder, text, encoding="utf-8"):
    path = folder / "batch.toml"
    path.write_text(text, encoding=encoding)
    return path


def run(manifest, animate=lambda objects, task: Imported(None, None, [], ())):
    return run_batch(manifest, read_manifest(manifest), animate, resume=True)


def test_long_names_make_results_of_shorter_ones_that_a_second_run_finds(assets):
    asset, video = "Golden_Eagle_" * 18 + ".glb", "an eagle " * 25 + ".mp4"
    shutil.copy(assets / "asset.glb", assets / asset)
    (assets / video).write_bytes(b"eagle")
    manifest = write(assets, ONE + ONE.replace("asset.glb", asset).replace("walk.mp4", video))
    outcomes = run(manifest)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert outcomes[1].output.is_file() and len(outcomes[1].output.name) < 210
    assert outcomes[1].output.name.startswith("Golden_Eagle_Golden_Eagle_")
    assert [outcome.skipped for outcome in run(manifest)] == [True, True]


def test_names_of_results_differ_where_only_the_ends_of_long_names_do(tmp_path):
    def name(asset, video="walk.mp4"):
        return BatchTask(Path(asset), Path(video), (), {}, tmp_path).output("0123456789abcdef").name

    assert name("fish.glb") == "fish-walk-012345.blend"
    assert len({name("Ä" * 100 + f"{end}.glb") for end in range(20)}) == 20
    assert max(len(name("魚" * length + ".glb", "鳥" * 80 + ".mp4").encode()) for length in range(25, 85)) < 210


def test_a_defect_fails_its_own_task_and_the_others_run(assets):
    shutil.copy(assets / "asset.glb", assets / "other.glb")

    def breaks(objects, task):
        if task.asset.name == "asset.glb":
            raise RuntimeError("out of memory")
        return Imported(None, None, [], ())

    manifest = write(assets, ONE + ONE.replace("asset.glb", "other.glb"))
    first, second = run(manifest, breaks)
    assert isinstance(first.error, DefectError) and "RuntimeError: out of memory" in str(first.error)
    assert second.error is None and second.output.is_file()
    records = [json.loads(line)["state"] for line in state_path(manifest).read_text().splitlines()]
    assert records == ["failed", "done"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, JobCancelled])
def test_whoever_stops_a_batch_stops_all_of_it(assets, error):
    def stops(objects, task):
        raise error

    with pytest.raises(error):
        run(write(assets, ONE + ONE), stops)


def test_a_partial_result_that_cannot_be_removed_does_not_hide_why_a_task_failed(assets, monkeypatch, caplog):
    def refuses(path, missing_ok=False):
        raise PermissionError(13, "Permission denied")

    def fails(objects, task):
        monkeypatch.setattr(Path, "unlink", refuses)
        raise FileError("The disk is full.")

    (outcome,) = run(write(assets, ONE), fails)
    assert str(outcome.error) == "The disk is full."
    assert "could not be removed" in caplog.text


def test_a_manifest_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    (task,) = read_manifest(write(tmp_path, ONE, encoding="utf-8-sig"))
    assert task.asset == tmp_path.resolve() / "asset.glb"


@pytest.mark.parametrize("text", [f"[settings]\nseed = {'1' * 5000}\n{ONE}", "x = " + "[" * 100_000])
def test_what_no_reader_of_toml_takes_is_told_in_a_sentence(tmp_path, text):
    with pytest.raises(SettingsError, match="is not a TOML file") as caught:
        read_manifest(write(tmp_path, text))
    assert len(str(caught.value)) < 400


def test_a_start_before_every_scene_is_refused_before_anything_is_opened(tmp_path):
    with pytest.raises(SettingsError, match=r"frame_start in batch\.toml is -5") as caught:
        read_manifest(write(tmp_path, f"[settings]\nframe_start = -5\n{ONE}"))
    assert caught.value.hint == "Choose a frame from 0 on."
    assert read_manifest(write(tmp_path, f"[settings]\nframe_start = 0\n{ONE}"))


def test_a_server_in_the_folder_of_the_open_file_is_found_for_every_task(api, assets, server):
    shutil.copy(server.handshake, assets / "server.json")
    bpy.ops.wm.save_as_mainfile(filepath=str(assets / "open.blend"))
    manifest = write(assets, '[settings]\noutputs = ["motion"]\nviews = 1\n' + ONE)
    (outcome,) = api.batch(manifest, server="//server.json")
    assert outcome.error is None and outcome.output.is_file()
