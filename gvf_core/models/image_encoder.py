"""The image encoder: DINOv2 ViT-L/14 with registers, whose tokens tell the other networks what an image shows.

Three networks read its tokens in three ways, all from one forward pass and all from before its final norm:
`video_tokens` for the variation DiT, `voxel_tokens` for E_GS, `trellis_tokens` for the flows of TRELLIS.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from gvf_core.chunks import chunk_of
from gvf_core.errors import WeightsError
from gvf_core.models.checkpoint import load_weights, read_state_dict
from gvf_core.models.dinov2_names import Dinov2Sizes, from_torch_hub, is_torch_hub, sizes_of, with_names_of

# transformers and huggingface_hub are imported inside functions: loading them takes seconds, which a command that
# encodes no image should not wait for.

Background = Literal["black", "white"]
"""What images are composited on."""
Images: TypeAlias = (
    UInt8[np.ndarray, "n h w channels"] | UInt8[Tensor, "n h w channels"] | Float[Tensor, "n 3 size size"]
)
"""sRGB bytes, with straight alpha or without, or what `prepare_images` made of them."""

HUB_NAME = "facebook/dinov2-with-registers-large"
"""The encoder that every released network was trained with (its ViT-L/14), 304 M parameters."""
TORCH_HUB_FILE = "dinov2_vitl14_reg4_pretrain.pth"
"""The same weights as first published."""
IMAGE_SIZE = 518
"""Side in pixels of the images, 37 patches of 14."""

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""Of ImageNet."""
_CHUNK = 8
"""Images encoded at a time: 0.6 GB beyond the weights, measured at full size in float32."""
_HUB_NAME_PATTERN = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_SAME_IN_ALL = {
    "model_type": "dinov2_with_registers",
    "use_swiglu_ffn": False,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
}
"""What a config must say, where it says anything; sizes are read from the tensors instead."""
_NEEDED = f"The image encoder is DINOv2 ViT-L/14 with registers, {HUB_NAME}."

_logger = logging.getLogger(__name__)


def load_image_encoder(
    source: str | Path = HUB_NAME,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    offline: bool = False,
) -> "ImageEncoder":
    """Build the encoder around weights, without running code from where they come from.

    Args:
        source: A folder or file: `config.json` and `model.safetensors` as the hub has them, or the original
            `dinov2_vitl14_reg4_pretrain.pth`, also as safetensors. Otherwise the name of a model on the hub, which is
            downloaded unless it was before.
        device: Where the network runs.
        dtype: Of its weights and tokens.
        offline: Use what was downloaded before, and never the network.

    Raises:
        WeightsError: There is no such folder or model, it cannot be had, it is damaged, or it is another network.
    """
    name = str(source)
    weights, heads = _locate(source, offline)
    state = read_state_dict(weights)
    if is_torch_hub(state):
        state = from_torch_hub(state, name)
    network = build_network(sizes_of(state, name, heads))
    load_weights(network, with_names_of(network.state_dict(), state), name)
    _logger.info("image encoder from %s on %s", weights, device)
    return ImageEncoder(network.to(device=device, dtype=dtype), device)


def build_network(sizes: Dinov2Sizes) -> nn.Module:
    """The `Dinov2WithRegistersModel` of transformers on the "meta" device: without memory, for `load_weights`."""
    from transformers import AutoModel, Dinov2WithRegistersConfig

    config = Dinov2WithRegistersConfig(
        hidden_size=sizes.width,
        num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads,
        mlp_ratio=sizes.mlp_ratio,
        patch_size=sizes.patch,
        image_size=sizes.image,
        num_register_tokens=sizes.registers,
    )
    with torch.device("meta"):
        return AutoModel.from_config(config, attn_implementation="sdpa")


