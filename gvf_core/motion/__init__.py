"""Motion engines: ways to find the variation field of a clip."""

from gvf_core.motion.engine import Monitor, Motion, MotionEngine, MotionTask
from gvf_core.motion.fit import fit

ENGINES: dict[str, MotionEngine] = {"fit": fit}
"""Installed engines by name, best last."""

__all__ = ["ENGINES", "Monitor", "Motion", "MotionEngine", "MotionTask", "fit"]
