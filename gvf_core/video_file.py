"""What a video file says about itself, told without torch and by decoding no more than two frames."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av

from gvf_core.errors import VideoError

NAME_OTHER_FILES = {"concat", "dash", "hls", "rtp", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest"}
"""Formats that name other files and addresses, which FFmpeg opens; a driving video is one local file."""
ONE_LOCAL_FILE = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(sorted(av.formats_available - NAME_OTHER_FILES)),
}
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
DECODED = 2
PADDING_PIXELS = 1_000_000
"""FFmpeg counts its own buffers, too: with a limit of 40,000 it refused pictures of 64 x 48."""


@dataclass(frozen=True)
class VideoFacts:
    """Size of a video.

    Attributes:
        width: Pixels, of the largest picture that was seen.
        height: Pixels.
        frames: How many there are; counting ends one above the limit.
    """

    width: int
    height: int
    frames: int


def inspect_video(path: Path, max_pixels: int, max_frames: int) -> VideoFacts:
    """Look into a video file. Nothing larger than the limits is decoded.

    Args:
        path: The file.
        max_pixels: Of one picture.
        max_frames: How far frames are counted in files that do not say how many they hold.

    Raises:
        VideoError: The file is not a readable video.
    """
    try:
        with open_video(path) as container:
            stream = video_stream(path, container)
            bound_pictures(stream, max_pixels)
            stream.thread_type = "NONE"
            sizes = [(stream.width, stream.height)]
            decoded = 0
            if stream.width * stream.height <= max_pixels:
                for frame in islice(container.decode(stream), DECODED):
                    sizes.append((frame.width, frame.height))
                    decoded += 1
            width, height = max(sizes, key=lambda size: size[0] * size[1])
            # the demuxer ends with a packet that is empty
            rest = (packet for packet in container.demux(stream) if packet.size)
            frames = stream.frames or decoded + sum(1 for _ in islice(rest, max_frames + 1))
            return VideoFacts(width, height, frames)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise unreadable_video(path, error) from error


def open_video(path: Path) -> av.container.InputContainer:
    """Open a file for reading; no other file that it may name is touched.

    Raises:
        VideoError: It is a playlist.
        OSError: It cannot be read.
        av.error.FFmpegError: It is in no format that FFmpeg knows.
    """
    with path.open("rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLIST_STARTS):
            raise VideoError(f"{path.name} is a playlist.", "Choose the video file itself.")
    return av.open(str(path), options=ONE_LOCAL_FILE, metadata_errors="replace")


def video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The pictures in an open file.

    Raises:
        VideoError: There are none, or they cannot be decoded.
    """
    if not container.streams.video:
        raise VideoError(f"{path.name} has no video stream.", "Choose a file with moving pictures.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise VideoError(f"{path.name} is coded in a way that cannot be decoded.", "Convert it to H.264 MP4.")
    return stream


def bound_pictures(stream: av.VideoStream, max_pixels: int) -> None:
    """Let FFmpeg itself refuse pictures that are much larger than a limit, before it allocates them."""
    stream.codec_context.options = {"max_pixels": str(2 * max_pixels + PADDING_PIXELS)}


def unreadable_video(path: Path, error: Exception) -> VideoError:
    """FFmpeg cannot read the file; not in its own words, which hold the full path."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return VideoError(f"{path.name} is not a readable video ({reason}).", "Convert it to H.264 MP4.")
