"""The command line says in one sentence what is wrong, before it computes anything."""

import io
import os
import signal
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import Progress
from video_files import moving_square, write_video

from gvf_core import cli
from gvf_core.commands import animate, evaluate, outputs, train
from gvf_core.errors import SettingsError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.st", "video.mp4", "-o", "out.st"], "There is no file"),
        (["take [2].st", "video.mp4", "-o", "out.st"], "There is no file take [2].st."),
        (["a[b", "video.mp4", "-o", "[/out]/out.st"], "There is no folder [/out]. Create it"),
        (["asset.st", "gone.mp4", "-o", "out.st"], "There is no file gone.mp4."),
        (
            ["video.mp4", "video.mp4", "-o", "out"],
            "video.mp4 is neither a 3D file nor a capture. 3D files end in .glb,",
        ),
        (["asset.st", "video.mp4", "-o", "out"], "video.mp4 is not a readable video"),
        (["asset.st", "video.mp4", "-o", "missing/out.st"], "There is no folder missing. Create it"),
        (["asset.st", "video.mp4", "-o", "video"], "The output video is a file. Choose another folder."),
        (["asset.st", "video.mp4", "-o", "done"], "done holds preview.mp4 already. Choose another output, or"),
        (["asset.st", "video.mp4", "-o", "video.mp4"], "would replace the input video.mp4"),
        (["asset.st", "video.mp4", "-o", "asset.st", "--overwrite"], "would replace the input asset.st"),
        (["asset.st", "done/preview.mp4", "-o", "done", "--overwrite"], "would replace the input done/preview.mp4"),
        (["asset.st", "done/ply/frame_0000.ply", "-o", "done", "--overwrite"], "would replace the input done/ply"),
        (["asset.st", "video.mp4", "-o", "hero.glb"], "hero.glb looks like a file"),
        (["asset.st", "film.mp4", "-o", "video.st"], "video.st is there already"),
        (["asset.st", "film.mp4", "-o", "out.st", "--frame", "3"], "--frame is for 3D files"),
        (["asset.st", "film.mp4", "-o", "out.st", "--also", "film.mp4", "0", "120"], "The setting elevation is 120"),
        (["asset.st", "film.mp4", "-o", "out.st", "--also", "film.mp4", "0", "up"], "'0 up' is no view"),
        (["asset.st", "film.mp4", "-o", "/proc/out.st"], "Nothing can be written to /proc"),
        (["asset.st", "film.mp4", "-o", "out.st"], "asset.st is not a readable safetensors file"),
        (
            ["asset.st", "film.mp4", "-o", "out", "--engine", "diffusion", "--weights", "none"],
            "The set of weights none",
        ),
        (["asset.st", "video.mp4", "-o", "out.st", "--gaussians", "5"], "The setting gaussians is 5. Choose"),
        (["asset.st", "video.mp4", "-o", "out.st", "--azimuth", "nan"], "The setting azimuth is nan. Choose"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_1(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    for name in ("asset.st", "video.mp4", "video", "video.st", "done/preview.mp4", "done/ply/frame_0000.ply"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("no capture")
    write_video(tmp_path / "film.mp4", moving_square())
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["animate", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert sentence in said
    assert "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_character_that_the_output_cannot_hold_is_no_error(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "GVF_MODELS_DIR": str(tmp_path / "Gewichte für uns")}
    command = [sys.executable, "-m", "gvf_core.cli", "models", "list"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "Gewichte f?r uns" in listed.stdout.replace("\n", "")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no terminal that hangs up.")
@pytest.mark.parametrize(("handler", "status"), [("SIG_DFL", 128 + 1), ("SIG_IGN", 0)], ids=["closed", "nohup"])
def test_a_terminal_that_closes_ends_a_command_in_order_unless_nohup_keeps_it(handler, status):
    code = f"""
import os, signal, sys
from gvf_core import cli
signal.signal(signal.SIGHUP, signal.{handler})
cli.main(["models", "list"])
os.kill(os.getpid(), signal.SIGHUP)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == status


@pytest.mark.parametrize("arguments", [[], ["bench"], ["models"], ["bench", "everything"]])
def test_an_incomplete_command_prints_its_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: gvf")


@pytest.mark.parametrize("seed", ["-1", "2147483648", "9" * 30, "1.5", "nan"])
@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--assets", "a", "--out", "o"],
        ["models", "add-random", "--preset", "nano"],
        ["train", "prior", "data", "-o", "p.safetensors"],
    ],
    ids=lambda command: command[0],
)
def test_a_seed_out_of_range_is_refused_by_every_command(capsys, command, seed):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, f"--seed={seed}"])
    assert stopped.value.code == 2
    assert f"'{seed}' is no seed. Choose a whole number from 0 to 2147483647." in capsys.readouterr().err


def test_names_of_files_are_no_markup_in_the_progress(monkeypatch):
    for module, progress in ((evaluate, evaluate._progress_bar), (train, train._progress)):
        console = Console(file=io.StringIO(), force_terminal=True, width=120)
        monkeypatch.setattr(module, "CONSOLE", console)
        with progress() as bar:
            if isinstance(bar, Progress):
                bar.add_task("take [/2] [red]")
                bar.refresh()
            else:
                bar(0.5, "take [/2] [red]")
        assert "take [/2] [red]" in console.file.getvalue()


def test_bench_rasterizer_passes_its_options_on(capsys):
    assert cli.main(["bench", "rasterizer", "--gaussians", "50", "--size", "0"]) == 1
    assert capsys.readouterr().err.startswith("Error: The setting size is 0. Choose")


def test_results_take_the_place_of_earlier_ones_and_of_nothing_else(tmp_path):
    waiting, output = tmp_path / "waiting", tmp_path / "out"
    for name in ("animation.safetensors", "preview.mp4", "ply/frame_0000.ply", "ply/frame_0001.ply"):
        for folder, text in ((waiting, "new"), (output, "old")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    for name in ("frame_0002.ply", "frame_notes.ply", "frame_1.ply"):
        (output / "ply" / name).write_text("old")
    animate._put(waiting, output)
    found = {path.relative_to(output).as_posix(): path.read_text() for path in output.rglob("*") if path.is_file()}
    assert found == {
        **dict.fromkeys(("animation.safetensors", "preview.mp4", "ply/frame_0000.ply", "ply/frame_0001.ply"), "new"),
        **dict.fromkeys(("ply/frame_notes.ply", "ply/frame_1.ply"), "old"),
    }


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("asset.glb", "glTF", r"asset\.glb does not end in \.json"),
        ("notes.json", "Not figures.", r"notes\.json is there already and holds no figures"),
        ("deep.json", "[" * 100_000, "holds no figures"),
        ("binary.json", "\0\xff", "holds no figures"),
        ("package.json", '{"name": "mine", "rows": []}', "holds no figures"),
        ("other.json", '[{"sizes": 1, "rows": []}, {"rows": []}]', "holds no figures"),
        ("list.json", "[[]]", "holds no figures"),
    ],
)
def test_figures_replace_nothing_but_figures(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(SettingsError, match=sentence):
        outputs.check_figures(tmp_path / name, ("sizes", "rows"))
    (tmp_path / "link.json").symlink_to(tmp_path / name)
    with pytest.raises(SettingsError, match="holds no figures"):
        outputs.check_figures(tmp_path / "link.json", ("sizes", "rows"))
    for figures in ("", '{"rows": [], "sizes": {}}', '[{"rows": [], "sizes": {}}]'):
        (tmp_path / "figures.json").write_text(figures)
        outputs.check_figures(tmp_path / "figures.json", ("sizes", "rows"))
    outputs.check_figures(tmp_path / "new.json", ("sizes", "rows"))


def test_results_go_into_no_folder_of_other_files(tmp_path):
    (tmp_path / "report.md").write_text("Mine.")
    with pytest.raises(SettingsError, match="holds other files"):
        outputs.check_results_folder(tmp_path)
    outputs.check_results_folder(tmp_path / "new")
    with outputs.alone_in(tmp_path / "new"):
        (tmp_path / "new" / "report.md").write_text("Ours.")
    outputs.check_results_folder(tmp_path / "new")


def test_an_output_belongs_to_one_run_at_a_time(tmp_path):
    with outputs.reserved(tmp_path / "out"):
        with pytest.raises(SettingsError, match="Another program"), outputs.reserved(tmp_path / "out"):
            pass
        with outputs.reserved(tmp_path / "other"):
            pass
    assert list(tmp_path.iterdir()) == []
