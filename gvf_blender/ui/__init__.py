"""What the artist sees."""

from . import panels

CLASSES = panels.CLASSES
