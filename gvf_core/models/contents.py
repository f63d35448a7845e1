"""What the folder of each kind of entry holds: checked before it is stored, and again on demand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gvf_core.errors import WeightsError
from gvf_core.models.checkpoint import load_weights, read_state_dict, read_tensor
from gvf_core.models.onnx_header import Shape, read_onnx_header
from gvf_core.models.record import sha256_of
from gvf_core.models.registry import METRIC_PARTS, Checkpoint, Part
from gvf_core.models.roles import PresetName, Role

NETWORK_FILE = "weights.safetensors"
STATISTICS_FILE = "statistics.safetensors"
_MATTING_PICTURE = (1, 3, 320, 320)
"""What rembg gives to U-2-Net."""
_CHANNELS = {"static_mean": 14, "static_std": 14, "deformation_mean": 16, "deformation_std": 16}
_TOKENS = {"static": 4096, "deformation": 512}
_CONFIG, _ENCODER_WEIGHTS = "config.json", "model.safetensors"
_ENCODER_TYPE = "dinov2_with_registers"
_ENCODER_SIZES = {"patch_size": 14, "num_register_tokens": 4}
_ENCODER_WIDTHS = (1024, 384)
"""Of ViT-L/14, with which everything released was trained, and of ViT-S/14, which the nano presets take."""
# The published configuration has 0.6 KB; a file that is much larger is something else.
_CONFIG_BYTES = 1_000_000
_FETCH_AGAIN = "Fetch it again."


def store_contents(
    entry: Checkpoint, files: Mapping[str, Path], folder: Path
) -> tuple[PresetName | None, dict[str, str]]:
    """Check source files and write what is stored of them into an empty folder.

    Args:
        entry: What the files are supposed to be.
        files: The source files by the last part of their published paths.
        folder: Where to write.

    Returns:
        The preset that a network fits, and the hashes of the source files by the same names.

    Raises:
        WeightsError: The files are not what the entry needs.
        OSError: A file cannot be read or written.
        SafetensorError: A file cannot be written.
    """
    if entry.role is Part.IMAGE_ENCODER:
        hashes = {name: sha256_of(path, copy_to=folder / name) for name, path in files.items()}
        # The copies are checked, not the originals: those may change meanwhile.
        _check_image_encoder(folder)
        return None, hashes
    if entry.role is Part.MATTING:
        hashes = {name: sha256_of(path, copy_to=folder / name) for name, path in files.items()}
        _check_matting(folder / entry.files[0].name)
        return None, hashes
    hashes = {name: sha256_of(path) for name, path in files.items()}
    if entry.role is Part.STATISTICS:
        statistics = {path.stem: read_tensor(path) for path in files.values()}
        _check_statistics(statistics)
        save_file(_separate(statistics), folder / STATISTICS_FILE)
        return None, hashes
    (path,) = files.values()
    state = read_state_dict(path)
    if isinstance(entry.role, Part):
        save_file(_separate(_checked_metric_state(entry, state)), folder / NETWORK_FILE)
        return None, hashes
    preset = _fitting_preset(Role(entry.role), state, path.name)
    save_file(_separate(state), folder / NETWORK_FILE)
    return preset, hashes


def check_contents(entry: Checkpoint, folder: Path, preset: PresetName | None) -> None:
    """Check names, shapes and values of what is stored.

    Raises:
        WeightsError: Something does not fit.
    """
    if entry.role is Part.IMAGE_ENCODER:
        _check_image_encoder(folder)
    elif entry.role is Part.MATTING:
        _check_matting(folder / entry.files[0].name)
    elif entry.role is Part.STATISTICS:
        _check_statistics(read_state_dict(folder / STATISTICS_FILE))
    elif entry.role in METRIC_PARTS:
        _checked_metric_state(entry, read_state_dict(folder / NETWORK_FILE))
    elif preset is not None:
        _check_network(Role(entry.role), preset, read_state_dict(folder / NETWORK_FILE), entry.name)


def _fitting_preset(role: Role, state: Mapping[str, Tensor], source: str) -> PresetName:
    """The preset that shares most shapes with the weights, the full one if none does; the weights must fit it."""
    # Here, because building networks needs all of them.
    from gvf_core.models.presets import create

    def shared(network: nn.Module) -> int:
        expected = network.state_dict().items()
        return sum(name in state and state[name].shape == tensor.shape for name, tensor in expected)

    networks = {preset: create(role, preset, device="meta") for preset in get_args(PresetName)}
    closest = max(networks, key=lambda preset: shared(networks[preset]))
    load_weights(networks[closest], state, source)
    return closest


def _check_network(role: Role, preset: PresetName, state: Mapping[str, Tensor], source: str) -> None:
    from gvf_core.models.presets import create

    load_weights(create(role, preset, device="meta"), state, source)


def _checked_metric_state(entry: Checkpoint, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a network that measures uses of its published file."""
    from gvf_core.models.metric_networks import check_metric_state, metric_state

    used = metric_state(Part(entry.role), state)
    check_metric_state(Part(entry.role), used, entry.name)
    return used


