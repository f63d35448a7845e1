"""The extension's texts in the language of Blender's interface."""

from .translate import CONTEXT, LANGUAGES, register, translated, unregister

__all__ = ["CONTEXT", "LANGUAGES", "register", "translated", "unregister"]
