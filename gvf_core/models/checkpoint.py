"""Reading weights from files and putting them into networks, strictly: every tensor named, every shape equal.

Files are read without ever running code from them: safetensors, or pickles through torch's restricted unpickler.
"""

import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gvf_core.errors import WeightsError

PICKLED = (".pt", ".pth", ".ckpt", ".bin")
"""Endings of files written by `torch.save`."""
NOT_PICKLED = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
"""What `torch.load` raises at damaged files: whatever its readers of archives and of old pickles stumble over."""
_WRAPPER_PREFIX = "module."
"""Put before every name by the wrapper of multi-process training; the official files carry it or not."""
_LISTED_NAMES = 5


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file or of a `torch.save` file, on the CPU, under names without `module.`.

    Args:
        path: The file; `torch.save` files may hold one state dict only, of tensors or parameters.

    Raises:
        WeightsError: There is no such file, it is damaged, it holds something else than named tensors, or reading
            it would run code from it.
    """
    _require_file(path)
    ending = path.suffix.lower()
    if ending == ".safetensors":
        state = _read_safetensors(path)
    elif ending in PICKLED:
        state = _read_pickled(path)
    else:
        raise WeightsError(
            f"{path.name} does not end like a file of weights.", f"Weights end in .safetensors, {', '.join(PICKLED)}."
        )
    plain = without_wrapper_prefix(state)
    if len(plain) < len(state):
        twice = next(name for name in plain if name in state and _WRAPPER_PREFIX + name in state)
        raise WeightsError(
            f"{path.name} holds {twice} twice, with and without {_WRAPPER_PREFIX!r} in front.", _STATE_DICT
        )
    return plain


def read_tensor(path: Path) -> Tensor:
    """The one tensor of a `torch.save` file: bare, or the only value of a dict.

    Raises:
        WeightsError: As `read_state_dict`, or there are several tensors.
    """
    _require_file(path)
    loaded = _unpickle(path)
    if isinstance(loaded, Mapping) and len(loaded) == 1:
        (loaded,) = loaded.values()
    if not isinstance(loaded, Tensor):
        raise WeightsError(f"{path.name} holds {_description(loaded)}, not one tensor.", _FETCH_AGAIN)
    return _plain(loaded, path.name)


def without_wrapper_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without the `module.` that multi-process training puts before every name."""
    return {name.removeprefix(_WRAPPER_PREFIX): tensor for name, tensor in state.items()}


def load_weights(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put the tensors of a checkpoint into a network.

    A network on the "meta" device, which has shapes but no memory, takes over the tensors themselves; any other
    network gets copies. Either way the network keeps its own types: half-precision files of TRELLIS become float32.

    Args:
        network: With the official names.
        state: Tensors by name, as `read_state_dict` gives them.
        source: What to call the checkpoint in errors.

    Raises:
        WeightsError: A tensor is missing, extra, misshapen, of the wrong kind or not finite; the first ones are named,
            with what was expected and the likely cause. The network is unchanged then.
    """
    expected = network.state_dict()
    _check_names(expected, state, source)
    _check_shapes(expected, state, source)
    converted = {name: state[name].to(tensor.dtype) for name, tensor in expected.items()}
    _check_finite(converted, source)
    on_meta = any(tensor.is_meta for tensor in expected.values())
    network.load_state_dict(converted, strict=True, assign=on_meta)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"There is no file {path}.", "Choose another file.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name} is not a readable safetensors file ({error}).", _FETCH_AGAIN) from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    loaded = _unpickle(path)
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsError(f"{path.name} holds {_description(loaded)}, not tensors by name.", _STATE_DICT)
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"{path.name} holds {_description(tensor)} under {name!r}, not a tensor.", _STATE_DICT)
    return {name: _plain(tensor, f"{path.name} under {name!r}") for name, tensor in loaded.items()}


def _plain(tensor: Tensor, place: str) -> Tensor:
    """The tensor, if it holds all of its values one by one, as networks and safetensors files do."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        kind = "quantised" if tensor.is_quantized else "sparse, nested or without values"
        raise WeightsError(f"The tensor of {place} is {kind}.", "Save it as a plain tensor.")
    return tensor.detach()


def _unpickle(path: Path) -> object:
    """Whatever a `torch.save` file holds, through the reader that runs no code."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} was not read: loading it could run code from it.",
            "Only files with nothing but tensors are read; ask whoever made it for a .safetensors file.",
        ) from error
    except NOT_PICKLED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path.name} is not a readable file of torch ({reason}).", _FETCH_AGAIN) from error


def _check_names(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    if not missing and not extra:
        return
    parts = []
    if missing:
        shapes = (f"{name} {list(expected[name].shape)}" for name in missing)
        parts.append(f"lacks {_enumerate(shapes, len(missing))}")
    if extra:
        shapes = (f"{name} {list(state[name].shape)}" for name in extra)
        parts.append(f"has {_enumerate(shapes, len(extra))} that the network does not know")
    if len(missing) == len(expected):
        cause = "Probably these are the weights of another network."
    elif extra:
        cause = "Probably the network was built with other parameters, or the file mixes several networks."
    else:
        cause = "Probably the file is incomplete or its network has fewer layers."
    raise WeightsError(f"{source} {' and '.join(parts)}.", cause)


def _check_shapes(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    wrong = [name for name, tensor in expected.items() if state[name].shape != tensor.shape]
    if wrong:
        shapes = (f"{name} {list(state[name].shape)} instead of {list(expected[name].shape)}" for name in wrong)
        raise WeightsError(
            f"{source} has {_enumerate(shapes, len(wrong))}.",
            "Probably the checkpoint is of another size than the network: choose the preset it was trained with.",
        )
    kinds = [name for name, tensor in expected.items() if state[name].is_floating_point() != tensor.is_floating_point()]
    if kinds:
        types = (f"{name} {state[name].dtype} instead of {expected[name].dtype}" for name in kinds)
        raise WeightsError(
            f"{source} has {_enumerate(types, len(kinds))}.",
            "Quantised or complex weights are not supported; use the original file.",
        )


def _check_finite(state: Mapping[str, Tensor], source: str) -> None:
    bad = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if bad:
        names = _enumerate(bad, len(bad))
        raise WeightsError(f"{source} has values that are not finite in {names}.", _FETCH_AGAIN)


def _enumerate(items: Iterable[str], count: int) -> str:
    """The first few items in words."""
    first = [item for item, _ in zip(items, range(_LISTED_NAMES), strict=False)]
    more = f" and {count - len(first)} more" if count > len(first) else ""
    return ", ".join(first) + more


def _description(value: object) -> str:
    return f"a value of type {type(value).__name__}"


_FETCH_AGAIN = "Fetch it again."
_STATE_DICT = "Save the state dict of the network alone, as a .safetensors file."
