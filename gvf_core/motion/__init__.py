"""Motion engines: ways to find the variation field of a clip."""

from gvf_core.motion.engine import Motion, MotionEngine, MotionTask
from gvf_core.motion.engines import open_engine
from gvf_core.motion.fit import fit
from gvf_core.progress import Monitor

__all__ = ["Monitor", "Motion", "MotionEngine", "MotionTask", "fit", "open_engine"]
