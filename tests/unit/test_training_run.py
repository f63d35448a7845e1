"""A run of all stages: what each needs of the one before, and that its weights are a set for the engine."""

import argparse
import sys
from dataclasses import replace

import pytest
import torch

from gvf_core.commands import train
from gvf_core.commands.outputs import alone_in
from gvf_core.errors import FileFormatError, SettingsError, WeightsError
from gvf_core.models import model_set
from gvf_core.models.model_set import Statistics, open_model_set
from gvf_core.models.posterior import Posterior
from gvf_core.models.presets import create, load
from gvf_core.models.random_weights import ENCODERS, random_image_encoder
from gvf_core.models.registry import FOR_ANIMATING
from gvf_core.models.roles import Role
from gvf_core.models.static_vae import SlatParams, StaticVae
from gvf_core.models.store import Store, default_store
from gvf_core.training.draws import generator_of
from gvf_core.training.encoded_clip import (
    EncodedClip,
    Origin,
    encoded_paths,
    read_encoded_clip,
    remove_others,
    write_encoded_clip,
)
from gvf_core.training.exported import (
    DIT,
    IMAGE_ENCODER,
    STATIC_VAE,
    VARIATION_VAE,
    check_dit,
    install_run,
    read_statistics,
    save_dit,
    save_image_encoder,
    save_part,
    save_statistics,
    vaes_digest,
)
from gvf_core.training.interpolating_start import start_interpolating
from gvf_core.training.motion_examples import moving_points
from gvf_core.training.run import Run
from gvf_core.training.run_folder import RunFolder
from gvf_core.training.settings import load_training_settings
from gvf_core.training.static_start import load_start
from tests.unit.bending_box import bending_box, write_boxes
from tests.unit.small_stages import ENCODER


@pytest.fixture(autouse=True)
def new_accelerator():
    """Processes keep the precision that they began with."""
    yield
    if (state := sys.modules.get("accelerate.state")) is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)


def gvf_train(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    train.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["train", *map(str, arguments)])
    return parsed.run(parsed)


@pytest.fixture
def weights(tmp_path):
    """What a run of all stages exports, untrained."""
    folder = tmp_path / "run" / "weights"
    for role, name in ((Role.STATIC_VAE, STATIC_VAE), (Role.VARIATION_VAE, VARIATION_VAE), (Role.VARIATION_DIT, DIT)):
        save_part(create(role, "nano").state_dict(), "", folder / name)
    encoder = random_image_encoder(ENCODERS["nano"])
    state = {f"{IMAGE_ENCODER}.{name}": tensor for name, tensor in encoder.state_dict().items()}
    save_image_encoder(encoder, state, folder / IMAGE_ENCODER)
    save_statistics(Statistics(torch.zeros(14), torch.ones(14), torch.zeros(16), torch.full((16,), 2.0)), folder)
    return folder


