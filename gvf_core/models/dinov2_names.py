"""Names and sizes of DINOv2 with registers: from its two kinds of files to the network of transformers.

The original files (`dinov2_vitl14_reg4_pretrain.pth`) name tensors as torch.hub's network does and fuse queries, keys
and values. The files of the hub name them as transformers first did; its network has since changed the names of the
attention. Needs torch only.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isqrt

from torch import Tensor

from gvf_core.errors import WeightsError

HEAD_WIDTH = 64
"""Channels of an attention head in every published DINOv2, whose files do not say it."""

_EMBEDDINGS = {
    "cls_token": "embeddings.cls_token",
    "register_tokens": "embeddings.register_tokens",
    "pos_embed": "embeddings.position_embeddings",
    "mask_token": "embeddings.mask_token",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_IN_BLOCK = {
    "norm1": "norm1",
    "attn.proj": "attention.o_proj",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "ls2.gamma": "layer_scale2.lambda1",
}
_SPLIT_QKV = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+?)(\.weight|\.bias|)")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")

_OTHER_SPELLING = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}
"""Of the attention: in the files of the hub and the networks of transformers 4, and in the networks of 5."""

_SWIGLU = (".mlp.w12.", ".mlp.weights_in.", ".mlp.gate_proj.")
_SIZED = {
    "embeddings.register_tokens": 3,
    "embeddings.position_embeddings": 3,
    "embeddings.patch_embeddings.projection.weight": 4,
    "encoder.layer.0.mlp.fc1.weight": 2,
}
"""The tensors whose shapes give the sizes, with their numbers of dimensions."""
_NEEDED = "The image encoder is DINOv2 ViT-L/14 with registers (dinov2_vitl14_reg)."


@dataclass(frozen=True)
class Dinov2Sizes:
    """Everything that the network of a DINOv2 with registers is built from.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden channels of the feed-forward networks over the width.
        patch: Side of a patch in pixels.
        grid: Patches along a side of the image that the stored position embeddings are for.
        registers: Number of register tokens.
    """

    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: int = 4
    patch: int = 14
    grid: int = 37
    registers: int = 4

    @property
    def image(self) -> int:
        """Side in pixels of the images that the stored position embeddings are for."""
        return self.grid * self.patch


def is_torch_hub(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors carry the names of the original files."""
    return "cls_token" in state or "patch_embed.proj.weight" in state


def from_torch_hub(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors of an original file under the names of transformers 5, with queries, keys and values apart.

    Names that DINOv2 does not have are kept, for the strict check to report.

    Args:
        state: Tensors by their torch.hub names.
        source: What to call the file in errors.

    Raises:
        WeightsError: A fused tensor of queries, keys and values cannot be split in three.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        block = _BLOCK.fullmatch(name)
        if block is None:
            converted[_EMBEDDINGS.get(name, name)] = tensor
            continue
        index, part, ending = block.groups()
        if part == "attn.qkv":
            if tensor.ndim == 0 or len(tensor) % 3:
                raise WeightsError(f"{source} has {name} {list(tensor.shape)}, not three equal parts.", _NEEDED)
            for target, third in zip(_SPLIT_QKV, tensor.chunk(3), strict=True):
                converted[f"encoder.layer.{index}.{target}{ending}"] = third
        elif part in _IN_BLOCK:
            converted[f"encoder.layer.{index}.{_IN_BLOCK[part]}{ending}"] = tensor
        else:
            converted[name] = tensor
    return converted


def with_names_of(expected: Iterable[str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with the attention spelled as a network expects it; other names are kept.

    Both spellings of one tensor in the same file stay two tensors, for the strict check to report.

    Args:
        expected: Names in the network.
        state: Tensors under names of any version of transformers.
    """
    known = set(expected)
    renamed = {}
    for name, tensor in state.items():
        other = _other_spelling(name)
        wanted = name not in known and other in known and other not in state
        renamed[other if wanted else name] = tensor
    return renamed


def sizes_of(state: Mapping[str, Tensor], source: str, heads: int | None = None) -> Dinov2Sizes:
    """What network tensors are for, from their shapes.

    Args:
        state: Tensors under names of transformers.
        source: What to call the file in errors.
        heads: Attention heads where they are known; otherwise 64 channels make a head, as in every published DINOv2.

    Raises:
        WeightsError: These are not the tensors of a DINOv2 with registers, or they are those of the giant one.
    """
    if any(mark in name for name in state for mark in _SWIGLU):
        raise WeightsError(f"{source} has gated feed-forward networks (SwiGLU), as the giant DINOv2 has.", _NEEDED)
    for name, dimensions in _SIZED.items():
        if name not in state:
            raise WeightsError(f"{source} lacks {name}: it is no DINOv2 with registers.", _NEEDED)
        shape = list(state[name].shape)
        if len(shape) != dimensions or 0 in shape:
            raise WeightsError(f"{source} has {name} {shape}: it is no DINOv2 with registers.", _NEEDED)
    registers, positions, projection, hidden = (state[name].shape for name in _SIZED)
    width, patch = projection[0], projection[-1]
    grid = isqrt(positions[1] - 1)
    if grid == 0 or grid**2 != positions[1] - 1:
        raise WeightsError(f"{source} has positions for {positions[1] - 1} patches, which is no square.", _NEEDED)
    heads = heads or width // HEAD_WIDTH
    if heads <= 0 or width % heads:
        raise WeightsError(f"{source} has {width} channels, which {heads} attention heads cannot share.", _NEEDED)
    depth = len({match[1] for name in state if (match := _LAYER.match(name))})
    return Dinov2Sizes(width, depth, heads, hidden[0] // width, patch, grid, registers[1])


def _other_spelling(name: str) -> str:
    for first, second in _OTHER_SPELLING.items():
        if f".{first}." in name:
            return name.replace(first, second)
        if f".{second}." in name:
            return name.replace(second, first)
    return name
