"""Results in the formats of other programs."""

from gvf_core.export.ply import UpAxis, read_ply, write_ply, write_ply_sequence
from gvf_core.export.preview import write_preview

__all__ = ["UpAxis", "read_ply", "write_ply", "write_ply_sequence", "write_preview"]
