"""Clips are evaluated in processes of their own, whose number changes nothing; what is kept is kept for good reason."""

import dataclasses
import json

import numpy as np
import pytest
from evaluated_bodies import body_task

from gvf_core.commands.evaluate import _asset_sha256
from gvf_core.errors import CaptureError, FileFormatError, FileNotWrittenError
from gvf_core.evaluation import clip_jobs, existing_asset
from gvf_core.evaluation.clip_jobs import Outcome, run_clips
from gvf_core.evaluation.existing_asset import evaluate_clip


def silent(fraction: float, clips: str) -> None:
    """Shows no progress."""


def comparable(row: dict) -> dict:
    """A row without what no two runs have in common."""
    figures = {name: value for name, value in row["figures"].items() if name != "stage_seconds"}
    return {**row, "figures": figures, "seconds": None, "peak_memory_mb": None}


def test_two_processes_at_a_time_find_the_figures_that_one_alone_finds(tmp_path):
    engines = ("fit", "rigid-only")
    alone = body_task(tmp_path / "alone", "Bow", engines)
    both = [body_task(tmp_path / "both", "Bow", engines), body_task(tmp_path / "both", "Arch", engines, -0.7)]
    assert run_clips(iter([alone]), 1, 1, silent) == [Outcome(alone)]
    assert run_clips(iter(both), 2, 2, silent) == [Outcome(task) for task in both]
    for engine in engines:
        assert alone.is_measured(engine)
        assert comparable(alone.kept(engine)) == comparable(both[0].kept(engine))
        assert alone.kept(engine)["ratio_all"] != both[1].kept(engine)["ratio_all"]


def test_an_engine_that_breaks_down_costs_its_own_row(tmp_path, monkeypatch, caplog):
    run = existing_asset._run

    def breaking(engine, task, film, monitor):
        found = run(engine, task, film, monitor)
        if engine == "unmoved":
            raise RuntimeError("out of memory")
        if engine == "rest-depth":
            found.vertices[1, 0, 0] = np.nan
        return found

    monkeypatch.setattr(existing_asset, "_run", breaking)
    task = body_task(tmp_path, "Bow", ("unmoved", "rest-depth", "rigid-only"))
    evaluate_clip(task)
    assert "The engine broke down (RuntimeError('out of memory'))" in task.kept("unmoved")["failure"]
    assert "out of memory" in caplog.text
    assert task.kept("rest-depth")["failure"] == "1 places of vertices are not finite."
    assert task.kept("rigid-only")["ratio_all"] < 1
    assert [task.is_measured(engine) for engine in task.engines] == [False, False, True]
    monkeypatch.setattr(existing_asset, "_run", run)
    kept = task.result_file("rigid-only").stat().st_mtime_ns
    evaluate_clip(task)
    assert all(task.is_measured(engine) for engine in task.engines)
    assert kept == task.result_file("rigid-only").stat().st_mtime_ns