def _check_statistics(statistics: Mapping[str, Tensor]) -> None:
    for name, channels in _CHANNELS.items():
        if name not in statistics:
            raise WeightsError(f"The statistics lack {name}.", _FETCH_AGAIN)
        tensor = statistics[name]
        if not tensor.is_floating_point():
            raise WeightsError(f"{name} is {tensor.dtype}, not floating point.", _FETCH_AGAIN)
        tokens = _TOKENS[name.partition("_")[0]]
        if tensor.shape[-1:] != (channels,) or any(size not in (1, tokens) for size in tensor.shape[-2:-1]):
            raise WeightsError(
                f"{name} has the shape {list(tensor.shape)}; it must fit [..., {tokens}, {channels}].",
                "Probably these are the statistics of another network.",
            )
        if not tensor.isfinite().all():
            raise WeightsError(f"{name} has values that are not finite.", _FETCH_AGAIN)
        if name.endswith("_std") and not (tensor > 0).all():
            raise WeightsError(f"{name} has values that are not above zero.", _FETCH_AGAIN)


def _check_image_encoder(folder: Path) -> None:
    config = _read_config(folder / _CONFIG)
    if config.get("model_type") != _ENCODER_TYPE:
        raise WeightsError(
            f"config.json says model_type {config.get('model_type')!r}, not {_ENCODER_TYPE!r}.",
            "Take the files of facebook/dinov2-with-registers-large.",
        )
    # The number of registers may be left out where it is the usual one.
    sizes = {"num_register_tokens": 4} | config
    width = config.get("hidden_size")
    expected = _ENCODER_SIZES | {"hidden_size": width if width in _ENCODER_WIDTHS else _ENCODER_WIDTHS[0]}
    wrong = [name for name, size in expected.items() if sizes.get(name) != size]
    if wrong:
        found = (f"{name} {sizes.get(name)!r} instead of {expected[name]}" for name in wrong)
        raise WeightsError(
            f"config.json says {', '.join(found)}.", "Take the files of facebook/dinov2-with-registers-large."
        )
    try:
        with safe_open(folder / _ENCODER_WEIGHTS, framework="numpy") as weights:
            tokens = [name for name in weights.keys() if name.endswith("cls_token")]  # noqa: SIM118 - no mapping
            shapes = [weights.get_slice(name).get_shape() for name in tokens]
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{_ENCODER_WEIGHTS} is not a readable safetensors file ({error}).", _FETCH_AGAIN) from error
    if shapes != [[1, 1, width]]:
        raise WeightsError(
            f"{_ENCODER_WEIGHTS} has no class token of {width} channels.",
            "Take it from the same place as its config.json.",
        )


def _check_matting(path: Path) -> None:
    header = read_onnx_header(path)
    pictures, masks = list(header.inputs.values()), list(header.outputs.values())
    if len(pictures) != 1 or not _fits(pictures[0], _MATTING_PICTURE):
        raise WeightsError(f"{path.name} does not take one picture of 320 x 320 pixels.", "Take u2net.onnx of rembg.")
    if not header.nodes or not masks or not _fits(masks[0], (1, 1, 320, 320)):
        raise WeightsError(f"{path.name} does not give a mask of 320 x 320 pixels.", "Take u2net.onnx of rembg.")


def _fits(shape: Shape, expected: tuple[int, ...]) -> bool:
    """Whether a shape, some of whose sizes may be open, can be the expected one."""
    return len(shape) == len(expected) and all(got in (None, want) for got, want in zip(shape, expected, strict=True))


def _read_config(path: Path) -> dict[str, object]:
    if path.stat().st_size > _CONFIG_BYTES:
        raise WeightsError(f"{path.name} is too long for a configuration.", _FETCH_AGAIN)
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path.name} is not readable ({error}).", _FETCH_AGAIN) from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path.name} is not an object with names and values.", _FETCH_AGAIN)
    return config


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without common memory, which the format does not know."""
    taken: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in taken:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        taken.add(tensor.untyped_storage().data_ptr())
        separate[name] = tensor.contiguous()
    return separate
