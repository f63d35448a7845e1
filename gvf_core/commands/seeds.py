"""The seed as an option of commands: one range for all."""

import argparse

MOST = 2**31 - 1
"""As the setting of the engines has it; torch, numpy and Blender take all up to it."""


def seed(text: str) -> int:
    """A seed as typed; for `type=` of an option.

    Raises:
        ArgumentTypeError: It is no whole number, or out of range.
    """
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed. Choose a whole number from 0 to {MOST}.")
    return number
