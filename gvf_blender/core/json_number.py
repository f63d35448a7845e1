"""Numbers from JSON that somebody else wrote: Python reads NaN, 1e999 and thousands of digits without a word."""

import math
from typing import Any

LARGEST = 2.0**53
"""Beyond it not every whole number has a double, and nothing that we count is near it."""


def number(value: Any) -> float:
    """A number that one can calculate with.

    Raises:
        TypeError: It is none.
        ValueError: It is none, not finite or too large.
    """
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not abs(found) <= LARGEST:
        raise ValueError(f"{found} is not finite, or too large")
    return found


def whole_number(value: Any) -> int:
    """The same, without what comes after the point.

    Raises:
        TypeError: As `number`.
        ValueError: As `number`.
    """
    return int(number(value))