def test_a_kept_row_cut_off_or_of_another_kind_is_made_again(tmp_path):
    task = body_task(tmp_path, "Bow", ("unmoved",))
    task.keep("unmoved", {"ratio_all": 1.0})
    text = task.result_file("unmoved").read_text()
    assert task.is_measured("unmoved")
    for wrong in (text[: len(text) // 2], "[]", "null", ""):
        task.result_file("unmoved").write_text(wrong)
        assert task.kept("unmoved") is None


def test_a_row_is_kept_for_the_same_weights_only_and_tells_the_family_of_today(tmp_path):
    task = body_task(tmp_path, "Bow", ("fit", "unmoved"), weights={"fit": "prior 1", "unmoved": ""})
    for engine in task.engines:
        task.keep(engine, {**task.label(engine), "ratio_all": 1.0})
    other = dataclasses.replace(task, weights={"fit": "prior 2", "unmoved": ""})
    assert other.kept("fit") is None and other.is_measured("unmoved")
    asset = dataclasses.replace(task.choice.asset, family="crates")
    renamed = dataclasses.replace(task, choice=dataclasses.replace(task.choice, asset=asset))
    assert renamed.kept("fit")["family"] == "crates"


def test_another_version_of_the_package_reads_and_measures_again(tmp_path, monkeypatch):
    task = body_task(tmp_path, "Bow", ("unmoved",))
    task.keep("unmoved", {"ratio_all": 1.0})
    before = task.input_key()
    monkeypatch.setattr("gvf_core.__version__", "99")
    assert not task.is_measured("unmoved") and task.input_key() != before


def test_a_gltf_is_another_asset_when_a_file_that_it_names_changes(tmp_path):
    scene = tmp_path / "fox.gltf"
    scene.write_text(json.dumps({"buffers": [{"uri": "red%20fox.bin"}], "images": [{"uri": "data:,"}, {"name": "in"}]}))
    (tmp_path / "red fox.bin").write_bytes(b"runs")
    before = _asset_sha256(scene)
    (tmp_path / "red fox.bin").write_bytes(b"sits")
    assert _asset_sha256(scene) != before
    for broken in ("[1]", "{", '{"buffers": 3}', '{"buffers": [{"uri": 3}]}'):
        scene.write_text(broken)
        assert len(_asset_sha256(scene)) == 64


def test_an_asset_that_cannot_be_read_is_an_error_of_that_asset(tmp_path):
    with pytest.raises(FileFormatError, match="cannot be read"):
        _asset_sha256(tmp_path)


def test_names_that_are_alike_when_put_together_have_files_of_their_own(tmp_path):
    def slug(asset: str, clip: str) -> str:
        task = body_task(tmp_path, "Bow", ())
        named = dataclasses.replace(task.choice.asset, name=asset)
        return dataclasses.replace(task, choice=dataclasses.replace(task.choice, asset=named, clip=clip)).slug

    assert slug("fox red", "Run") != slug("fox", "red Run")


@pytest.mark.parametrize("cut", ["clip", "capture"])
def test_inputs_cut_off_are_read_again(tmp_path, monkeypatch, cut):
    task = body_task(tmp_path, "Bow", ("unmoved",))
    path = tmp_path / "inputs" / f"{task.slug}.safetensors"
    whole = {each: each.read_bytes() for each in (path, path.with_suffix("").with_suffix(".capture.safetensors"))}
    broken = list(whole)[cut == "capture"]
    broken.write_bytes(whole[broken][:200])
    asked = []

    def reading(asset, clip, output, **options):
        assert not path.with_suffix(".key").exists()
        asked.append(options.get("views", 0))
        for each, content in whole.items():
            each.write_bytes(content)

    monkeypatch.setattr(existing_asset, "read_clip", reading)
    evaluate_clip(task)
    assert asked == [0, 4] and task.is_measured("unmoved")
    assert path.with_suffix(".key").read_text() == task.input_key()


def test_a_run_that_is_stopped_while_it_reads_leaves_no_inputs_that_pass_for_others(tmp_path, monkeypatch):
    task = body_task(tmp_path, "Bow", ("unmoved",))
    shorter = dataclasses.replace(task, options=dataclasses.replace(task.options, frames=2))

    def stopped(asset, clip, output, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(existing_asset, "read_clip", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate_clip(shorter)
    with pytest.raises(KeyboardInterrupt):
        evaluate_clip(task)


def test_words_of_an_earlier_run_do_not_outlive_its_figures(tmp_path):
    task = body_task(tmp_path, "Bow", ("unmoved",))
    task.words_file("unmoved").write_bytes(b"of other settings")
    evaluate_clip(task)
    assert task.is_measured("unmoved") and not task.words_file("unmoved").exists()


# How the work on a clip ends, in this process


class Sent:
    """The end of a pipe that keeps what is sent."""

    def __init__(self) -> None:
        self.messages = []

    def send(self, message) -> None:
        self.messages.append(message)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "ending"),
    [(CaptureError("It hardly moves."), "refused"), (FileNotWrittenError("The disk is full."), "failed")],
)
def test_only_a_clip_that_cannot_be_used_is_replaced_by_another(tmp_path, monkeypatch, error, ending):
    def evaluating(task, on_progress):
        raise error

    monkeypatch.setattr(existing_asset, "evaluate_clip", evaluating)
    monkeypatch.setattr(clip_jobs.signal, "signal", lambda *handler: None)
    sent = Sent()
    clip_jobs._work(sent, body_task(tmp_path, "Bow", ("unmoved",)))
    assert sent.messages == [(ending, str(error))]


def test_rows_are_strict_json(tmp_path):
    task = body_task(tmp_path, "Bow", ("unmoved", "rigid-only"))
    evaluate_clip(task)

    def refuse(constant):
        raise AssertionError(constant)

    for engine in task.engines:
        json.loads(task.result_file(engine).read_text(), parse_constant=refuse)
