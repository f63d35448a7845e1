"""Where commands write is checked before they work for hours."""

from pathlib import Path

from gvf_core.errors import SettingsError


def check_folder_of(*outputs: Path | None) -> None:
    """Check that the folders of outputs exist; None is an output that was not asked for.

    Raises:
        SettingsError: One does not.
    """
    for output in outputs:
        if output is not None and not output.parent.is_dir():
            raise SettingsError(f"There is no folder {output.parent}.", "Create it or choose another place.")
