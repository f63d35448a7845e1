import json
import math
import re
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from gvf_core.chunks import smaller_chunks
from gvf_core.errors import Cancelled, WeightsError
from gvf_core.models.dinov2_names import Dinov2Sizes, from_torch_hub, sizes_of, with_names_of
from gvf_core.models.image_encoder import IMAGE_SIZE, ImageEncoder, build_network, load_image_encoder, prepare_images

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
SMALL = Dinov2Sizes(width=48, depth=3, heads=3, grid=5)
SMALL_HUB = Dinov2Sizes(width=128, depth=2, heads=2, grid=5)


def random_weights(shapes: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Of a size that keeps every part of the network in play: scales near 1, everything else small."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, like in shapes.items():
        scale = 1 / math.sqrt(like[0].numel()) if like.ndim > 1 and name.endswith(".weight") else 0.3
        state[name] = torch.randn(like.shape, generator=generator) * scale
        if "norm" in name and name.endswith("weight"):
            state[name] += 1
    return state


def random_network(sizes: Dinov2Sizes = SMALL) -> nn.Module:
    network = build_network(sizes)
    network.load_state_dict(random_weights(network.state_dict()), assign=True)
    return network.eval()


def random_images(count: int, sizes: Dinov2Sizes = SMALL) -> Tensor:
    return torch.randn(count, 3, sizes.image, sizes.image, generator=torch.Generator().manual_seed(1))


def random_rgba(count: int, height: int = 70, width: int = 70) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, height, width, 4), dtype=np.uint8)