def test_an_exported_run_is_a_set_that_the_engine_opens(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(model_set, "_open", [])
    assert gvf_train("install", weights.parent, "--set", "mine") == 0
    models = open_model_set("mine", torch.device("cpu"))
    assert models.remark == ""
    assert models.image_encoder.sizes.image == 224
    assert models.variation_vae.params.latents == 128
    assert models.statistics.latent_std.tolist() == [2.0] * 16
    stored = list((tmp_path / "models" / "sets" / "mine").rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in stored) < 40e6


@torch.no_grad()
def test_an_installed_run_gives_nearly_what_its_weights_give(weights, tmp_path):
    (name,) = (entry.name for entry in FOR_ANIMATING if entry.role is Role.VARIATION_VAE)
    exact, record = create(Role.VARIATION_VAE, "nano"), bending_box()
    # What this start is fitted to cancels out in large numbers: rounding shows there first.
    start_interpolating(exact, generator_of(0))
    save_part(exact.state_dict(), "", weights / VARIATION_VAE)
    store = Store(tmp_path / "models")
    install_run(weights, store)
    halved = load(Role.VARIATION_VAE, store.weights_file(name), "nano")
    points, displacements = moving_points(record, range(len(record.points)), 256, generator_of(0))
    vectors = torch.zeros(256, 14)
    vectors[:, :3] = torch.from_numpy(record.points[0, 256:])
    vectors[:, 6], vectors[:, 10] = 0.9, 1
    expected, found = (
        vae.decode(
            vae.encode(vectors[None], torch.tensor([256]), points[None], displacements[None]).posterior.mean,
            vectors[None],
        )[..., :3]
        for vae in (exact, halved)
    )
    assert expected.norm(dim=-1).mean() > 0.01
    assert (found - expected).norm(dim=-1).mean() < 0.03 * expected.norm(dim=-1).mean()


def test_an_image_encoder_of_another_width_is_refused(tmp_path):
    data, encoder = write_boxes(tmp_path / "data", count=1), random_image_encoder(ENCODER)
    state = {f"{IMAGE_ENCODER}.{name}": tensor for name, tensor in encoder.state_dict().items()}
    save_image_encoder(encoder, state, tmp_path / "encoder")
    options = ("--config", "nano", "--set", f"static.image_encoder={tmp_path / 'encoder'}")
    with pytest.raises(SettingsError, match="gives 24 channels; networks of this preset take 384"):
        gvf_train("static", data, tmp_path / "run", *options)


def test_a_dit_that_learnt_latents_of_other_vaes_is_not_installed(weights, tmp_path):
    dit = create(Role.VARIATION_DIT, "nano").state_dict()
    save_dit(dit, "", weights, vaes_digest(weights), read_statistics(weights))
    check_dit(weights)
    other = create(Role.VARIATION_VAE, "nano").state_dict()
    save_part({name: tensor + 1 for name, tensor in other.items()}, "", weights / VARIATION_VAE)
    with pytest.raises(WeightsError, match="latents of other VAEs"):
        install_run(weights, Store(tmp_path / "models"))
    assert not (tmp_path / "models").exists()


def test_a_dit_that_learnt_latents_of_other_clips_is_not_installed(weights, tmp_path):
    dit, learnt = create(Role.VARIATION_DIT, "nano").state_dict(), read_statistics(weights)
    save_dit(dit, "", weights, vaes_digest(weights), learnt)
    save_statistics(replace(learnt, latent_std=2 * learnt.latent_std), weights)
    with pytest.raises(WeightsError, match="latents of other clips, with other statistics"):
        install_run(weights, Store(tmp_path / "models"))
    assert not (tmp_path / "models").exists()


def test_a_run_without_its_last_stage_is_not_installed(weights, tmp_path):
    (weights / DIT).unlink()
    with pytest.raises(WeightsError, match=DIT):
        install_run(weights, default_store().of_set("other"))
    (weights / "static_std.pt").unlink()
    with pytest.raises(WeightsError, match="gvf train encode"):
        read_statistics(weights)


@pytest.mark.parametrize(
    ("stage", "message"),
    [("motion", "gvf train static"), ("encode", "gvf train static"), ("diffusion", "gvf train encode")],
)
def test_a_stage_names_the_one_that_is_missing(stage, message, tmp_path):
    data = write_boxes(tmp_path / "data", count=1)
    with pytest.raises(FileFormatError, match=message):
        gvf_train(stage, data, tmp_path / "run", "--config", "nano")
    with pytest.raises(FileFormatError, match="gvf train"):
        gvf_train(stage, tmp_path / "nothing", tmp_path / "run", "--config", "nano")


def test_a_training_is_not_begun_anew_over_another(tmp_path):
    data = write_boxes(tmp_path / "data", count=1)
    state = tmp_path / "run" / "static" / "state"
    state.mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"holds a training already.*--resume"):
        gvf_train("static", data, tmp_path / "run", "--config", "nano")
    assert state.is_dir()


def test_a_motion_prior_is_not_begun_anew_over_another(tmp_path):
    file = tmp_path / "prior.safetensors"
    file.write_bytes(b"hours of work")
    with pytest.raises(SettingsError, match=r"already.*--resume"):
        gvf_train("prior", tmp_path, "-o", file)
    assert file.read_bytes() == b"hours of work"


def test_one_program_at_a_time_trains_in_a_run_whatever_the_stage(tmp_path):
    data = write_boxes(tmp_path / "data", count=1)
    with alone_in(tmp_path / "run"):
        for action in ("static", "motion", "encode", "diffusion"):
            with pytest.raises(SettingsError, match="Another program"):
                gvf_train(action, data, tmp_path / "run", "--config", "nano")
    with pytest.raises(FileFormatError, match="gvf train static"):
        gvf_train("motion", data, tmp_path / "run", "--config", "nano")


def test_a_frozen_encoder_needs_weights(tmp_path):
    static = load_training_settings("paper").static
    vae = StaticVae(SlatParams(feature_channels=12, width=24, blocks=2, heads=2))
    with pytest.raises(SettingsError, match=r"would stay random.*static\.freeze_encoder=false"):
        load_start(vae, static)
    load_start(vae, replace(static, freeze_encoder=False))


def test_a_training_that_goes_on_needs_no_first_weights(tmp_path):
    data = write_boxes(tmp_path / "data", count=1)
    settings = load_training_settings("nano", ["static.freeze_encoder=true"])
    run = Run(settings, data, RunFolder(tmp_path / "run"), torch.device("cpu"))
    with pytest.raises(SettingsError, match="would stay random"):
        run.stage("static")
    run.stage("static", goes_on=True)


