"""Sparse voxels: where they are, their windows, their neighbours, coarser and finer grids.

Coordinates are int [voxels, 4]: batch item, x, y, z; each occurs once. Features are [voxels, channels] in the same
order. Everything that depends on coordinates alone is computed once for all layers that need it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gvf_core.models.attention import KeysValues, merge_heads

_SMALLEST_BUCKET = 16
_BUCKET_GROWTH = 1.3
"""Windows of one padded call differ in size by at most this factor, the smallest ones aside."""

AttentionPlan = Literal["loop", "buckets"]


@dataclass(frozen=True)
class Bucket:
    """Windows of about the same number of voxels, padded to the largest.

    Attributes:
        index: Voxels of each window in window order; anything where there is none.
        valid: Where there is one.
    """

    index: Int[Tensor, "windows size"]
    valid: Bool[Tensor, "windows size"]


@dataclass(frozen=True)
class Windows:
    """Voxels grouped into cubic windows.

    Attributes:
        order: Voxels window by window.
        inverse: The place of each voxel in that order.
        sizes: Number of voxels of each occupied window.
        buckets: The same windows by size; empty where they are attended to one by one.
    """

    order: Int[Tensor, " voxels"]
    inverse: Int[Tensor, " voxels"]
    sizes: tuple[int, ...]
    buckets: tuple[Bucket, ...]


def partition(
    coordinates: Int[Tensor, "voxels 4"], window: int, shift: int, plan: AttentionPlan | None = None
) -> Windows:
    """Group voxels by window: (coordinate + shift) // window per axis and batch item, without wrapping around.

    Args:
        coordinates: Of the voxels.
        window: Edge of a window in voxels.
        shift: Added to the coordinates first.
        plan: One attention call per window ("loop": fastest on a CPU, where 20k voxels took 206 ms against 479 ms),
            or padded calls for windows of similar size ("buckets": few launches, for a GPU). By device if not given.

    Raises:
        ValueError: There are no voxels.
    """
    if not len(coordinates):
        raise ValueError("There are no voxels.")
    cell = torch.cat([coordinates[:, :1], (coordinates[:, 1:] + shift) // window], dim=1)
    code = _code(cell, cell.amax(dim=0) + 1)
    order = torch.argsort(code, stable=True)
    _, counts = torch.unique_consecutive(code[order], return_counts=True)
    plan = plan or ("buckets" if coordinates.is_cuda else "loop")
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return Windows(order, inverse, tuple(counts.tolist()), _buckets(counts) if plan == "buckets" else ())


def windowed_attention(
    queries: Float[Tensor, "voxels heads channels"],
    context: KeysValues,
    windows: Windows,
) -> Float[Tensor, "voxels width"]:
    """Full attention inside each window.

    Args:
        queries: In window order.
        context: Keys and values, [voxels, heads, channels] each, in window order.
        windows: The windows.

    Returns:
        The attended values in window order, heads put together.
    """
    if windows.buckets:
        return _attention_in_buckets(queries, context, windows.buckets)
    parts = (part.transpose(0, 1)[None].split(windows.sizes, dim=2) for part in (queries, *context))
    return torch.cat([merge_heads(F.scaled_dot_product_attention(q, k, v))[0] for q, k, v in zip(*parts, strict=True)])


def _attention_in_buckets(queries: Tensor, context: KeysValues, buckets: tuple[Bucket, ...]) -> Tensor:
    out = torch.empty_like(queries)
    for bucket in buckets:
        q, k, v = (part[bucket.index].transpose(1, 2) for part in (queries, *context))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bucket.valid[:, None, None])
        out[bucket.index[bucket.valid]] = attended.transpose(1, 2)[bucket.valid]
    return out.flatten(1)


def _buckets(counts: Int[Tensor, " windows"]) -> tuple[Bucket, ...]:
    """Windows in groups of similar size."""
    begin = counts.cumsum(0) - counts
    by_size = torch.argsort(counts)
    sizes = counts[by_size].tolist()
    buckets, first = [], 0
    while first < len(sizes):
        limit = max(sizes[first], _SMALLEST_BUCKET) * _BUCKET_GROWTH
        last = first
        while last < len(sizes) and sizes[last] <= limit:
            last += 1
        group = by_size[first:last]
        place = torch.arange(sizes[last - 1], device=counts.device)
        valid = place < counts[group, None]
        buckets.append(Bucket(torch.where(valid, begin[group, None] + place, begin[group, None]), valid))
        first = last
    return tuple(buckets)


@dataclass(frozen=True)
class Neighborhood:
    """Which occupied voxels are neighbours, for submanifold convolution with a kernel of three.

    Attributes:
        pairs: For each of the 27 places of the kernel (x slowest, z fastest) the voxels that have a neighbour there
            and those neighbours.
    """

    pairs: tuple[tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]], ...]


def find_neighborhood(coordinates: Int[Tensor, "voxels 4"]) -> Neighborhood:
    """The neighbours of every voxel within its batch item."""
    # One cell of margin on both sides keeps a step over the border from meeting the next row.
    extent = coordinates.amax(dim=0) + 3
    code = _code(coordinates + coordinates.new_tensor([0, 1, 1, 1]), extent)
    known, order = torch.sort(code)
    stride_y, stride_x = int(extent[3]), int(extent[3] * extent[2])
    pairs = []
    for x in (-1, 0, 1):
        for y in (-1, 0, 1):
            for z in (-1, 0, 1):
                wanted = code + (x * stride_x + y * stride_y + z)
                place = torch.searchsorted(known, wanted).clamp_max(len(known) - 1)
                target = torch.nonzero(known[place] == wanted)[:, 0]
                pairs.append((target, order[place[target]]))
    return Neighborhood(tuple(pairs))


def submanifold_convolution(
    features: Float[Tensor, "voxels in_channels"],
    neighborhood: Neighborhood,
    weight: Float[Tensor, "out_channels 3 3 3 in_channels"],
    bias: Float[Tensor, " out_channels"],
) -> Float[Tensor, "voxels out_channels"]:
    """Convolution at the occupied voxels with zeros elsewhere.

    The weight has the layout of spconv 2.x, [out, x, y, z, in]; the result equals a dense convolution of a zero-filled
    grid at the occupied voxels (both measured against spconv 2.3.8).
    """
    # The 27 products are added in float32: in bfloat16, each sum would round.
    out = bias.float().repeat(len(features), 1)
    kernels = weight.flatten(1, 3).unbind(1)
    for (target, source), kernel in zip(neighborhood.pairs, kernels, strict=True):
        out.index_add_(0, target, (features[source] @ kernel.T).float())
    return out


@dataclass(frozen=True)
class CoarseGrid:
    """A grid of half the resolution.

    Attributes:
        coordinates: Its occupied voxels, sorted by batch item, x, y, z.
        parent: The coarse voxel of every fine one.
        children: The fine voxels of every coarse one; the number of fine voxels where there is none.
    """

    coordinates: Int[Tensor, "coarse 4"]
    parent: Int[Tensor, " fine"]
    children: Int[Tensor, "coarse places"]

    def pool(self, features: Float[Tensor, "fine channels"]) -> Float[Tensor, "coarse channels"]:
        """The sum over each coarse voxel's fine ones, divided by their number plus one.

        The plus one is the official `SparseDownsample`: its mean counts the zero that it starts from, and the released
        weights were trained with that.
        """
        padded = F.pad(features, (0, 0, 0, 1))
        count = (self.children < len(features)).sum(dim=1, keepdim=True) + 1
        # Place by place: adding at shared indices has no fixed order on a GPU.
        return sum((padded[place] for place in self.children[:, 1:].T), start=padded[self.children[:, 0]]) / count

    def spread(self, features: Float[Tensor, "coarse channels"]) -> Float[Tensor, "fine channels"]:
        """The features of each fine voxel's coarse one."""
        return features[self.parent]