def torch_hub_shapes(sizes: Dinov2Sizes) -> dict[str, Tensor]:
    """The names in dinov2_vitl14_reg4_pretrain.pth, with their shapes."""
    width, hidden = sizes.width, sizes.width * sizes.mlp_ratio

    def affine(name: str, rows: int, *columns: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (rows, *columns), f"{name}.bias": (rows,)}

    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width), "mask_token": (1, width)}
    shapes |= {"pos_embed": (1, sizes.grid**2 + 1, width), "register_tokens": (1, sizes.registers, width)}
    shapes |= affine("patch_embed.proj", width, 3, sizes.patch, sizes.patch) | affine("norm", width)
    for block in (f"blocks.{index}" for index in range(sizes.depth)):
        shapes |= affine(f"{block}.norm1", width) | affine(f"{block}.norm2", width)
        shapes |= affine(f"{block}.attn.qkv", 3 * width, width) | affine(f"{block}.attn.proj", width, width)
        shapes |= affine(f"{block}.mlp.fc1", hidden, width) | affine(f"{block}.mlp.fc2", width, hidden)
        shapes |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def torch_hub_prenorm(state: dict[str, Tensor], images: Tensor, heads: int) -> Tensor:
    """The architecture of torch.hub written out in plain operations: tokens before the final norm."""

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    patch = weight.shape[-1]
    pixels = images.unfold(2, patch, patch).unfold(3, patch, patch)
    patches = torch.einsum("ncyxij,wcij->nyxw", pixels, weight).flatten(1, 2) + bias
    count = len(images)
    x = torch.cat([state["cls_token"].expand(count, -1, -1), patches], 1) + state["pos_embed"]
    x = torch.cat([x[:, :1], state["register_tokens"].expand(count, -1, -1), x[:, 1:]], 1)
    width = x.shape[-1]
    for index in range(sum(name.endswith("ls1.gamma") for name in state)):
        block = f"blocks.{index}"
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        qkv = qkv.reshape(count, -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] * (width // heads) ** -0.5 @ qkv[1].transpose(-2, -1)).softmax(-1)
        attended = (weights @ qkv[2]).transpose(1, 2).reshape(count, -1, width)
        x = x + state[f"{block}.ls1.gamma"] * linear(attended, f"{block}.attn.proj")
        hidden = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + state[f"{block}.ls2.gamma"] * linear(hidden, f"{block}.mlp.fc2")
    return x


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return ImageEncoder(random_network())


@pytest.fixture(scope="module")
def seen(encoder: ImageEncoder) -> Tensor:
    """What the whole network, called as transformers documents it, hands to its final norm for three images."""
    inputs: list[Tensor] = []
    handle = encoder.network.layernorm.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        encoder.network(random_images(3))
    handle.remove()
    (tokens,) = inputs
    return tokens


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    random_network().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def torch_hub_state() -> dict[str, Tensor]:
    return random_weights(torch_hub_shapes(SMALL_HUB))


def test_importing_the_encoder_does_not_load_transformers_or_the_hub_client():
    code = "import sys, gvf_core.models.image_encoder; print({'transformers', 'huggingface_hub'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_prenorm_tokens_are_the_input_of_the_final_norm(encoder: ImageEncoder, seen: Tensor):
    assert seen.shape == (3, 1 + 4 + 25, 48)
    assert (encoder.prenorm_tokens(random_images(3)) - seen).abs().max() < 1e-6


def test_the_last_hidden_state_of_transformers_is_prenorm_as_well(encoder: ImageEncoder, seen: Tensor):
    with torch.no_grad():
        output = encoder.network(random_images(3), output_hidden_states=True)
    assert torch.equal(output.hidden_states[-1], seen)
    assert (output.last_hidden_state - seen).abs().max() > 0.1


def test_video_tokens_are_prenorm_patches_then_cls_without_registers(encoder: ImageEncoder, seen: Tensor):
    tokens = encoder.video_tokens(random_images(3))
    assert tokens.shape == (3, 26, 48)
    assert (tokens[:, :25] - seen[:, 5:]).abs().max() < 1e-6
    assert (tokens[:, 25] - seen[:, 0]).abs().max() < 1e-6


def test_voxel_tokens_are_prenorm_patches(encoder: ImageEncoder, seen: Tensor):
    tokens = encoder.voxel_tokens(random_images(3))
    assert tokens.shape == (3, 25, 48)
    assert (tokens - seen[:, 5:]).abs().max() < 1e-6


def test_patches_are_listed_row_by_row():
    network = build_network(SMALL)
    state = {name: torch.zeros(like.shape) for name, like in network.state_dict().items()}
    state["embeddings.patch_embeddings.projection.weight"][0] = 1 / (3 * 14 * 14)
    network.load_state_dict(state, assign=True)
    images = torch.zeros(1, 3, 70, 70)
    images[:, :, 14 * 1 : 14 * 2, 14 * 3 : 14 * 4] = 1
    tokens = ImageEncoder(network).voxel_tokens(images)[0, :, 0]
    assert tokens.argmax() == 1 * SMALL.grid + 3
    assert tokens.sum() == pytest.approx(1, abs=1e-4)


def test_trellis_tokens_are_all_tokens_normalised_without_weights(encoder: ImageEncoder, seen: Tensor):
    tokens = encoder.trellis_tokens(random_images(3))
    variance, mean = torch.var_mean(seen, -1, keepdim=True, correction=0)
    assert tokens.shape == (3, 30, 48)
    assert (tokens - (seen - mean) / (variance + 1e-5).sqrt()).abs().max() < 1e-5


@pytest.mark.parametrize("method", ["video_tokens", "voxel_tokens", "trellis_tokens", "prenorm_tokens"])
def test_tokens_do_not_depend_on_the_chunk(encoder: ImageEncoder, method: str):
    images = random_images(5)
    whole = getattr(encoder, method)(images, chunk=5)
    assert (getattr(encoder, method)(images, chunk=2) - whole).abs().max() < 1e-6


def images_at_once(encoder: ImageEncoder, chunk: int) -> list[int]:
    """How many of five images pass through the network each time."""
    sizes: list[int] = []
    embeddings = encoder.network.get_submodule("embeddings")
    handle = embeddings.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    encoder.video_tokens(random_images(5), chunk=chunk)
    handle.remove()
    return sizes


def test_never_more_images_than_the_chunk_pass_through_the_network_at_once(encoder: ImageEncoder):
    assert images_at_once(encoder, chunk=2) == [2, 2, 1]


def test_after_memory_ran_out_fewer_images_pass_at_once(encoder: ImageEncoder):
    with smaller_chunks():
        assert images_at_once(encoder, chunk=8) == [2, 2, 1]
    assert images_at_once(encoder, chunk=8) == [5]


def test_bytes_give_the_tokens_of_the_prepared_images(encoder: ImageEncoder):
    images = random_rgba(3, 40, 50)
    white = prepare_images(images, 70, "white")
    assert (encoder.video_tokens(images, "white", chunk=2) - encoder.video_tokens(white)).abs().max() < 1e-6
    black = encoder.voxel_tokens(prepare_images(images, 70))
    assert (encoder.voxel_tokens(torch.from_numpy(images)) - black).abs().max() < 1e-6


def test_progress_is_told_before_each_chunk(encoder: ImageEncoder):
    fractions: list[float] = []
    encoder.video_tokens(random_images(5), chunk=2, on_progress=fractions.append)
    assert fractions == [0, 0.4, 0.8]


def test_an_error_from_the_progress_stops_the_encoding(encoder: ImageEncoder):
    def cancel(fraction: float) -> None:
        if fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        encoder.video_tokens(random_images(3), chunk=1, on_progress=cancel)


def test_tokens_can_be_trained_on(encoder: ImageEncoder):
    layer = nn.Linear(48, 2)
    layer(encoder.video_tokens(random_images(1))).sum().backward()
    assert layer.weight.grad is not None


def test_the_network_is_frozen_and_uses_sdpa(encoder: ImageEncoder):
    assert encoder.network.config._attn_implementation == "sdpa"
    assert not encoder.network.training
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())


