"""Kept figures belong to the weights that made them, and an engine without its weights leaves the others alone."""

import dataclasses
import shutil

import pytest
from evaluated_bodies import SETTINGS, body_task

from gvf_core.commands.evaluate import _weights
from gvf_core.errors import WeightsError
from gvf_core.evaluation.engine_weights import weights_of_engine
from gvf_core.evaluation.existing_asset import evaluate_clip
from gvf_core.models import motion_prior
from gvf_core.models.random_weights import add_random
from gvf_core.models.registry import checkpoint
from gvf_core.models.store import Store

UNTRAINED = dataclasses.replace(SETTINGS, weights="untrained", sampler="multistep", steps=2)


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path / "models"))


def test_figures_of_fit_depend_on_the_motion_prior_that_comes_with_the_package(no_weights, monkeypatch, tmp_path):
    before = {engine: weights_of_engine(engine, SETTINGS) for engine in ("fit", "auto", "unmoved", "rigid-only")}
    assert before["fit"] == before["auto"] != before["unmoved"] == before["rigid-only"] == ""
    shipped = motion_prior.shipped_prior_sha256()
    assert len(shipped) == 64 and shipped in before["fit"]
    (tmp_path / "prior").write_bytes(b"trained for longer")
    monkeypatch.setattr(motion_prior, "SHIPPED", tmp_path / "prior")
    assert weights_of_engine("fit", SETTINGS) != before["fit"]
    monkeypatch.setattr(motion_prior, "SHIPPED", tmp_path / "none")
    assert motion_prior.shipped_prior_sha256() == ""


def test_figures_of_diffusion_depend_on_every_network_of_the_chosen_set(random_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_MODELS_DIR", str(random_weights))
    before = weights_of_engine("diffusion", UNTRAINED)
    assert weights_of_engine("diffusion+refine", UNTRAINED) == before
    assert len(before.split()) > 4
    shutil.copytree(random_weights, tmp_path / "models")
    add_random(Store(tmp_path / "models").of_set("untrained"), "nano", 1, [checkpoint("gvf-dit")])
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path / "models"))
    assert weights_of_engine("diffusion", UNTRAINED) != before


def test_engines_that_cannot_run_are_named_with_the_reason_and_the_others_run(no_weights, capsys):
    weights, unable = _weights(("unmoved", "diffusion", "fit"), SETTINGS)
    assert list(weights) == ["unmoved", "fit"]
    assert list(unable) == ["diffusion"] and "gvf models download" in unable["diffusion"]
    assert "diffusion is not measured. The set of weights released lacks" in " ".join(capsys.readouterr().err.split())


def test_where_no_engine_can_run_the_first_ones_error_is_raised(no_weights):
    with pytest.raises(WeightsError, match="The set of weights mine lacks"):
        _weights(("diffusion", "diffusion+refine"), dataclasses.replace(SETTINGS, weights="mine"))


def test_a_set_of_ones_own_weights_is_measured(random_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_MODELS_DIR", str(random_weights))
    weights, unable = _weights(("diffusion",), UNTRAINED)
    assert not unable
    task = body_task(tmp_path, "Bow", ("diffusion",), settings=UNTRAINED, weights=weights)
    evaluate_clip(task)
    row = task.kept("diffusion")
    assert "failure" not in row and row["figures"]["engine_used"] == "diffusion"
    assert any("untrained" in warning or "random" in warning for warning in row["warnings"])
    assert task.is_measured("diffusion")
