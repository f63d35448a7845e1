"""Which engines there are, and which one is the best on this machine."""

from typing import Any

from gvf_core.models.store import default_store
from gvf_core.motion.diffusion import open_diffusion
from gvf_core.motion.engine import MotionEngine
from gvf_core.motion.fit_engine import FitEngine
from gvf_core.settings import AnimateSettings, EngineName


def choose_engine(settings: AnimateSettings) -> EngineName:
    """The engine by name; "auto" is `diffusion` where trained weights are installed, else `fit`."""
    if settings.engine != "auto":
        return settings.engine
    return "diffusion" if default_store().of_set(settings.weights).is_ready() else "fit"


def open_engine(settings: AnimateSettings) -> MotionEngine[Any]:
    """The chosen engine, ready to work.

    Raises:
        WeightsError: Its weights are missing, damaged or do not fit together.
    """
    return open_diffusion(settings) if choose_engine(settings) == "diffusion" else FitEngine(settings)
