"""E_GS, D_GS and the Gaussians made of their output give the official numbers."""

import pytest
import torch

from gvf_core.gaussians import OPACITY_BIAS, Gaussians, VariationField
from gvf_core.models.checkpoint import load_weights
from gvf_core.models.static_vae import (
    SlatEncoder,
    SlatGaussianDecoder,
    StaticVae,
    slat_decoder_weights,
    slat_encoder_weights,
)
from tests.golden import official_configs
from tests.golden.golden_case import GoldenCase, Recorder, assert_equal_to, load_case


def in_voxel_order(network, blocks: str, coordinates):
    """Records blocks, whose features are in window order, as the voxels come."""
    from gvf_core.models.voxels import partition

    recorder = Recorder(network, *(f"{blocks}.{i}" for i in range(len(network.get_submodule(blocks)))))
    window = network.params.window

    def output(index: int):
        windows = partition(coordinates, window, window // 2 if index % 2 else 0)
        return recorder.outputs[f"{blocks}.{index}"][windows.inverse]

    return output


def static_vae(case: GoldenCase) -> StaticVae:
    representation = case.settings["framework"]["representation_config"]["MipGS"]
    network = StaticVae(official_configs.slat(case.config, representation)).eval()
    load_weights(network, case.weights, "the reference case")
    return network


@torch.inference_mode()
def test_static_vae():
    case = load_case("static_vae")
    network = static_vae(case)
    coordinates = case["in.coords"]
    encoder = in_voxel_order(network, "encoder", coordinates)
    decoder = in_voxel_order(network, "decoder", coordinates)
    ends = Recorder(network, "input_layer", "from_latent")
    posterior = network.encode(case["in.feats"], coordinates)
    rows = network.decode_rows(posterior.mean, coordinates)

    assert_equal_to(ends.outputs["input_layer"], case["mid.enc.input_layer"], 2e-5, "mid.enc.input_layer")
    assert_equal_to(ends.outputs["from_latent"], case["mid.dec.from_latent"], 1e-4, "mid.dec.from_latent")
    for index in range(network.params.blocks):
        assert_equal_to(encoder(index), case[f"mid.enc.block{index}"], 2e-5, f"mid.enc.block{index}")
        assert_equal_to(decoder(index), case[f"mid.dec.block{index}"], 1e-4, f"mid.dec.block{index}")
    assert_equal_to(posterior.mean, case["out.mean"], 1e-4, "out.mean")
    assert_equal_to(posterior.logvar, case["out.logvar"], 1e-4, "out.logvar")
    assert_equal_to(rows, case["out.decoded"], 1e-4, "out.decoded")
    for item, gaussians in enumerate(network.decode(posterior.mean, coordinates)):
        assert_raw_equal(gaussians, case, item)
        assert_equal_to(gaussians.to_vector(), case[f"out.gs14_{item}"], 1e-4, f"out.gs14_{item}")
        varied = gaussians.activate(case[f"in.delta_{item}"])
        colors = gaussians.colors + case[f"in.delta_{item}"][:, VariationField.COLORS]
        vector = torch.cat([varied.means, colors, varied.opacities[:, None], varied.scales, varied.quaternions], dim=1)
        assert_equal_to(vector, case[f"out.gs14_with_delta_{item}"], 1e-4, f"out.gs14_with_delta_{item}")


@torch.inference_mode()
def test_the_two_halves_of_the_static_vae_under_trellis_names_are_bit_equal():
    case = load_case("static_vae")
    whole = static_vae(case)
    encoder, decoder = SlatEncoder(whole.params).eval(), SlatGaussianDecoder(whole.params).eval()
    load_weights(encoder, slat_encoder_weights(case.weights), "the encoder")
    load_weights(decoder, slat_decoder_weights(case.weights), "the decoder")
    mean = encoder.encode(case["in.feats"], case["in.coords"]).mean
    assert torch.equal(mean, whole.encode(case["in.feats"], case["in.coords"]).mean)
    assert torch.equal(decoder.decode_rows(mean, case["in.coords"]), whole.decode_rows(mean, case["in.coords"]))


@torch.inference_mode()
def test_slat_encoder():
    case = load_case("slat_encoder")
    network = SlatEncoder(official_configs.slat(case.config)).eval()
    load_weights(network, case.weights, "the reference case")
    block = in_voxel_order(network, "blocks", case["in.coords"])
    posterior = network.encode(case["in.feats"], case["in.coords"])
    for index in range(network.params.blocks):
        assert_equal_to(block(index), case[f"mid.block{index}"], 2e-5, f"mid.block{index}")
    assert_equal_to(posterior.mean, case["out.mean"], 1e-4, "out.mean")
    assert_equal_to(posterior.logvar, case["out.logvar"], 1e-4, "out.logvar")


@torch.inference_mode()
def test_slat_gaussian_decoder():
    case = load_case("slat_gs_decoder")
    network = SlatGaussianDecoder(official_configs.slat(case.config, case.config["representation_config"])).eval()
    perturbation = network.offset_perturbation.clone()
    load_weights(network, case.weights, "the reference case")
    assert_equal_to(perturbation, case.weights["offset_perturbation"], 1e-5, "offset_perturbation")
    block = in_voxel_order(network, "blocks", case["in.coords"])
    rows = network.decode_rows(case["in.feats"], case["in.coords"])
    for index in range(network.params.blocks):
        assert_equal_to(block(index), case[f"mid.block{index}"], 2e-5, f"mid.block{index}")
    assert_equal_to(rows, case["mid.out_layer"], 1e-4, "mid.out_layer")
    for item, gaussians in enumerate(network.decode(case["in.feats"], case["in.coords"])):
        assert_raw_equal(gaussians, case, item)
        splats = gaussians.activate()
        found = {
            "xyz": splats.means,
            "features": gaussians.colors[:, None],
            "opacity": splats.opacities[:, None],
            "scaling": splats.scales,
            "rotation": splats.quaternions,
        }
        for name, values in found.items():
            assert_equal_to(values, case[f"out.{name}_{item}"], 1e-4, name)


def assert_raw_equal(gaussians: Gaussians, case: GoldenCase, item: int) -> None:
    found = {
        "xyz": gaussians.means + 0.5,
        "features_dc": gaussians.colors[:, None],
        "scaling": gaussians.scales,
        "rotation": gaussians.rotations,
        "opacity": gaussians.opacities[:, None],
    }
    for name, values in found.items():
        assert_equal_to(values, case[f"out.raw_{name}_{item}"], 1e-4, f"out.raw_{name}_{item}")


def test_raw_zero_opacity_is_a_tenth():
    assert torch.sigmoid(torch.tensor(OPACITY_BIAS)).item() == pytest.approx(0.1)