def coarsen(coordinates: Int[Tensor, "voxels 4"], factor: int = 2) -> CoarseGrid:
    """The grid of a lower resolution that the voxels lie in."""
    cell = torch.cat([coordinates[:, :1], coordinates[:, 1:] // factor], dim=1)
    extent = cell.amax(dim=0) + 1
    code, parent = torch.unique(_code(cell, extent), return_inverse=True)
    x, y, z = (int(size) for size in extent[1:])
    axes = [code // (x * y * z), code // (y * z) % x, code // z % y, code % z]
    within = (coordinates[:, 1:] % factor).long()
    place = (within[:, 0] * factor + within[:, 1]) * factor + within[:, 2]
    children = torch.full((len(code), factor**3), len(coordinates), device=coordinates.device)
    children[parent, place] = torch.arange(len(coordinates), device=coordinates.device)
    return CoarseGrid(torch.stack(axes, dim=1).to(coordinates.dtype), parent, children)


def item_slices(coordinates: Int[Tensor, "voxels 4"]) -> list[slice]:
    """Where the voxels of each batch item stand.

    Raises:
        ValueError: There are none, they are not sorted by item, or an item has none.
    """
    item, counts = torch.unique_consecutive(coordinates[:, 0], return_counts=True)
    if item.tolist() != list(range(len(item))) or not len(item):
        raise ValueError(
            f"Voxels must be sorted by batch item, each with some, from 0 on; the items are {item.tolist()}."
        )
    ends = counts.cumsum(0).tolist()
    return [slice(end - count, end) for end, count in zip(ends, counts.tolist(), strict=True)]


def _code(cells: Int[Tensor, "voxels 4"], extent: Int[Tensor, "4"]) -> Int[Tensor, " voxels"]:
    """One number per cell, ordered by batch item, x, y, z."""
    item, x, y, z = cells.long().unbind(1)
    _, size_x, size_y, size_z = extent.long()
    return ((item * size_x + x) * size_y + y) * size_z + z
