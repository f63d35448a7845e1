"""Which networks' weights an engine is measured with."""

from gvf_core.engine_choice import choose_engine
from gvf_core.evaluation.clip_task import BASELINES, engine_settings
from gvf_core.models.motion_prior import shipped_prior_sha256
from gvf_core.models.store import default_store
from gvf_core.settings import AnimateSettings


def weights_of_engine(engine: str, settings: AnimateSettings) -> str:
    """What tells apart the weights that an engine uses: figures are kept for the same ones only.

    Args:
        engine: Name of an engine or a baseline; baselines use none.
        settings: Of the engines; they name the set of weights.

    Raises:
        WeightsError: They are missing or damaged, so that the engine cannot run.
    """
    if engine in BASELINES:
        return ""
    if choose_engine(engine_settings(engine, settings)) == "fit":
        return f"motion prior {shipped_prior_sha256()}"
    records = default_store().of_set(settings.weights).for_animating()
    return " ".join(file.sha256 for record in records for file in record.files)
