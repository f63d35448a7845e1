"""Which engine animates on this machine. Needs no torch, so that the server can ask it, too."""

from gvf_core.models.store import default_store
from gvf_core.settings import AnimateSettings, EngineName


def choose_engine(settings: AnimateSettings) -> EngineName:
    """The engine by name; "auto" is `diffusion` where trained weights are installed, else `fit`."""
    if settings.engine != "auto":
        return settings.engine
    return "diffusion" if default_store().of_set(settings.weights).is_ready() else "fit"


def check_engine(settings: AnimateSettings) -> EngineName:
    """The same, once it is known that the engine has what it needs.

    Raises:
        WeightsError: Its weights are missing or damaged.
    """
    engine = choose_engine(settings)
    if engine == "diffusion":
        default_store().of_set(settings.weights).for_animating()
    return engine