def test_at_518_pixels_the_stored_positions_are_used_unchanged():
    sizes = Dinov2Sizes(width=16, depth=1, heads=1)
    embeddings = random_network(sizes).get_submodule("embeddings")
    assert sizes.image == IMAGE_SIZE == 518
    positions = embeddings.interpolate_pos_encoding(torch.empty(1, 37 * 37 + 1, 16), 518, 518)
    assert positions is embeddings.position_embeddings


@pytest.mark.parametrize("shape", [(1, 3, 84, 84), (1, 3, 70, 84), (1, 4, 70, 70), (3, 70, 70), (0, 3, 70, 70)])
def test_prepared_images_of_another_shape_are_refused(encoder: ImageEncoder, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"\d"):
        encoder.video_tokens(torch.zeros(shape))


def test_other_sizes_are_encoded_when_asked_for():
    encoder = ImageEncoder(random_network(), interpolate_positions=True)
    assert encoder.video_tokens(torch.zeros(1, 3, 84, 56)).shape == (1, 6 * 4 + 1, 48)
    with pytest.raises(ValueError, match="14-pixel patches"):
        encoder.video_tokens(torch.zeros(1, 3, 85, 85))


def colours(prepared: Tensor) -> Tensor:
    """The normalisation undone."""
    return prepared * STD + MEAN


@pytest.mark.parametrize(("background", "expected"), [("black", 0.0), ("white", 1.0)])
def test_transparent_pixels_become_the_background(background, expected: float):
    images = random_rgba(1)
    images[..., 3] = 0
    prepared = prepare_images(images, 28, background)
    assert prepared.shape == (1, 3, 28, 28)
    assert prepared.dtype == torch.float32
    assert (colours(prepared) - expected).abs().max() < 1e-6


def test_on_black_colour_and_alpha_are_resized_before_they_are_multiplied():
    images = random_rgba(1, 60, 60)
    resized = np.asarray(Image.fromarray(images[0]).resize((28, 28), Image.Resampling.LANCZOS)) / 255.0
    expected = torch.from_numpy(resized[..., :3] * resized[..., 3:]).permute(2, 0, 1)
    assert (colours(prepare_images(images, 28)[0]) - expected).abs().max() < 1e-6


