"""What a server sees in a driving video before a job."""

import base64
from dataclasses import dataclass
from typing import Any

from .json_number import whole_number


@dataclass(frozen=True)
class VideoCheck:
    """What a job would cut out of a video.

    Attributes:
        frames: How many it would use.
        warnings: What makes a good result unlikely, in sentences.
        picture: PNG file of four frames evenly over the clip, row by row; what is taken for the object has its own
            colours, the rest lies behind a red veil.
    """

    frames: int
    warnings: tuple[str, ...]
    picture: bytes

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "VideoCheck":
        """From the server's answer.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another kind.
            ValueError: Something cannot be read.
        """
        picture = base64.b64decode(values["picture"], validate=True)
        return cls(whole_number(values["frames"]), tuple(str(warning) for warning in values["warnings"]), picture)
