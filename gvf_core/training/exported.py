"""Weights that a run writes: networks under official names, statistics, a small image encoder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gvf_core.errors import WeightsError
from gvf_core.models.checkpoint import read_state_dict
from gvf_core.models.model_set import Statistics
from gvf_core.models.record import sha256_of
from gvf_core.models.registry import FOR_ANIMATING, Part
from gvf_core.models.roles import Role
from gvf_core.models.store import Store

STATIC_VAE, VARIATION_VAE, DIT = "static_vae.safetensors", "variation_vae.safetensors", "dit.safetensors"
IMAGE_ENCODER = "image_encoder"
_VAES, _STATISTICS_HASH = "vaes", "statistics"
_NETWORKS = {Role.STATIC_VAE: STATIC_VAE, Role.VARIATION_VAE: VARIATION_VAE, Role.VARIATION_DIT: DIT}
_STATISTICS = ("static_mean", "static_std", "deformation_mean", "deformation_std")


def save_part(state: Mapping[str, Tensor], prefix: str, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write the tensors whose names begin so, without that beginning; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    partial = path.with_suffix(".partial")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in part.items()}, partial, metadata)
    partial.replace(path)


def save_image_encoder(network: nn.Module, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write a small image encoder the way the hub has DINOv2.

    Args:
        network: transformers' network, for its sizes.
        state: Of the stage, with "image_encoder." in front.
        folder: Where to.
    """
    save_part(state, f"{IMAGE_ENCODER}.", folder / "model.safetensors")
    config = network.config.to_dict()  # type: ignore[union-attr, operator]
    (folder / "config.json").write_text(json.dumps(config, indent=2, default=str), encoding="utf-8")


def save_statistics(statistics: Statistics, folder: Path) -> None:
    """Write the four files under official names."""
    values = (statistics.static_mean, statistics.static_std, statistics.latent_mean, statistics.latent_std)
    for name, value in zip(_STATISTICS, values, strict=True):
        torch.save(value, folder / f"{name}.pt")


def remove_statistics(folder: Path) -> None:
    """Remove them while what they are taken of changes."""
    for name in _STATISTICS:
        (folder / f"{name}.pt").unlink(missing_ok=True)


def read_statistics(folder: Path) -> Statistics:
    """The statistics that `save_statistics` wrote.

    Raises:
        WeightsError: They are not there.
    """
    paths = [folder / f"{name}.pt" for name in _STATISTICS]
    if missing := [path.name for path in paths if not path.exists()]:
        raise WeightsError(f"{folder} lacks {', '.join(missing)}.", "Make them with: gvf train encode")
    return Statistics(*(torch.load(path, weights_only=True) for path in paths))


def vaes_digest(folder: Path) -> str:
    """Hash of what the first two stages made: latents of one are nothing to another, nor is a DiT that learnt them.

    Args:
        folder: `RunFolder.weights`, with both VAEs in it.
    """
    hashes = (sha256_of(folder / name) for name in (STATIC_VAE, VARIATION_VAE))
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def check_dit(folder: Path) -> None:
    """Check that the DiT was trained on latents of the VAEs beside it, standardised as the statistics there say.

    One that does not say what it was trained on is believed.

    Args:
        folder: `RunFolder.weights`, with all of them in it.

    Raises:
        WeightsError: It was trained on others, so that what it draws would be decoded to nonsense; or there are no
            statistics.
    """
    try:
        with safe_open(folder / DIT, "pt") as file:
            told = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{DIT} cannot be read ({error}).", "Train it again: gvf train diffusion") from error
    there = {_VAES: vaes_digest(folder), _STATISTICS_HASH: _statistics_digest(read_statistics(folder))}
    if other := [name for name, digest in there.items() if told.get(name, digest) != digest]:
        what = "latents of other VAEs" if _VAES in other else "latents of other clips, with other statistics,"
        raise WeightsError(
            f"{DIT} was trained on {what} than those of the run now.",
            "Train it again: gvf train encode, then gvf train diffusion",
        )


def save_dit(state: Mapping[str, Tensor], prefix: str, folder: Path, vaes: str, statistics: Statistics) -> None:
    """Write the DiT as `save_part` does, with hashes of the VAEs whose latents it learns and of their statistics."""
    save_part(state, prefix, folder / DIT, {_VAES: vaes, _STATISTICS_HASH: _statistics_digest(statistics)})


def _statistics_digest(statistics: Statistics) -> str:
    digest = hashlib.sha256()
    for values in (statistics.static_mean, statistics.static_std, statistics.latent_mean, statistics.latent_std):
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def install_run(folder: Path, store: Store) -> list[str]:
    """Put everything that a run exported into a store of weights; returns the names of the entries.

    Networks are stored in float16, which halves them; whoever loads them computes in float32 as before.

    Args:
        folder: `RunFolder.weights`.
        store: Of the set.

    Raises:
        WeightsError: A part is missing or does not fit; parts before it are installed then.
    """
    if all((folder / name).exists() for name in _NETWORKS.values()):
        check_dit(folder)
    installed = []
    for entry in FOR_ANIMATING:
        if entry.role is Part.IMAGE_ENCODER:
            files = [folder / IMAGE_ENCODER / file.name for file in entry.files]
        elif entry.role is Part.STATISTICS:
            files = [folder / file.name for file in entry.files]
        else:
            files = [folder / _NETWORKS[Role(entry.role)]]
        if missing := [file.name for file in files if not file.exists()]:
            raise WeightsError(f"The run has no {', '.join(missing)}.", "Finish all stages first: docs/training.md.")
        with TemporaryDirectory() as scratch:
            store.install(entry.name, [_halved(file, Path(scratch)) for file in files])
        installed.append(entry.name)
    return installed


def _halved(path: Path, folder: Path) -> Path:
    """A copy of a network's file in float16; any other file as it is."""
    if path.suffix != ".safetensors":
        return path
    copy = folder / path.name
    save_file({name: tensor.half() for name, tensor in read_state_dict(path).items()}, copy)
    return copy
