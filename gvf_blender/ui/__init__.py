"""What the artist sees."""

from . import animate_panel, job_panel, result_panel, server_panel, settings_panels, weights_panel

CLASSES = (
    *animate_panel.CLASSES,
    *settings_panels.CLASSES,
    *job_panel.CLASSES,
    *result_panel.CLASSES,
    *server_panel.CLASSES,
    *weights_panel.CLASSES,
)