def test_clips_to_test_on_are_no_clips_to_train_on(tmp_path):
    data = write_boxes(tmp_path / "data", count=0)
    for action in ("static", "encode"):
        with pytest.raises(FileFormatError, match=r"no prepared clips in .*train"):
            gvf_train(action, data, tmp_path / "run", "--config", "nano")


def test_missing_clips_are_told_before_missing_weights(tmp_path):
    for action in ("static", "motion", "encode", "evaluate"):
        with pytest.raises(FileFormatError, match="no prepared clips"):
            gvf_train(action, tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_no_released_set(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path / "models"))
    with pytest.raises(SettingsError, match="for the released weights"):
        gvf_train("install", weights.parent, "--set", "released")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("evaluate", "DATA", "RUN", "--clips", "-1"), "--clips"),
        (("evaluate", "DATA", "RUN", "--samples", "0"), "--samples"),
        (("evaluate", "DATA", "RUN", "--output", "nowhere/errors.json"), "no folder nowhere"),
        (("evaluate", "DATA", "RUN", "--output", "."), r"The output \. is a folder"),
        (("static", "DATA", "RUN", "--minutes", "0"), "--minutes is 0"),
        (("prior", "DATA", "-o", "nowhere/prior.safetensors"), "no folder nowhere"),
        (("prior", "DATA", "-o", "prior.safetensors", "--minutes", "nan"), "at least one step and some time"),
        (("evaluate-prior", "DATA", "--points", "0"), "--points is 0"),
    ],
)
def test_what_cannot_be_done_is_said_before_hours_of_work(options, message):
    with pytest.raises(SettingsError, match=message):
        gvf_train(*options)


def test_clips_that_were_removed_are_not_learnt_from(tmp_path):
    clip = EncodedClip(
        Posterior(torch.zeros(1, 2, 16), torch.zeros(1, 2, 16)),
        torch.zeros(2, 14),
        torch.zeros(2, 3),
        torch.zeros(1, 2, 4),
    )
    for name in ("cat", "dog"):
        write_encoded_clip(tmp_path / f"{name}.safetensors", clip, Origin(name, "vaes", "inputs"))
    remove_others(tmp_path, [tmp_path / "train" / "dog.safetensors"])
    assert [path.stem for path in encoded_paths(tmp_path)] == ["dog"]


def test_a_cut_encoded_clip_is_a_sentence(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(FileFormatError, match="gvf train encode"):
        read_encoded_clip(tmp_path / "cut.safetensors")


def test_training_starts_from_trellis_with_another_number_of_gaussians(tmp_path):
    static = load_training_settings("nano").static
    small = SlatParams(feature_channels=12, width=24, blocks=2, heads=2)
    given, vae = StaticVae(small), StaticVae(small)
    with torch.no_grad():
        for parameter in given.parameters():
            parameter.normal_()
    state = given.state_dict()
    encoder = {f"blocks.{n.removeprefix('encoder.')}": t for n, t in state.items() if n.startswith("encoder.")}
    encoder |= {"input_layer.weight": state["input_layer.weight"], "input_layer.bias": state["input_layer.bias"]}
    encoder |= {"out_layer.weight": state["to_latent.weight"], "out_layer.bias": state["to_latent.bias"]}
    decoder = {f"blocks.{n.removeprefix('decoder.')}": t for n, t in state.items() if n.startswith("decoder.")}
    decoder |= {"input_layer.weight": state["from_latent.weight"], "input_layer.bias": state["from_latent.bias"]}
    decoder |= {"out_layer.weight": torch.zeros(448, 24), "out_layer.bias": torch.zeros(448)}
    head = vae.out_layer.weight.clone()
    for name, part in (("encoder", encoder), ("decoder", decoder)):
        save_part(part, "", tmp_path / f"{name}.safetensors")
    files = {f"{name}_weights": str(tmp_path / f"{name}.safetensors") for name in ("encoder", "decoder")}
    load_start(vae, type(static)(**(vars(static) | files)))
    torch.testing.assert_close(vae.encoder[1].mlp.mlp[0].weight, given.encoder[1].mlp.mlp[0].weight)
    torch.testing.assert_close(vae.decoder[0].attn.to_qkv.weight, given.decoder[0].attn.to_qkv.weight)
    torch.testing.assert_close(vae.to_latent.bias, given.to_latent.bias)
    torch.testing.assert_close(vae.out_layer.weight, head)
    save_part({"blocks.0.x": torch.zeros(1)}, "", tmp_path / "encoder.safetensors")
    with pytest.raises(WeightsError, match="lacks"):
        load_start(vae, type(static)(**(vars(static) | files)))
