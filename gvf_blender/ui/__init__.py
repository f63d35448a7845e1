"""What the artist sees."""

from . import panels, result_panel

CLASSES = (*panels.CLASSES, *result_panel.CLASSES)
