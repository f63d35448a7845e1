"""All stages of a small run through the command line, one after the other, and what the finished run refuses."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import pytest
from safetensors.torch import load_file, save_file

from gvf_core.errors import FileFormatError, SettingsError, WeightsError
from gvf_core.settings import AnimateSettings
from gvf_core.training import run as run_module
from gvf_core.training.clip_record import write_clip
from gvf_core.training.encoded_clip import origin_of, read_encoded_clip, write_encoded_clip
from tests.unit.bending_box import bending_box, write_boxes
from tests.unit.test_training_run import gvf_train

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

STAGES = ("static", "motion", "diffusion")
_BRIEF = [f"{stage}.loop.{name}=1" for stage in STAGES for name in ("batch", "report_every", "picture_every")]
_LITTLE = ["appearance.size=16", "static.feature_views=1", "motion.frames=1", "motion.pictures=1", "motion.points=128"]
_FEW = ["diffusion.frames=2", "diffusion.static_tokens=64", *(f"{stage}.loop.workers=0" for stage in STAGES)]
_QUICK = ["static.loop.optimizer=adamw", "diffusion.loop.optimizer=adamw"]
OVERRIDES = [part for value in (*_BRIEF, *_LITTLE, *_FEW, *_QUICK) for part in ("--set", value)]


def step(action: str, walk: tuple[Path, Path], *options: object) -> int:
    """One command of the walk; a stage makes one update of its weights."""
    brief = ["--set", f"{action}.loop.steps=1"] if action in STAGES else []
    return gvf_train(action, *walk, "--config", "nano", *OVERRIDES, *brief, *options)


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("walk")
    walk = write_boxes(folder / "data", count=2), folder / "run"
    for action in ("static", "motion", "encode", "diffusion"):
        assert step(action, walk) == 0
    return walk


def test_every_stage_leaves_weights_losses_and_a_picture_of_what_it_has_learnt(walk, tmp_path, monkeypatch):
    _, run = walk
    for stage in STAGES:
        (line,) = (run / stage / "log" / "reports.jsonl").read_text().splitlines()
        assert json.loads(line)["total"] > 0
        picture = cv2.imread(str(run / stage / "log" / "newest.png"))
        # White where there is nothing; and something is there.
        assert picture.max() == 255 and picture.min() < 200
        assert picture.shape[1] > picture.shape[0] // 2
    monkeypatch.setattr(run_module, "AnimateSettings", partial(AnimateSettings, sampler="multistep", steps=2))
    scores = tmp_path / "scores.json"
    assert step("evaluate", walk, "--output", scores) == 0
    (score,) = json.loads(scores.read_text())
    assert score["name"] == "other" and score["reconstructed"] > 0 and len(score["sampled"]) == 1
    # Scores give way to newer ones: what stops this is another thing.
    with pytest.raises(SettingsError, match="no setting nothing"):
        step("evaluate", walk, "--output", scores, "--set", "nothing=1")


def test_what_is_encoded_already_is_not_encoded_again(walk):
    data, run = walk
    files = sorted((run / "latents").rglob("*.safetensors"))
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    kept = (data / "train" / "box0.safetensors").read_bytes()
    write_clip(data / "train", bending_box("box0", amount=-1.0))
    try:
        assert step("encode", walk) == 0
        changed = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    finally:
        (data / "train" / "box0.safetensors").write_bytes(kept)
        assert step("encode", walk) == 0
    assert len(files) == 3
    assert [file.stem for file, old, new in zip(files, before, changed, strict=True) if old != new] == ["box0"]


def test_no_diffusion_learns_from_latents_of_another_vae(walk):
    _, run = walk
    weights = run / "weights" / "variation_vae.safetensors"
    kept = weights.read_bytes()
    save_file({name: 0.9 * tensor for name, tensor in load_file(weights).items()}, weights)
    try:
        with pytest.raises(FileFormatError, match=r"2 of 2 encoded clips .* gvf train encode"):
            step("diffusion", walk, "--resume")
    finally:
        weights.write_bytes(kept)


def test_an_encoding_that_was_stopped_half_way_is_not_learnt_from(walk, monkeypatch):
    _, run = walk
    kept = {path: path.read_bytes() for path in (run / "weights").glob("*.pt")}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gvf_core.training.latent_encoding.encode_clips", stop)
    with pytest.raises(KeyboardInterrupt):
        step("encode", walk)
    try:
        with pytest.raises(WeightsError, match="gvf train encode"):
            step("diffusion", walk, "--resume")
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert len(kept) == 4


def test_the_static_vae_stays_as_the_motion_knows_it(walk):
    _, run = walk
    before = (run / "weights" / "static_vae.safetensors").stat().st_mtime_ns
    with pytest.raises(SettingsError, match=r"motion .* has begun"):
        step("static", walk, "--resume", "--set", "static.loop.steps=2")
    assert (run / "weights" / "static_vae.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["motion.loop.learning_rate=1e-3", "appearance.l1=0.5"])
def test_a_training_goes_on_only_with_the_settings_that_it_began_with(walk, change):
    with pytest.raises(SettingsError, match=rf"{change.partition('=')[0]} was .* and is"):
        step("motion", walk, "--resume", "--set", change)


def test_a_training_may_be_made_longer(walk):
    _, run = walk
    assert step("diffusion", walk, "--resume", "--set", "diffusion.loop.steps=2") == 0
    assert len((run / "diffusion" / "log" / "reports.jsonl").read_text().splitlines()) == 2


def test_encoded_clips_say_what_they_were_made_from(walk):
    _, run = walk
    origins = [origin_of(path) for path in sorted((run / "latents").rglob("*.safetensors"))]
    assert len({origin.clip for origin in origins}) == 3
    assert len({(origin.vaes, origin.inputs) for origin in origins}) == 1
    assert origin_of(run / "nothing.safetensors") is None


def test_the_diffusion_goes_on_where_the_prepared_clips_are_not(walk):
    data, run = walk
    elsewhere = data.with_name("nothing"), run
    assert step("diffusion", elsewhere, "--resume", "--set", "diffusion.loop.steps=3") == 0


def test_the_diffusion_goes_on_only_with_the_vaes_that_it_began_with(walk):
    _, run = walk
    (progress,) = (run / "diffusion" / "state").glob("*.json")
    kept = progress.read_text()
    told = json.loads(kept)
    told["settings"]["hash of the VAEs"] = "another"
    progress.write_text(json.dumps(told))
    try:
        with pytest.raises(SettingsError, match="hash of the VAEs was 'another'"):
            step("diffusion", walk, "--resume")
    finally:
        progress.write_text(kept)


def test_a_training_goes_on_only_with_the_clips_that_it_began_with(walk, tmp_path):
    data, run = walk
    others = shutil.copytree(data, tmp_path / "data")
    clip = next((others / "train").glob("*.safetensors"))
    clip.rename(clip.with_name(f"another_{clip.name}"))
    with pytest.raises(SettingsError, match="training clips was '"):
        step("motion", (others, run), "--resume")


def test_a_training_goes_on_with_no_other_clips_of_the_same_names(walk, tmp_path):
    data, run = walk
    others = shutil.copytree(data, tmp_path / "data")
    write_clip(others / "train", bending_box("box0", amount=-1.0))
    with pytest.raises(SettingsError, match="training clips was '"):
        step("motion", (others, run), "--resume")


def test_the_diffusion_goes_on_with_no_other_latents_of_the_same_names(walk):
    _, run = walk
    path = next((run / "latents" / "train").glob("*.safetensors"))
    kept = path.read_bytes()
    write_encoded_clip(path, read_encoded_clip(path), replace(origin_of(path), clip="of another preparation"))
    try:
        with pytest.raises(SettingsError, match="training clips was '"):
            step("diffusion", walk, "--resume")
    finally:
        path.write_bytes(kept)


def test_a_training_goes_on_only_with_the_image_loss_that_it_began_with(walk):
    _, run = walk
    told = json.loads((run / "motion" / "state" / "progress.json").read_text())["settings"]
    assert told["LPIPS in use"] is False
