"""Reducing a PNG file to its picture."""

import struct

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = {b"IHDR", b"IDAT", b"IEND"}


def picture_only(png: bytes) -> bytes:
    """The same picture without date, render times and other text, so that equal pictures are equal bytes.

    Raises:
        ValueError: The file is not a PNG file or ends too early.
    """
    if not png.startswith(_SIGNATURE):
        raise ValueError("not a PNG file")
    kept = [_SIGNATURE]
    start, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        if start + 12 > len(png):
            raise ValueError("the PNG file ends too early")
        (length,) = struct.unpack_from(">I", png, start)
        kind = png[start + 4 : start + 8]
        # Length, kind, data, checksum.
        end = start + 12 + length
        if end > len(png):
            raise ValueError("the PNG file ends too early")
        if kind in _KEPT:
            kept.append(png[start:end])
        start = end
    return b"".join(kept)
