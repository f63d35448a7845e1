"""Which engines there are."""

from typing import Any

from gvf_core.engine_choice import choose_engine
from gvf_core.motion.diffusion import open_diffusion
from gvf_core.motion.engine import MotionEngine
from gvf_core.motion.fit_engine import FitEngine
from gvf_core.settings import AnimateSettings


def open_engine(settings: AnimateSettings) -> MotionEngine[Any]:
    """The chosen engine, ready to work.

    Raises:
        WeightsError: Its weights are missing, damaged or do not fit together.
    """
    return open_diffusion(settings) if choose_engine(settings) == "diffusion" else FitEngine(settings)
