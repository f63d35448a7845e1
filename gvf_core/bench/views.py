"""What fewer views of an asset change in the features that E_GS sees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from gvf_core.canonical.slat import voxel_features, voxels_for_networks
from gvf_core.canonical.voxel_features import visibility, voxel_centers
from gvf_core.capture import Capture
from gvf_core.models.model_set import ModelSet
from gvf_core.progress import Monitor


@dataclass(frozen=True)
class ViewsRow:
    """One number of views.

    Attributes:
        name: Of the preset.
        views: How many.
        similarity: Mean cosine similarity of the voxels' features to those of the last preset, both about the mean of
            its features, which all voxels share.
        worst: The same, 5th percentile.
        error: Distance to those features over their spread, root mean square.
        seen: Views that see a voxel, 5th percentile over the voxels.
    """

    name: str
    views: int
    similarity: float
    worst: float
    error: float
    seen: float


def bench_views(
    captures: Mapping[str, Capture], models: ModelSet, on_progress: Callable[[float], None] = lambda fraction: None
) -> list[ViewsRow]:
    """Compare captures of one asset with different numbers of views to the last one.

    Args:
        captures: By the name of their preset.
        models: Whose image encoder to use.
        on_progress: Called with the fraction done.
    """
    features: dict[str, Tensor] = {}
    total, done = sum(len(capture.views) for capture in captures.values()), 0
    indices = torch.from_numpy(voxels_for_networks(next(iter(captures.values())), 8))
    for name, capture in captures.items():
        part = Monitor(on_progress, lambda: False).part(done / total, (done + len(capture.views)) / total)
        features[name] = voxel_features(capture, indices, models, "mean", part).float()
        done += len(capture.views)
    reference = list(features.values())[-1]
    center = reference.mean(dim=0)
    rows = []
    for name, capture in captures.items():
        own, other = features[name] - center, reference - center
        similarity = torch.cosine_similarity(own, other, dim=1).cpu().numpy()
        error = float((own - other).square().sum().sqrt() / other.square().sum().sqrt())
        centers = voxel_centers(indices)
        seen = sum((visibility(capture, view.camera, centers) == 1).numpy().astype(int) for view in capture.views)
        rows.append(
            ViewsRow(
                name=name,
                views=len(capture.views),
                similarity=float(similarity.mean()),
                worst=float(np.percentile(similarity, 5)),
                error=error,
                seen=float(np.percentile(seen, 5)),
            )
        )
    return rows


def views_table(rows: list[ViewsRow]) -> Table:
    """The rows as a table for the terminal."""
    table = Table("preset")
    for title in ("views", "similarity", "5th percentile", "error", "seen by (5th percentile)"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.views),
            f"{row.similarity:.3f}",
            f"{row.worst:.3f}",
            f"{row.error:.3f}",
            f"{row.seen:.0f}",
        )
    return table
