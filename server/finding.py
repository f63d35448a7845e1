"""What an upload holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What is in an upload.

    Attributes:
        pixels: Of one picture of a video; of all pictures of a capture together.
        pictures: Frames or views.
        vertices: Of a capture; 0 for a video.
    """

    pixels: int = 0
    pictures: int = 0
    vertices: int = 0


@dataclass(frozen=True)
class VideoLook:
    """What a job would cut out of a video.

    Attributes:
        frames: How many it would use.
        warnings: What makes a good result unlikely.
        picture: Four frames with a red veil over what is left out, a PNG file in base64.
    """

    frames: int
    warnings: list[str]
    picture: str
