"""The flow networks and the structure decoder give the official numbers."""

import torch

from gvf_core.models.checkpoint import load_weights
from gvf_core.models.slat_flow import SlatFlow
from gvf_core.models.structure_flow import StructureFlow
from gvf_core.models.structure_vae import StructureDecoder
from tests.golden import official_configs
from tests.golden.golden_case import Recorder, assert_equal_to, load_case


@torch.inference_mode()
def test_structure_flow():
    case = load_case("sparse_structure_flow")
    network = StructureFlow(official_configs.structure_flow(case.config)).eval()
    position = network.pos_emb.clone()
    load_weights(network, case.weights, "the reference case")
    assert_equal_to(position, case.weights["pos_emb"], 1e-5, "pos_emb")
    blocks = {f"mid.block{i}": f"blocks.{i}" for i in range(len(network.blocks))}
    inside = blocks | {"mid.input_layer": "input_layer", "mid.t_emb": "t_embedder"}
    recorder = Recorder(network, *inside.values())
    flow = network(case["in.x"], case["in.t"], network.condition(case["in.cond"]))
    for name, module in inside.items():
        assert_equal_to(recorder.outputs[module], case[name], 2e-5, name)
    assert_equal_to(flow, case["out.v"], 1e-4, "out.v")


@torch.inference_mode()
def test_slat_flow():
    case = load_case("slat_flow")
    network = SlatFlow(official_configs.slat_flow(case.config)).eval()
    load_weights(network, case.weights, "the reference case")
    inside = {"mid.input_layer": "input_layer"}
    inside |= {f"mid.input_block{i}": f"input_blocks.{i}" for i in range(len(network.input_blocks))}
    inside |= {f"mid.out_block{i}": f"out_blocks.{i}" for i in range(len(network.out_blocks))}
    recorder = Recorder(network, *inside.values())
    grid = network.prepare(case["in.coords"])
    flow = network(case["in.feats"], grid, case["in.t"], network.condition(case["in.cond"]))
    for name, module in inside.items():
        assert_equal_to(recorder.outputs[module], case[name], 2e-5, name)
    assert_equal_to(flow, case["out.v"], 1e-4, "out.v")


@torch.inference_mode()
def test_structure_decoder():
    case = load_case("sparse_structure_decoder")
    network = StructureDecoder(official_configs.structure_vae(case.config)).eval()
    load_weights(network, case.weights, "the reference case")
    inside = {"mid.input_layer": "input_layer", "mid.middle_block": "middle_block"}
    inside |= {f"mid.block{number}": f"blocks.{number}" for number in case.group("mid.block")}
    recorder = Recorder(network, *inside.values())
    logits = network(case["in.z"])
    for name, module in inside.items():
        assert_equal_to(recorder.outputs[module], case[name], 2e-5, name)
    assert_equal_to(logits, case["out.logits"], 1e-4, "out.logits")
    assert int((logits > 0).sum()) == case["out.num_occupied"]