def test_on_white_images_are_composited_before_they_are_resized():
    images = random_rgba(1, 60, 60)
    alpha = images[0, ..., 3:] / 255.0
    composite = (images[0, ..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    resized = np.asarray(Image.fromarray(composite).resize((28, 28), Image.Resampling.LANCZOS)) / 255.0
    expected = torch.from_numpy(resized).permute(2, 0, 1)
    assert (colours(prepare_images(images, 28, "white")[0]) - expected).abs().max() < 1e-6


@pytest.mark.parametrize("background", ["black", "white"])
def test_images_without_alpha_are_opaque(background):
    images = random_rgba(2, 40, 50)
    images[..., 3] = 255
    assert torch.equal(prepare_images(images[..., :3], 28, background), prepare_images(images, 28, background))


@pytest.mark.parametrize(
    "images", [np.zeros((1, 8, 8, 2), np.uint8), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3))]
)
def test_arrays_that_are_no_images_are_refused(images: np.ndarray):
    with pytest.raises(ValueError, match="uint8"):
        prepare_images(images)


def test_every_parameter_of_the_full_network_has_exactly_one_source():
    sizes = Dinov2Sizes()
    original = torch_hub_shapes(sizes)
    expected = build_network(sizes).state_dict()
    converted = from_torch_hub(original, "test")
    assert {name: t.shape for name, t in converted.items()} == {name: t.shape for name, t in expected.items()}
    assert sizes_of(converted, "test") == sizes
    assert len(original) == 344
    count = sum(tensor.numel() for tensor in original.values())
    assert sum(tensor.numel() for tensor in converted.values()) == count == 304_372_736


def test_converted_torch_hub_weights_give_the_tokens_of_the_original_architecture(
    tmp_path: Path, torch_hub_state: dict[str, Tensor]
):
    torch.save(torch_hub_state, tmp_path / "dinov2_vitl14_reg4_pretrain.pth")
    images = random_images(2, SMALL_HUB)
    expected = torch_hub_prenorm(torch_hub_state, images, heads=2)
    tokens = load_image_encoder(tmp_path).prenorm_tokens(images)
    assert expected.std() > 0.3
    assert (tokens - expected).abs().max() < 1e-5


def test_torch_hub_weights_load_from_a_safetensors_file_too(tmp_path: Path, torch_hub_state: dict[str, Tensor]):
    save_file(torch_hub_state, tmp_path / "encoder.safetensors")
    encoder = load_image_encoder(tmp_path / "encoder.safetensors")
    assert encoder.sizes == SMALL_HUB
    assert load_image_encoder(tmp_path).sizes == SMALL_HUB


def test_both_spellings_of_the_attention_fit_networks_of_either_spelling():
    new = list(build_network(SMALL).state_dict())
    older = {
        "q_proj": "attention.query",
        "k_proj": "attention.key",
        "v_proj": "attention.value",
        "o_proj": "output.dense",
    }
    old = [re.sub(r"([qkvo]_proj)", lambda match: older[match[1]], name) for name in new]
    assert old != new
    for given in (old, new):
        for expected in (old, new):
            assert list(with_names_of(expected, {name: torch.empty(0) for name in given})) == expected


