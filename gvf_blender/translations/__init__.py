"""The extension's texts in the language of Blender's interface."""

from .translate import LANGUAGES, register, translated, unregister

__all__ = ["LANGUAGES", "register", "translated", "unregister"]
