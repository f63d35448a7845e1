"""Tells Blender the translations, and translates what Blender does not translate by itself.

Blender looks up names, descriptions, labels and reports when it draws them. Texts with values in them, sentences that
are wrapped and reasons why a button is off have to be translated before.
"""

from typing import Any

import bpy

from ..core.sentence import Sentence, showable
from . import french, german, japanese, simplified_chinese, spanish

LANGUAGES = {
    "de_DE": german.TEXTS,
    "es": spanish.TEXTS,
    "fr_FR": french.TEXTS,
    "ja_JP": japanese.TEXTS,
    "zh_HANS": simplified_chinese.TEXTS,
}
"""By Blender's names of the languages: translations by English text or pattern."""

_look_up = bpy.app.translations.pgettext_iface
CONTEXT = "GVF"
"""Of texts for which Blender's own translations shall not come first: its "Starting" is unfinished, and its
German "Diffusion" is how smoke spreads."""
_CONTEXTS = (bpy.app.translations.contexts.default, bpy.app.translations.contexts.operator_default, CONTEXT)


def register() -> None:
    """Give Blender the translations; labels of operators have a context of their own, and so has `translated`."""
    bpy.app.translations.register(
        __package__,
        {
            language: {(context, text): translation for text, translation in texts.items() for context in _CONTEXTS}
            for language, texts in LANGUAGES.items()
        },
    )


def unregister() -> None:
    """Take them back."""
    bpy.app.translations.unregister(__package__)


def translated(text: str, **values: Any) -> str:
    """A text in the language of the interface; in English where a translation is missing.

    Args:
        text: English, or a pattern; a `Sentence` brings its own values.
        **values: For the places of a pattern; sentences among them are translated, too.
    """
    pattern = text
    if isinstance(text, Sentence):
        pattern, values = text.pattern, text.values
    found = _look_up(showable(pattern), CONTEXT)
    if not values:
        return found
    told = {name: translated(value) if isinstance(value, Sentence) else value for name, value in values.items()}
    return showable(found.format(**told))