def test_unknown_tensors_are_reported_by_name(tmp_path: Path, torch_hub_state: dict[str, Tensor]):
    save_file({**torch_hub_state, "blocks.0.attn.q_norm.weight": torch.zeros(4)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"blocks\.0\.attn\.q_norm\.weight"):
        load_image_encoder(tmp_path)


def test_a_folder_as_the_hub_has_it_gives_what_transformers_loads_from_it(hub_folder: Path, encoder: ImageEncoder):
    from transformers import Dinov2WithRegistersModel

    assert any("attention.attention.query" in name for name in load_file(hub_folder / "model.safetensors"))
    reference = ImageEncoder(Dinov2WithRegistersModel.from_pretrained(hub_folder))
    loaded = load_image_encoder(str(hub_folder))
    assert loaded.sizes == SMALL
    assert torch.equal(loaded.video_tokens(random_images(1)), reference.video_tokens(random_images(1)))


def test_half_precision_is_close(hub_folder: Path, encoder: ImageEncoder):
    tokens = load_image_encoder(hub_folder, dtype=torch.bfloat16).trellis_tokens(random_images(1))
    assert tokens.dtype == torch.bfloat16
    similarity = functional.cosine_similarity(tokens.float(), encoder.trellis_tokens(random_images(1)), dim=-1)
    assert similarity.min() > 0.99


def copied(folder: Path, target: Path, **changes: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))
    (target / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "dinov2"}, "model_type 'dinov2'"),
        ({"use_swiglu_ffn": True}, "use_swiglu_ffn"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"num_attention_heads": 7}, "7 attention heads"),
        ({"num_attention_heads": "many"}, "'many' attention heads"),
    ],
)
def test_a_config_of_another_model_is_refused(hub_folder: Path, tmp_path: Path, changes, message: str):
    with pytest.raises(WeightsError, match=message):
        load_image_encoder(copied(hub_folder, tmp_path, **changes))


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_config_is_refused(hub_folder: Path, tmp_path: Path, content: str):
    copied(hub_folder, tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_image_encoder(tmp_path)


def test_damaged_weights_are_refused(hub_folder: Path, tmp_path: Path):
    weights = copied(hub_folder, tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_image_encoder(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "dinov2_vitl14_reg4_pretrain.pth"])
def test_a_pickle_beside_a_config_is_never_read(hub_folder: Path, tmp_path: Path, name: str):
    weights = copied(hub_folder, tmp_path) / "model.safetensors"
    weights.rename(tmp_path / name)
    with pytest.raises(WeightsError, match=r"neither model\.safetensors"):
        load_image_encoder(tmp_path)


def test_several_files_without_the_usual_name_are_refused(tmp_path: Path):
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="2 files of weights"):
        load_image_encoder(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"register_tokens": None}, "no DINOv2 with registers"),
        ({"register_tokens": torch.zeros(3)}, "no DINOv2 with registers"),
        ({"pos_embed": torch.zeros(1, 24, 128)}, "no square"),
        ({"blocks.0.mlp.w12.weight": torch.zeros(2, 2)}, "SwiGLU"),
        ({"blocks.1.attn.qkv.bias": torch.zeros(4)}, "three equal parts"),
        ({"blocks.1.ls1.gamma": None}, r"lacks encoder\.layer\.1\.layer_scale1\.lambda1 \[128\]"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, torch_hub_state: dict[str, Tensor], changes: dict[str, Tensor | None], message: str
):
    state = {name: tensor for name, tensor in {**torch_hub_state, **changes}.items() if tensor is not None}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_image_encoder(tmp_path)


@pytest.mark.parametrize("source", [Path("no/folder"), "./no/folder", "nothing"])
def test_a_folder_that_is_not_there_is_said_so(source: str | Path):
    with pytest.raises(WeightsError, match="There is no folder"):
        load_image_encoder(source, offline=True)


def test_offline_a_model_that_was_not_downloaded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="downloaded before"):
        load_image_encoder("someone/encoder", offline=True)


def test_offline_a_model_that_was_downloaded_is_used(hub_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    revision = "0123456789" * 4
    stored = tmp_path / "models--someone--encoder"
    snapshot = stored / "snapshots" / revision
    snapshot.mkdir(parents=True)
    copied(hub_folder, snapshot)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(revision)
    assert load_image_encoder("someone/encoder", offline=True).sizes == SMALL


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalEntryNotFoundError("no connection"), "cannot be reached"),
        (OSError("disk full"), r"could not be downloaded \(disk full\)"),
    ],
)
def test_a_download_that_fails_is_explained(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str):
    # The real client retries for half a minute before it gives up.
    def fail(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(WeightsError, match=message):
        load_image_encoder("someone/encoder")
