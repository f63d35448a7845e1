"""The store takes only files that are what they should be, and says what is wrong with others."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from weight_files import (
    DIT_FILE,
    SLAT_ENCODER_FILE,
    entry_for,
    nano_state,
    one_thread,
    save_image_encoder,
    save_pickled,
    save_statistics,
    save_trap,
)

from gvf_core.errors import WeightsError
from gvf_core.models.record import sha256_of
from gvf_core.models.roles import Role
from gvf_core.models.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with one_thread():
        yield Store(tmp_path / "models")


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory) -> Path:
    """The smallest network, half precision as TRELLIS publishes it."""
    path = tmp_path_factory.mktemp("weights") / SLAT_ENCODER_FILE
    state = nano_state(Role.SLAT_ENCODER)
    save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, path)
    return path


def leftovers(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.iterdir() if path.name != ".lock")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SLAT_DECODER_GS8])
def test_every_network_is_installed_from_a_pickle_under_wrapped_names(store, tmp_path, role):
    entry, state = entry_for(role), nano_state(role)
    file = save_pickled(
        tmp_path / "mine.pt", {f"module.{name}": torch.nn.Parameter(v, False) for name, v in state.items()}
    )
    installed = store.install(entry.name, [file])
    assert (installed.preset, installed.origin, installed.repository) == ("nano", "user", None)
    assert [(source.name, source.sha256) for source in installed.sources] == [("mine.pt", sha256_of(file))]
    stored = load_file(store.weights_file(entry.name))
    assert stored.keys() == state.keys()
    assert all(
        torch.equal(stored[name], tensor) and stored[name].dtype == tensor.dtype for name, tensor in state.items()
    )
    assert store.verify(entry.name) == installed == store.find(entry.name)


def test_half_precision_is_kept(store, encoder_file):
    store.install("trellis-slat-encoder", [encoder_file])
    assert {tensor.dtype for tensor in load_file(store.weights_file("trellis-slat-encoder")).values()} == {
        torch.float16
    }
    assert store.find("trellis-slat-encoder").licence == "MIT"


def test_tensors_that_share_memory_or_lie_across_it_are_stored_one_by_one(store, tmp_path):
    state = nano_state(Role.SLAT_ENCODER)
    name = next(name for name, tensor in state.items() if tensor.ndim == 2 and tensor.shape[0] != tensor.shape[1])
    state = state | {name: torch.randn(state[name].shape[::-1]).T}
    twins = [name for name, tensor in state.items() if tensor.shape == state["blocks.0.attn.to_out.bias"].shape]
    state = state | dict.fromkeys(twins, torch.randn(state[twins[0]].shape))
    store.install("trellis-slat-encoder", [save_pickled(tmp_path / "a.pt", state)])
    stored = load_file(store.weights_file("trellis-slat-encoder"))
    assert all(torch.equal(stored[name], tensor) for name, tensor in state.items())


def test_statistics_come_from_four_bare_tensors_or_dicts_of_one(store, tmp_path):
    files = save_statistics(tmp_path)
    save_pickled(files[0], {"mean": torch.full((14,), 2.0)})
    installed = store.install("gvf-statistics", files)
    assert installed.preset is None
    stored = load_file(store.weights_file("gvf-statistics"))
    assert {name: tensor.shape[-1] for name, tensor in stored.items()} == {
        **{"static_mean": 14, "static_std": 14},
        **{"deformation_mean": 16, "deformation_std": 16},
    }
    assert stored["static_mean"].tolist() == [2.0] * 14
    store.verify("gvf-statistics")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"static_std": torch.zeros(14)}, "static_std has values that are not above zero"),
        ({"static_mean": torch.full((14,), torch.nan)}, "static_mean has values that are not finite"),
        ({"static_mean": torch.zeros(16)}, r"static_mean has the shape \[16\]; it must fit \[..., 4096, 14\]"),
        ({"static_std": torch.ones(7, 14)}, r"static_std has the shape \[7, 14\]"),
        ({"deformation_std": torch.ones(0, 16)}, "deformation_std has the shape"),
        ({"deformation_std": torch.tensor(1.0)}, "deformation_std has the shape"),
        ({"deformation_mean": torch.zeros(16, dtype=torch.int64)}, "is torch.int64, not floating point"),
    ],
)
def test_statistics_that_would_spoil_every_result_are_refused(store, tmp_path, changes, sentence):
    with pytest.raises(WeightsError, match=sentence):
        store.install("gvf-statistics", save_statistics(tmp_path, **changes))
    assert leftovers(store) == []


def test_statistics_need_all_four_files(store, tmp_path):
    with pytest.raises(WeightsError, match=r"needs deformation_std.pt too"):
        store.install("gvf-statistics", save_statistics(tmp_path)[:3])


def test_the_image_encoder_is_copied_as_it_is(store, tmp_path):
    files = save_image_encoder(tmp_path / "dino")
    store.install("dinov2-vitl14-reg", files)
    folder = store.folder("dinov2-vitl14-reg")
    assert all((folder / file.name).read_bytes() == file.read_bytes() for file in files)
    store.verify("dinov2-vitl14-reg")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "dinov2"}, "says model_type 'dinov2', not 'dinov2_with_registers'"),
        ({"hidden_size": 768}, "hidden_size 768 instead of 1024"),
        ({"num_register_tokens": 0}, "num_register_tokens 0 instead of 4"),
    ],
)
def test_another_image_encoder_is_refused(store, tmp_path, changes, sentence):
    with pytest.raises(WeightsError, match=sentence):
        store.install("dinov2-vitl14-reg", save_image_encoder(tmp_path / "dino", **changes))
    assert leftovers(store) == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_an_unreadable_configuration_of_the_image_encoder_is_refused(store, tmp_path, content):
    files = save_image_encoder(tmp_path / "dino")
    files[0].write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json is not"):
        store.install("dinov2-vitl14-reg", files)


def test_a_pickle_with_code_in_it_is_refused_and_its_code_does_not_run(store, tmp_path):
    touched = tmp_path / "touched"
    with pytest.raises(WeightsError, match="could run code"):
        store.install("gvf-dit", [save_trap(tmp_path / DIT_FILE, touched)])
    files = save_statistics(tmp_path)
    save_trap(files[0], touched)
    with pytest.raises(WeightsError, match="could run code"):
        store.install("gvf-statistics", files)
    assert not touched.exists()
    assert leftovers(store) == []


def _huge_header(path: Path) -> None:
    path.write_bytes((2**63).to_bytes(8, "little") + path.read_bytes()[8:])


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [_huge_header, _truncate, lambda path: path.write_bytes(b"")])
def test_a_damaged_safetensors_file_is_refused(store, tmp_path, encoder_file, damage):
    file = tmp_path / SLAT_ENCODER_FILE
    file.write_bytes(encoder_file.read_bytes())
    damage(file)
    with pytest.raises(WeightsError, match="is not a readable safetensors file"):
        store.install("trellis-slat-encoder", [file])
    files = save_image_encoder(tmp_path / "dino")
    damage(files[1])
    with pytest.raises(WeightsError, match="is not a readable safetensors file"):
        store.install("dinov2-vitl14-reg", files)
    assert leftovers(store) == []


@pytest.mark.parametrize("name", ["gvf-dit", "gvf-statistics"])
def test_a_truncated_pickle_is_refused(store, tmp_path, name):
    files = save_statistics(tmp_path) if name == "gvf-statistics" else [save_pickled(tmp_path / DIT_FILE, {"a": 1})]
    _truncate(files[0])
    with pytest.raises(WeightsError, match="is not a readable file of torch"):
        store.install(name, files)
    assert leftovers(store) == []


def test_weights_of_another_network_are_refused(store, encoder_file):
    with pytest.raises(WeightsError, match=r"slat_enc_.* lacks .* that the network does not know"):
        store.install("gvf-dit", [encoder_file])
    assert leftovers(store) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tensor: tensor[:-1], r"a\.pt has .* instead of"),
        (lambda tensor: torch.full_like(tensor, torch.nan), "not finite"),
        (lambda tensor: tensor.to(torch.int8), r"torch\.int8 instead of torch\.float32"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(store, tmp_path, change, sentence):
    state = nano_state(Role.SLAT_ENCODER)
    name = next(iter(state))
    with pytest.raises(WeightsError, match=sentence):
        store.install("trellis-slat-encoder", [save_pickled(tmp_path / "a.pt", state | {name: change(state[name])})])
    assert leftovers(store) == []
