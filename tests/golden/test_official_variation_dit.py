"""The variation DiT, its guidance and its sampling give the official numbers."""

import pytest
import torch

from gvf_core.diffusion import (
    Guidance,
    discrete_vp_schedule,
    noise_from_velocity,
    sample_adaptive,
    squared_cosine_betas,
)
from gvf_core.models.checkpoint import load_weights
from gvf_core.models.guided_dit import dit_conditions, guided_noise
from gvf_core.models.variation_dit import VariationDit
from tests.golden import official_configs
from tests.golden.golden_case import GoldenCase, Recorder, assert_equal_to, load_case, rounds_as_recorded

SCHEDULE = discrete_vp_schedule(squared_cosine_betas())


def network(case: GoldenCase) -> VariationDit:
    dit = VariationDit(official_configs.variation_dit(case.config)).eval()
    load_weights(dit, case.weights, "the reference case")
    return dit


def tokens(case: GoldenCase) -> tuple[torch.Tensor, ...]:
    return case["in.cond_images"], case["in.static_latent"], case["in.deformation_position_xyz"]


@pytest.mark.parametrize("name", ["dit_small", "dit_small_b"])
@torch.inference_mode()
def test_velocity_and_everything_inside_a_block(name):
    case = load_case(name)
    dit = network(case)
    attentions = ("spatial_self_attn", "temporal_self_attn", "image_cross_attn", "static_cross_attn")
    inside = {f"mid.block0.{attention}": f"blocks.0.{attention}.to_out" for attention in attentions}
    inside |= {"mid.block0.mlp": "blocks.0.mlp", "mid.input_layer": "input_layer", "mid.t_emb": "t_embedder"}
    inside |= {f"mid.block{i}.out": f"blocks.{i}" for i in range(len(dit.blocks))}
    inside |= {"mid.image_emb": "image_cond_proj", "mid.static_emb": "static_cond_proj"}
    recorder = Recorder(dit, *inside.values())

    condition = dit.condition(*tokens(case), narrow=False)
    velocity = dit(case["in.x"], case["in.t"], [condition])

    assert_equal_to(condition.position, case["mid.pos_emb"], 1e-5, "mid.pos_emb")
    for name_there, name_here in inside.items():
        expected = case[name_there]
        assert_equal_to(recorder.outputs[name_here].reshape(expected.shape), expected, 2e-5, name_there)
    assert_equal_to(velocity, case["out.y"], 1e-4, "out.y")
    narrow = dit(case["in.x"], case["in.t"], [dit.condition(*tokens(case), narrow=True)])
    assert_equal_to(narrow, case["out.y"], 1e-4, "out.y with narrow static tokens")


@pytest.mark.parametrize("batched", [False, True])
@torch.inference_mode()
def test_guidance_with_two_scales(batched):
    case = load_case("cfg_combine")
    dit = network_of("dit_small", case)
    guidance = Guidance(case.settings["guidance_scale"], case.settings["guidance_scale2"])
    expected = {"none": "out.eps_uncond_full", "static": "out.eps_uncond_image", "full": "out.eps_cond"}
    conditions = dit_conditions(dit, *tokens(case), Guidance(2.0, 3.0))  # all branches
    x, t = case["in.x"], case["in.t_cont"]

    for branch, name in expected.items():
        velocity = dit(x, SCHEDULE.network_time(t), [conditions[branch]])
        assert_equal_to(noise_from_velocity(velocity, x, t, SCHEDULE), case[name], 1e-4, name)
    guided = guided_noise(dit, conditions, guidance, SCHEDULE, batched=batched)
    assert_equal_to(guided(x, t), case["out.eps"], 1e-4, "out.eps")


@pytest.mark.parametrize("name", ["dpm_adaptive_dit_g1_1", "dpm_adaptive_dit_g1.5_2"])
@torch.inference_mode()
def test_adaptive_sampling(name):
    case = load_case(name)
    dit = network_of(case.settings["weights_from"], case)
    guidance = Guidance(case.settings["guidance_scale"], case.settings["guidance_scale2"])
    sample = sample_adaptive(
        noise_of_official_batch(dit, case, guidance), case["in.noise"], SCHEDULE, repeat_rejected=True
    )
    if rounds_as_recorded():
        assert sample.calls == case.settings["nfe"]
        assert_equal_to(torch.tensor(sample.times), accepted_times(case), 1e-5, "out.accepted_times")
        assert_equal_to(sample.state, case["out.sample"], 1e-4, "out.sample")
    # Other rounding makes other steps: the solver's own tolerance is what remains in common.
    assert_equal_to(sample.state, case["out.sample"], 0.05, "out.sample")
    # So it does with the shortcuts.
    own = guided_noise(dit, dit_conditions(dit, *tokens(case), guidance), guidance, SCHEDULE)
    assert_equal_to(sample_adaptive(own, case["in.noise"], SCHEDULE).state, case["out.sample"], 0.05, "own sample")


def noise_of_official_batch(dit: VariationDit, case: GoldenCase, guidance: Guidance):
    """The guided noise with all branches in one batch of tokens and zeros, as officially.

    `guided_noise` gives the same within rounding (the test above), which the adaptive solver turns into other steps:
    the error of its first step is a difference of rounding errors.
    """
    images, static, positions = tokens(case)
    branches = 1 if guidance == Guidance() else 3
    no_images, no_static = torch.zeros_like(images), torch.zeros_like(static)
    condition = dit.condition(
        torch.cat([no_images, no_images, images][-branches:]),
        torch.cat([no_static, static, static][-branches:]),
        positions.repeat(branches, 1, 1),
        narrow=False,
    )

    def noise(x, t):
        batch = x.repeat(branches, 1, 1, 1)
        velocities = dit(batch, SCHEDULE.network_time(t).expand(len(batch)), [condition]).chunk(branches)
        noises = [noise_from_velocity(velocity, x, t, SCHEDULE) for velocity in velocities]
        if branches == 1:
            return noises[0]
        none, static_only, full = noises
        return none + guidance.static_scale * (static_only - none) + guidance.image_scale * (full - static_only)

    return noise


def network_of(weights: str, case: GoldenCase) -> VariationDit:
    """The network of another case in the same folder."""
    source = load_case(weights)
    return network(GoldenCase({"config": case.config}, source.tensors))


def accepted_times(case: GoldenCase) -> torch.Tensor:
    """Times of the states that were accepted, the start included."""
    times = case["out.accepted_times"]
    start = torch.ones(1)
    return times if times[0] == 1 else torch.cat([start, times])
