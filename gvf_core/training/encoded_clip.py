"""A clip as the diffusion learns from it, as one file: latents, tokens, positions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gvf_core.errors import FileFormatError
from gvf_core.models.posterior import Posterior
from gvf_core.training.kept_tensors import read_origin, write_whole

_NAMES = ("latent_mean", "latent_logvar", "static_tokens", "positions", "image_tokens")


@dataclass(frozen=True)
class EncodedClip:
    """A clip seen from where its frames were taken, which is its front.

    Attributes:
        latents: Distribution of the latents, [frames, latents, channels].
        static_tokens: Activated 14-vectors of canonical Gaussians far from each other, not standardised.
        positions: Where the latent tokens sit.
        image_tokens: Of every frame, float16.
    """

    latents: Posterior
    static_tokens: Float[Tensor, "gaussians 14"]
    positions: Float[Tensor, "latents 3"]
    image_tokens: Float[Tensor, "frames tokens channels"]

    def reduced(self, frames: list[int], tokens: Int[Tensor, " chosen"]) -> "EncodedClip":
        """Some of its frames and static tokens."""
        return EncodedClip(
            Posterior(self.latents.mean[frames], self.latents.logvar[frames]),
            self.static_tokens[tokens],
            self.positions,
            self.image_tokens[frames],
        )


@dataclass(frozen=True)
class Origin:
    """What an encoded clip was made from, as hashes.

    Attributes:
        clip: Of the prepared clip.
        vaes: Of the static and the variation VAE.
        inputs: Of the image encoder, and of how frames and points are given to the networks.
    """

    clip: str
    vaes: str
    inputs: str


def write_encoded_clip(path: Path, clip: EncodedClip, origin: Origin) -> None:
    """Write the file, whole or not at all."""
    latents = clip.latents
    values = (latents.mean, latents.logvar, clip.static_tokens, clip.positions, clip.image_tokens)
    write_whole(path, dict(zip(_NAMES, values, strict=True)), asdict(origin))


def origin_of(path: Path) -> Origin | None:
    """What a file was made from; None if there is none that says so."""
    found = read_origin(path)
    names = [field.name for field in fields(Origin)]
    return Origin(**{name: found[name] for name in names}) if set(names) <= found.keys() else None


def check_vaes(paths: Sequence[Path], vaes: str) -> None:
    """Check that latents are those of certain VAEs.

    Raises:
        FileFormatError: Some are of others, which a diffusion would mix or learn in vain.
    """
    stale = [path for path in paths if (origin := origin_of(path)) is None or origin.vaes != vaes]
    if stale:
        raise FileFormatError(
            f"{len(stale)} of {len(paths)} encoded clips in {stale[0].parent} are not of the present static and "
            "variation VAE.",
            "Encode them again: gvf train encode",
        )


def read_encoded_clip(path: Path) -> EncodedClip:
    """Read the file.

    Raises:
        FileFormatError: It is none.
    """
    try:
        tensors = load_file(path)
        mean, logvar, static, positions, images = (tensors[name] for name in _NAMES)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise FileFormatError(f"{path.name} is no encoded clip ({error}).", "Make it with: gvf train encode") from error
    return EncodedClip(Posterior(mean, logvar), static, positions, images)


def remove_others(folder: Path, clips: Sequence[Path]) -> None:
    """Remove the encoded clips of a folder whose prepared clips are no longer there."""
    names = {clip.name for clip in clips}
    for path in folder.glob("*.safetensors"):
        if path.name not in names:
            path.unlink()


def encoded_paths(folder: Path) -> list[Path]:
    """The encoded clips of a folder.

    Raises:
        FileFormatError: There are none.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise FileFormatError(f"There are no encoded clips in {folder}.", "Make them with: gvf train encode")
    return paths
