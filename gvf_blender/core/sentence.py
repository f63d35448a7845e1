"""Texts for people that can be translated after their values were filled in."""

from typing import Any


def showable(text: str) -> str:
    """A text that Blender takes: it refuses what Python makes of bytes in file names that are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Sentence(str):
    """An English text that remembers the pattern and the values that it was made of.

    Attributes:
        pattern: The text, with places for values as in `str.format`: what the translations are found by.
        values: By the names of their places; sentences among them are translated, too.
    """

    __slots__ = ("pattern", "values")

    pattern: str
    values: dict[str, Any]

    def __new__(cls, pattern: str, **values: Any) -> "Sentence":
        """Fill the values in; without any, the text is taken as it is."""
        made = super().__new__(cls, showable(pattern.format(**values) if values else pattern))
        made.pattern, made.values = pattern, values
        return made
