"""What a PNG file holds, read without decoding it."""

import struct

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = {b"IHDR", b"IDAT", b"IEND"}
_HEADER = struct.Struct(">8sI4sII")
HEADER_BYTES = _HEADER.size
"""So much of a file tells the size of its picture."""


def picture_size(png: bytes) -> tuple[int, int]:
    """Width and height that a PNG file states at its beginning; a decoder holds on to them.

    Args:
        png: The file, or its first `HEADER_BYTES`.

    Raises:
        ValueError: It is not the beginning of a PNG file.
    """
    if len(png) < HEADER_BYTES:
        raise ValueError("the PNG file ends too early")
    signature, _, kind, width, height = _HEADER.unpack_from(png)
    if (signature, kind) != (_SIGNATURE, b"IHDR"):
        raise ValueError("not a PNG file")
    return width, height


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