class ImageEncoder:
    """DINOv2 with registers: images to tokens.

    Bytes are prepared by `prepare_images`; tensors must come from it, or be like its results. Images are encoded a
    chunk at a time, so that memory beyond the tokens themselves does not grow with their number. Every method calls
    its `on_progress` with the fraction done before each chunk; it may raise to stop.

    Attributes:
        network: transformers' `Dinov2WithRegistersModel`.
        device: Where it runs, and where the tokens are.
        sizes: Of the network.
        interpolate_positions: Accept images of other sizes than the stored position embeddings are for. Off, because no
            released network was trained with it, and implementations of DINOv2 differ in how they interpolate.
    """

    def __init__(
        self, network: nn.Module, device: torch.device | str = "cpu", interpolate_positions: bool = False
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.device = torch.device(device)
        heads: int = network.config.num_attention_heads  # type: ignore[union-attr, assignment]
        self.sizes = sizes_of(network.state_dict(), type(network).__name__, heads)
        self.interpolate_positions = interpolate_positions

    @cached_property
    def digest(self) -> str:
        """Hash of the weights, wherever they came from; the large network takes some seconds."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def video_tokens(
        self,
        images: Images,
        background: Background = "black",
        chunk: int = _CHUNK,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> Float[Tensor, "n patches+1 width"]:
        """Tokens for the variation DiT; see `as_video_tokens`.

        Args:
            images: Frames.
            background: For bytes with alpha: black as the DiT was trained with, white as it was used on videos.
            chunk: Images encoded at a time.
            on_progress: Called with the fraction done before each chunk; may raise to stop.

        Raises:
            ValueError: The images have a shape, type or size that the encoder does not take.
        """
        return self._encode(images, self._as_video_tokens, background, chunk, on_progress)

    def voxel_tokens(
        self, images: Images, chunk: int = _CHUNK, on_progress: Callable[[float], None] = lambda fraction: None
    ) -> Float[Tensor, "n patches width"]:
        """Tokens to average in voxels for E_GS, of views on black; see `as_voxel_tokens`.

        Raises:
            ValueError: The images have a shape, type or size that the encoder does not take.
        """
        return self._encode(images, self._as_voxel_tokens, "black", chunk, on_progress)

    def trellis_tokens(
        self, images: Images, chunk: int = _CHUNK, on_progress: Callable[[float], None] = lambda fraction: None
    ) -> Float[Tensor, "n 1+registers+patches width"]:
        """Tokens for the flows of TRELLIS, of images on black; see `as_trellis_tokens`.

        Raises:
            ValueError: The images have a shape, type or size that the encoder does not take.
        """
        return self._encode(images, as_trellis_tokens, "black", chunk, on_progress)

    def prenorm_tokens(
        self,
        images: Images,
        background: Background = "black",
        chunk: int = _CHUNK,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> Float[Tensor, "n 1+registers+patches width"]:
        """All tokens before the final norm: cls, registers, patches row by row. The other three are made of them.

        Raises:
            ValueError: The images have a shape, type or size that the encoder does not take.
        """
        return self._encode(images, lambda tokens: tokens, background, chunk, on_progress)

    def _as_video_tokens(self, tokens: Tensor) -> Tensor:
        return as_video_tokens(tokens, self.sizes.registers)

    def _as_voxel_tokens(self, tokens: Tensor) -> Tensor:
        return as_voxel_tokens(tokens, self.sizes.registers)

    def _encode(
        self,
        images: Images,
        layout: Callable[[Tensor], Tensor],
        background: Background,
        chunk: int,
        on_progress: Callable[[float], None],
    ) -> Tensor:
        if len(images) == 0 or chunk < 1:
            raise ValueError(f"{len(images)} images cannot be encoded {chunk} at a time.")
        tokens = None
        chunk = chunk_of(chunk)
        for start in range(0, len(images), chunk):
            on_progress(start / len(images))
            with torch.inference_mode():
                part = layout(self._prenorm(self._prepared(images[start : start + chunk], background)))
            if tokens is None:
                # Outside the inference mode: a training may need them for its gradients.
                tokens = torch.empty((len(images), *part.shape[1:]), dtype=part.dtype, device=part.device)
            tokens[start : start + len(part)] = part
        assert tokens is not None
        return tokens

    def _prepared(self, images: Images, background: Background) -> Tensor:
        if not (isinstance(images, Tensor) and images.is_floating_point()):
            pixels = images.cpu().numpy() if isinstance(images, Tensor) else images
            return prepare_images(pixels, self.sizes.image, background)
        size = tuple(images.shape[2:])
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"Prepared images are [n, 3, size, size], not {list(images.shape)}.")
        if self.interpolate_positions:
            if any(side == 0 or side % self.sizes.patch for side in size):
                raise ValueError(
                    f"Images of {size[1]}x{size[0]} pixels are not made of {self.sizes.patch}-pixel patches."
                )
        elif size != (self.sizes.image, self.sizes.image):
            raise ValueError(
                f"The encoder takes {self.sizes.image}x{self.sizes.image} pixels, not {size[1]}x{size[0]}, unless "
                "interpolate_positions is set."
            )
        return images

    def _prenorm(self, images: Tensor) -> Tensor:
        """The input of the final norm, without running it and without keeping what the blocks in between give."""
        embedded = self.network.get_submodule("embeddings")(images.to(self.device))
        return self.network.get_submodule("encoder")(embedded).last_hidden_state


def as_video_tokens(
    tokens: Float[Tensor, "n 1+registers+patches width"], registers: int
) -> Float[Tensor, "n patches+1 width"]:
    """Patches, then the cls token LAST, without registers and without any norm: the image tokens of the variation DiT.

    So does the official script; comments elsewhere in its repository that put cls first are wrong.
    """
    return torch.cat([tokens[:, 1 + registers :], tokens[:, :1]], dim=1)


def as_voxel_tokens(
    tokens: Float[Tensor, "n 1+registers+patches width"], registers: int
) -> Float[Tensor, "n patches width"]:
    """Patches only, row by row from the top left, without any norm: what TRELLIS averages over views in each voxel."""
    return tokens[:, 1 + registers :]


def as_trellis_tokens(
    tokens: Float[Tensor, "n 1+registers+patches width"],
) -> Float[Tensor, "n 1+registers+patches width"]:
    """All tokens through a layer norm without weights (eps 1e-5) in place of DINOv2's own: the condition of TRELLIS."""
    return functional.layer_norm(tokens.float(), tokens.shape[-1:], eps=1e-5).to(tokens.dtype)


def prepare_images(
    images: UInt8[np.ndarray, "n h w channels"], size: int = IMAGE_SIZE, background: Background = "black"
) -> Float[Tensor, "n 3 size size"]:
    """Images as the encoder takes them: square by Lanczos resizing, composited, normalised by ImageNet's statistics.

    The order follows the official scripts, and differs with the background:

    - black (synthetic frames, views for voxel features, TRELLIS): first RGBA is resized, as bytes; then colour is
      multiplied by alpha, in float.
    - white (videos in the wild): first each image is composited and rounded to bytes, because the official script saves
      its frames so; then RGB is resized, as bytes.

    Pillow resizes RGBA with alpha multiplied in and takes it out again, so what colour transparent pixels have does not
    matter in either order. Images that are not square are distorted; cropping is done before.

    Args:
        images: sRGB bytes, 3 channels or 4 with straight alpha.
        size: Side of the results in pixels.
        background: What images with alpha are composited on.

    Raises:
        ValueError: The images have another shape or type.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (3, 4) or 0 in images.shape[1:3]:
        raise ValueError(f"Images are uint8 [n, h, w, 3 or 4], not {images.dtype} {list(images.shape)}.")
    prepared = np.empty((len(images), size, size, 3), dtype=np.float32)
    for image, result in zip(images, prepared, strict=True):
        if background == "white" and image.shape[-1] == 4:
            image = _on_white(image)
        resized = Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.LANCZOS)
        values = np.asarray(resized, dtype=np.float32) / 255
        result[:] = values[..., :3] * values[..., 3:] if values.shape[-1] == 4 else values
    prepared = (prepared - _MEAN) / _STD
    return torch.from_numpy(prepared).permute(0, 3, 1, 2).contiguous()


def _on_white(image: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _locate(source: str | Path, offline: bool) -> tuple[Path, int | None]:
    """The file of weights, and the number of attention heads where something says it."""
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return path, None
    if isinstance(source, str) and _HUB_NAME_PATTERN.fullmatch(source):
        return _on_hub(source, offline)
    raise WeightsError(f"There is no folder {source}.", f"Give the folder of the image encoder, or {HUB_NAME!r}.")


def _in_folder(folder: Path) -> tuple[Path, int | None]:
    config = folder / _CONFIG
    heads = _checked_heads(config, str(folder)) if config.is_file() else None
    safe = sorted(folder.glob("*.safetensors"))
    if folder / _WEIGHTS in safe:
        return folder / _WEIGHTS, heads
    if len(safe) > 1:
        raise WeightsError(
            f"{folder} holds {len(safe)} files of weights and none is called {_WEIGHTS}.", "Give the file itself."
        )
    if safe:
        return safe[0], heads
    # A config comes with the files of the hub, whose pickles are not needed: it has them as safetensors too.
    if not config.is_file() and (folder / TORCH_HUB_FILE).is_file():
        return folder / TORCH_HUB_FILE, None
    raise WeightsError(f"{folder} holds neither {_WEIGHTS} nor {TORCH_HUB_FILE}.", _NEEDED)


def _on_hub(name: str, offline: bool) -> tuple[Path, int | None]:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        config, weights = (
            Path(huggingface_hub.hf_hub_download(name, file, local_files_only=offline)) for file in (_CONFIG, _WEIGHTS)
        )
    except LocalEntryNotFoundError as error:
        if offline:
            raise WeightsError(
                f"{name} is no folder here, and no model that was downloaded before.",
                "Allow the download once, or give the folder that holds it.",
            ) from error
        raise WeightsError(
            f"{name} is no folder here, and huggingface.co, where it would be downloaded, cannot be reached.",
            "Check the connection, or give the folder that holds it.",
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(f"{name} is no folder here, and no public model on huggingface.co.", _NEEDED) from error
    except EntryNotFoundError as error:
        raise WeightsError(f"{name} on huggingface.co lacks {_CONFIG} or {_WEIGHTS}.", _NEEDED) from error
    # The client lets what its HTTP library raises pass through, and that library changes with its version.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{name} could not be downloaded ({reason}).", "Try again, or give the folder that holds it."
        ) from error
    return weights, _checked_heads(config, name)


def _checked_heads(path: Path, source: str) -> int | None:
    """The number of attention heads from a config, which must be one of DINOv2 with registers."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{source} has a {_CONFIG} that is not readable ({error}).", "Fetch it again.") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise WeightsError(f"{source} has a {_CONFIG} that names no model_type.", _NEEDED)
    for name, needed in _SAME_IN_ALL.items():
        if config.get(name, needed) != needed:
            raise WeightsError(f"{source} has {name} {config[name]!r} in its {_CONFIG}, not {needed!r}.", _NEEDED)
    heads = config.get("num_attention_heads")
    if heads is not None and (not isinstance(heads, int) or heads < 1):
        raise WeightsError(f"{source} has {heads!r} attention heads in its {_CONFIG}.", _NEEDED)
    return heads
