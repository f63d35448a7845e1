"""The variation VAE and its mesh-guided interpolation give the official numbers."""

import pytest
import torch

from gvf_core.geometry import farthest_points, interpolation_weights, nearest_neighbors
from gvf_core.models.checkpoint import load_weights
from gvf_core.models.variation_vae import VariationVae, pad_gaussians
from gvf_core.training.losses import mesh_guided_loss
from tests.golden import official_configs
from tests.golden.golden_case import GoldenCase, Recorder, assert_equal_to, load_case


def network(case: GoldenCase) -> VariationVae:
    vae = VariationVae(official_configs.variation_vae(case.config, case.settings)).eval()
    load_weights(vae, case.weights, "the reference case")
    return vae


@torch.inference_mode()
def test_encode():
    case = load_case("motion_vae_encode")
    vae = network(case)
    items = [case[f"in.static_gs_{i}"] for i in range(len(case["in.static_pc"]))]
    gaussians, counts = pad_gaussians(items)
    starts = case["in.fps_start"].tolist()
    for item, start, expected in zip(items, starts, case["in.fps_idx"], strict=True):
        assert torch.equal(farthest_points(item[:, :3], len(expected), start), expected)
    recorder = Recorder(vae, "cross_attend_blocks.0", "cross_attend_blocks.1", "input_embedding", "position_encoding")
    encoded = vae.encode(gaussians, counts, case["in.static_pc"], case["in.delta_pc"], starts=starts)

    assert torch.equal(encoded.index, case["in.fps_idx"])
    assert torch.equal(encoded.gaussians, case["mid.sampled_static_gs"])
    assert_equal_to(recorder.outputs["cross_attend_blocks.0"], case["mid.cross_attn"], 2e-5, "mid.cross_attn")
    assert_equal_to(recorder.outputs["cross_attend_blocks.1"], case["mid.cross_ff"], 2e-5, "mid.cross_ff")
    expected = case["mid.input_embedding_points"]
    points = recorder.outputs["input_embedding"][:, :, : expected.shape[2]]
    assert_equal_to(points, expected, 2e-5, "mid.input_embedding_points")
    posterior = encoded.posterior
    assert_equal_to(posterior.mean.flatten(0, 1), case["out.mean"], 1e-4, "out.mean")
    assert_equal_to(posterior.logvar.flatten(0, 1), case["out.logvar"], 1e-4, "out.logvar")
    assert_equal_to((0.5 * posterior.logvar).exp().flatten(0, 1), case["out.std"], 1e-4, "out.std")
    assert_equal_to(posterior.kl_divergence().mean(dim=(-1, -2)).flatten(), case["out.kl"], 1e-4, "out.kl")


@torch.inference_mode()
def test_interpolated_displacements_within_the_encoder():
    case = load_case("motion_vae_encode")
    for item, points in enumerate(case["in.static_pc"]):
        xyz = case["mid.sampled_static_gs"][item, :, :3]
        weights = interpolation_weights(xyz, points, case.settings["knn_k"], case.settings["beta"])
        expected = case["mid.estimated_gs_deltas"][item]
        assert_equal_to(weights.apply(case["in.delta_pc"][item]), expected, 1e-5, "mid.estimated_gs_deltas")


@torch.inference_mode()
def test_decode():
    case = load_case("motion_vae_decode")
    vae = network(case)
    depth = len(vae.layers)
    layers = {f"mid.layer{i}.{part}": f"layers.{i}.{n}" for i in range(depth) for n, part in enumerate(("attn", "ff"))}
    queries = {"mid.gs_embedding": "gs_embedding", "mid.position_encoding": "position_encoding", "mid.proj": "proj"}
    recorder = Recorder(vae, *layers.values(), *queries.values())
    frames = case.config["num_timesteps"]
    latents = case["in.z"].unflatten(0, (-1, frames))

    whole = vae.decode(latents, case["in.queries_padded"])
    for name, module in (layers | queries).items():
        assert_equal_to(recorder.outputs[module], case[name], 2e-5, name)
    for delta in (whole, vae.decode(latents, case["in.queries_padded"], chunk=case.config["chunk_size"])):
        assert_equal_to(delta, case["out.delta"], 1e-4, "out.delta")


@pytest.mark.parametrize("name", ["delta_interp_k8_b7", "delta_interp_k4_b10"])
def test_mesh_guided_interpolation_and_its_loss(name):
    case = load_case(name)
    neighbors, decay = case.config["knn_k"], case.config["beta"]
    points, displacements = case["in.static_pc"], case["in.moving_pc"] - case["in.static_pc"][:, None]
    for item, queries in enumerate(case["in.gs_xyz"]):
        squared, index = nearest_neighbors(queries, points[item], neighbors)
        assert torch.equal(index, case["mid.knn_idx"][item])
        assert_equal_to(squared, case["mid.knn_sqdist"][item], 1e-5, "mid.knn_sqdist")
        weights = interpolation_weights(queries, points[item], neighbors, decay)
        assert_equal_to(weights.apply(displacements[item]), case["out.delta"][item], 1e-5, "out.delta")

    sizes = case["in.loss_sizes"].tolist()
    positions = [xyz[:size] for xyz, size in zip(case["in.gs_xyz"], sizes, strict=True)]
    predicted = [deltas[:, :size] for deltas, size in zip(case["in.loss_pred"], sizes, strict=True)]
    loss = mesh_guided_loss(predicted, positions, points, displacements, neighbors, decay)
    assert_equal_to(loss, case["out.loss"], 1e-5, "out.loss")
