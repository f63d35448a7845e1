"""Configurations of a training: packaged ones are complete, mistakes in one's own are named."""

import pytest

from gvf_core.errors import SettingsError
from gvf_core.training.settings import PACKAGED, load_training_settings


def test_the_papers_values_are_the_default_configuration():
    paper = load_training_settings("paper")
    assert paper.preset == "full"
    assert (paper.appearance.lpips, paper.appearance.ssim) == (0.2, 0.2)
    assert (paper.motion.mesh_guided, paper.motion.kl, paper.motion.points) == (1.0, 1e-6, 8192)
    assert (paper.static.loop.steps, paper.motion.loop.steps, paper.diffusion.loop.steps) == (
        150_000,
        200_000,
        1_300_000,
    )
    assert paper.motion.loop.learning_rate == 5e-5
    assert paper.motion.static_factor * paper.motion.loop.learning_rate == pytest.approx(
        paper.static.loop.learning_rate
    )
    assert paper.static.freeze_encoder
    assert paper.diffusion.frames == 24


@pytest.mark.parametrize("name", PACKAGED)
def test_an_override_changes_one_value(name):
    changed = load_training_settings(name, ["motion.loop.steps=7", "static.image_encoder=some/where", "static.kl=0"])
    assert changed.motion.loop.steps == 7
    assert changed.static.image_encoder == "some/where"
    assert changed.static.kl == 0.0
    assert changed.diffusion == load_training_settings(name).diffusion


def test_a_file_may_give_only_what_differs(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('extends = "nano"\n[motion]\nframes = 3\n[motion.loop]\nseed = 5\n')
    own, nano = load_training_settings(str(path)), load_training_settings("nano")
    assert (own.motion.frames, own.motion.loop.seed) == (3, 5)
    assert own.static == nano.static
    assert own.motion.points == nano.motion.points


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["motion.frame=3"], "no setting motion.frame"),
        (["nothing.steps=3"], "no setting 'nothing.steps'"),
        (["motion.frames"], "sets nothing"),
        (["motion.frames=three"], "motion.frames is 'three'"),
        (["motion.frames=0"], "motion.frames is 0"),
        (["motion.drop_path=1.5"], "motion.drop_path is 1.5"),
        (["motion.loop.optimizer=sgd"], "motion.loop.optimizer is 'sgd'"),
        (["motion.rotate=1"], "motion.rotate is 1"),
        (["motion.loop=3"], "motion.loop is 3"),
        (["motion.loop.learning_rate=inf"], "motion.loop.learning_rate is inf"),
        (["motion.loop.learning_rate=0"], "motion.loop.learning_rate is 0"),
        (["motion.loop.clip=nan"], "motion.loop.clip is nan"),
        (["motion.loop.average=1"], "motion.loop.average is 1"),
        (["motion.drop_path=1"], "motion.drop_path is 1"),
    ],
)
def test_a_mistake_is_named(overrides, message):
    with pytest.raises(SettingsError, match=message):
        load_training_settings("nano", overrides)


def test_a_file_that_is_no_configuration_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no configuration"):
        load_training_settings("other")
    path = tmp_path / "own.toml"
    path.write_text("motion = [")
    with pytest.raises(SettingsError, match="not readable TOML"):
        load_training_settings(str(path))
    path.write_text('preset = "nano"\n')
    with pytest.raises(SettingsError, match="is missing"):
        load_training_settings(str(path))
