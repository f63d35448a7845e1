"""What every way to canonical Gaussians gives."""

from dataclasses import dataclass, field
from typing import Any

from gvf_core.gaussians import Gaussians


@dataclass(frozen=True)
class CanonicalGaussians:
    """The asset at rest, G1 of the paper.

    Attributes:
        gaussians: In the unit frame.
        figures: How they came about, for the report.
    """

    gaussians: Gaussians
    figures: dict[str, Any] = field(default_factory=dict, kw_only=True)
