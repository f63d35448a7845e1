"""`gvf animate` on a 3D file: every output of the main job, by a process of its own, from small untrained networks."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from gvf_core.export import read_ply

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module"),
    pytest.mark.timeout(600),
]
FRAMES = 4
OPTIONS = ("--engine", "diffusion", "--weights", "untrained", "--views", "4", "--azimuth", "45", "--elevation", "15")
QUICK = ("--max-frames", str(FRAMES), "--sampler", "multistep", "--steps", "1")


@pytest.fixture(scope="module")
def run(random_weights, examples, tmp_path_factory):
    """The finished process and its folder of results."""
    folder = tmp_path_factory.mktemp("animate")
    environment = os.environ | {"GVF_MODELS_DIR": str(random_weights), "GVF_CACHE_DIR": str(folder / "latents")}
    command = [sys.executable, "-m", "gvf_core.cli", "animate", examples / "shark.glb", examples / "shark.mp4"]
    process = subprocess.run(
        [*map(str, command), "-o", str(folder / "out"), *OPTIONS, *QUICK],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process, folder / "out"


def test_it_says_what_it_wrote_and_that_it_is_no_result(run):
    process, output = run
    assert "Warning: The weights gvf-dit, " in process.stderr
    assert "were never trained: this exercises the chain and is no result." in process.stderr
    assert f"Wrote {output / 'animation.safetensors'}" in process.stderr
    assert process.stdout == ""


def test_the_folder_holds_every_form_of_the_result(run):
    _, output = run
    assert sorted(path.name for path in output.iterdir()) == [
        "animation.safetensors",
        "ply",
        "preview.mp4",
        "report.json",
        "result.blend",
    ]
    files = sorted((output / "ply").iterdir())
    assert [path.name for path in files] == [f"frame_{index:04d}.ply" for index in range(FRAMES)]
    with av.open(str(output / "preview.mp4")) as container:
        assert len(list(container.decode(video=0))) == FRAMES


def test_the_report_tells_weights_times_memory_and_inputs(run):
    _, output = run
    report = json.loads((output / "report.json").read_text())
    assert report["engine"] == "diffusion" and report["is_result"] is False
    assert {entry["origin"] for entry in report["weights"].values()} == {"random"}
    assert report["gaussians"] == 8 * report["voxels"]
    assert set(report["seconds"]) == {
        *("Reading the video", "Loading the engine", "Making Gaussians"),
        *("Finding the view", "Finding motion", "Moving the mesh"),
    }
    assert report["frames"] == FRAMES and report["views"] == 4
    assert len(report["inputs"]["asset"]["sha256"]) == 64


def test_the_ply_files_and_the_blend_file_show_the_same_gaussians(run):
    import bpy

    _, output = run
    bpy.ops.wm.open_mainfile(filepath=str(output / "result.blend"))
    report = json.loads((output / "report.json").read_text())
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end) == (1, FRAMES)
    points = next(thing for thing in bpy.data.objects if thing.name.endswith("(random weights) points"))
    splats = next(thing for thing in bpy.data.objects if thing.name.endswith("(random weights) splats"))
    assert len(splats.data.vertices) == report["gaussians"]
    assert points.matrix_world == splats.matrix_world
    for index in (0, FRAMES - 1):
        scene.frame_set(1 + index)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        mesh = splats.evaluated_get(depsgraph)
        centers = np.array(
            [
                np.array(instance.matrix_world)[:3, 3]
                for instance in depsgraph.object_instances
                if instance.is_instance and instance.parent.original == mesh.original
            ]
        )
        means = read_ply(output / "ply" / f"frame_{index:04d}.ply").means.numpy()
        distances = np.linalg.norm(centers - centers.mean(0), axis=1).mean()
        expected = np.linalg.norm(means - means.mean(0), axis=1).mean()
        assert distances == pytest.approx(expected * _unit_scale(output), rel=1e-3)


def _unit_scale(output: Path) -> float:
    from safetensors.numpy import load_file

    return float(np.linalg.norm(load_file(output / "animation.safetensors")["world_from_unit"][:3, 0]))


def test_results_are_not_overwritten_unasked(run, examples):
    _, output = run
    before = (output / "report.json").read_bytes()
    command = [sys.executable, "-m", "gvf_core.cli", "animate", examples / "shark.glb", examples / "shark.mp4"]
    process = subprocess.run([*map(str, command), "-o", str(output)], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "holds animation.safetensors already" in process.stderr
    assert (output / "report.json").read_bytes() == before
