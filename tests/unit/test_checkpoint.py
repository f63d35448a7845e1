"""Weights load strictly, from every kind of official file, and never run code."""

import pickle
import random
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gvf_core.errors import WeightsError
from gvf_core.models.checkpoint import load_weights, read_state_dict, read_tensor
from gvf_core.models.presets import create, load
from gvf_core.models.roles import Role
from gvf_core.models.static_vae import SlatGaussianDecoder, slat_decoder_weights
from tests.unit.small_networks import randomized
from tests.unit.weight_files import nano_state


def state_of(role: Role) -> dict[str, torch.Tensor]:
    return dict(nano_state(role))


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt", ".safetensors", ".PT", ".SafeTensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_kind_of_file_gives_the_network_its_weights(tmp_path, ending, prefix):
    original = randomized(create(Role.VARIATION_VAE, "nano"))
    state = {prefix + name: nn.Parameter(tensor) for name, tensor in original.state_dict().items()}
    path = tmp_path / f"weights{ending}"
    if ending.lower() == ".safetensors":
        save_file({name: tensor.detach() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    loaded = load(Role.VARIATION_VAE, path, "nano")
    assert not loaded.training
    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.state_dict()["position_encoding.0.omega"].dtype == torch.float64


def test_half_precision_files_become_float32_networks(tmp_path):
    state = {name: tensor.half() for name, tensor in state_of(Role.SLAT_ENCODER).items()}
    save_file(state, tmp_path / "half.safetensors")
    network = load(Role.SLAT_ENCODER, tmp_path / "half.safetensors", "nano")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert torch.equal(network.get_parameter("input_layer.weight"), state["input_layer.weight"].float())


def test_the_file_of_the_static_vae_serves_as_trellis_encoder_and_decoder(tmp_path):
    state = randomized(create(Role.STATIC_VAE, "nano")).state_dict()
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "static.pt")
    encoder = load(Role.SLAT_ENCODER, tmp_path / "static.pt", "nano").state_dict()
    decoder = load(Role.SLAT_DECODER_GS8, tmp_path / "static.pt", "nano").state_dict()
    assert torch.equal(encoder["blocks.1.attn.to_qkv.weight"], state["encoder.1.attn.to_qkv.weight"])
    assert torch.equal(decoder["blocks.1.attn.to_qkv.weight"], state["decoder.1.attn.to_qkv.weight"])
    assert torch.equal(decoder["input_layer.weight"], state["from_latent.weight"])
    assert torch.equal(decoder["offset_perturbation"], state["MipGS_perturbation"])
    assert len(slat_decoder_weights(state)) + len(encoder) == len(state)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.pop("proj.weight"), r"lacks proj\.weight \[192, 16\]\. Probably the file is incomplete"),
        (lambda state: state.update(extra=torch.ones(2)), r"has extra \[2\] that the network does not know"),
        (
            lambda state: state.update({"proj.weight": torch.ones(16, 192)}),
            r"proj\.weight \[16, 192\] instead of \[192, 16\]\..*another size",
        ),
        (
            lambda state: state.update({"proj.weight": torch.ones(192, 16, dtype=torch.int8)}),
            r"proj\.weight torch\.int8 instead of torch\.float32\. Quantised",
        ),
        (
            lambda state: state.update({"proj.bias": torch.full((192,), torch.nan)}),
            r"not finite in proj\.bias\. Fetch it again",
        ),
        (lambda state: (state.clear(), state.update(a=torch.ones(1))), r"lacks .*and \d+ more.*another network"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(change, sentence):
    network = create(Role.VARIATION_VAE, "nano")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = state_of(Role.VARIATION_VAE)
    change(state)
    with pytest.raises(WeightsError, match=rf"^motion\.pt .*{sentence}"):
        load_weights(network, state, "motion.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class RunsCode:
    def __reduce__(self):
        return eval, ("open('/nonexistent/ran', 'w')",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (RunsCode(), "could run code"),
        ({"weight": RunsCode()}, "could run code"),
        ({"model": {"weight": torch.ones(2)}}, "type dict under 'model', not a tensor. Save the state dict"),
        ({3: torch.ones(2)}, "under 3"),
        ({}, "not tensors by name"),
        ([torch.ones(2)], "type list, not tensors by name"),
    ],
)
def test_files_with_anything_but_named_tensors_are_refused(tmp_path, content, sentence):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(WeightsError, match=sentence):
        read_state_dict(tmp_path / "file.pt")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("file.pt", b"", "not a readable file of torch"),
        ("file.pt", b"PK\x03\x04 and nothing more", "not a readable file of torch"),
        ("file.pt", pickle.dumps("text"), "file of torch|could run code|not tensors"),
        ("file.safetensors", b"\xff" * 64, "not a readable safetensors file"),
        ("file.safetensors", b"", "not a readable safetensors file"),
        ("file.npz", b"", "does not end like a file of weights"),
    ],
)
def test_damaged_files_are_refused_with_a_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=sentence):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "old pickle"])
def test_a_file_damaged_anywhere_is_refused_with_a_sentence(tmp_path, zipped):
    path = tmp_path / "file.pt"
    torch.save({"a": torch.ones(2), "b": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    whole, dice = path.read_bytes(), random.Random(0)
    assert set(read_state_dict(path)) == {"a", "b"}
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 2, 8))):
            damaged[dice.randrange(len(whole))] = dice.randrange(256)
        cut = len(whole) if dice.random() < 0.7 else dice.randrange(len(whole))
        path.write_bytes(damaged[:cut])
        # Nothing else may be raised; a change of a value is not noticed here.
        with suppress(WeightsError):
            read_state_dict(path)


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.eye(2).to_sparse_csr(), "sparse"),
        (torch.empty(2, device="meta"), "without values"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantised"),
    ],
)
def test_tensors_that_do_not_hold_their_values_one_by_one_are_refused(tmp_path, tensor, kind):
    for content, read in (({"a": torch.ones(2), "b": tensor}, read_state_dict), (tensor, read_tensor)):
        torch.save(content, tmp_path / "file.pt")
        with pytest.raises(WeightsError, match=kind):
            read(tmp_path / "file.pt")


def test_a_tensor_that_is_there_twice_is_no_choice(tmp_path):
    torch.save({"a": torch.ones(2), "module.a": torch.zeros(2)}, tmp_path / "file.pt")
    with pytest.raises(WeightsError, match="holds a twice"):
        read_state_dict(tmp_path / "file.pt")


def test_a_missing_file_is_said(tmp_path):
    for read in (read_state_dict, read_tensor):
        with pytest.raises(WeightsError, match="There is no file"):
            read(tmp_path / "missing.pt")


def test_single_tensors_are_read_bare_or_in_a_dict_of_one(tmp_path):
    for content in (torch.ones(3), nn.Parameter(torch.ones(3)), {"mean": torch.ones(3)}):
        torch.save(content, tmp_path / "mean.pt")
        assert torch.equal(read_tensor(tmp_path / "mean.pt"), torch.ones(3))
    torch.save({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "two.pt")
    with pytest.raises(WeightsError, match="not one tensor"):
        read_tensor(tmp_path / "two.pt")


def test_a_network_without_memory_takes_over_the_tensors():
    state = state_of(Role.SLAT_DECODER_GS8)
    network = create(Role.SLAT_DECODER_GS8, "nano", device="meta")
    load_weights(network, state, "decoder.pt")
    assert isinstance(network, SlatGaussianDecoder)
    assert network.out_layer.weight.data_ptr() == state["out_layer.weight"].data_ptr()
