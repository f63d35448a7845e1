"""Where a USD file looks for its pictures: Blender writes those of every file into a folder of the same name.

A file is text or a "crate": a table of contents at the end leads to sections, of which one holds all names and paths,
packed by LZ4 (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md).
"""

import os
import re
import struct
from pathlib import Path
from typing import BinaryIO

PICTURES = "textures"
"""What Blender calls it."""
_CRATE = b"PXR-USDC"
_CONTENTS_AT = 16
_NAMES = b"TOKENS".ljust(16, b"\0")
_COUNT = struct.Struct("<Q")
_SECTION = struct.Struct("<16sQQ")
_SIZES = struct.Struct("<QQQ")


def look_for_pictures_in(path: Path, folder: str) -> None:
    """Let a file that Blender wrote look for its pictures in another folder beside it.

    Raises:
        ValueError: The file is no USD file as Blender writes them.
        OSError: It cannot be read or written.
    """
    before, after = f"./{PICTURES}/".encode(), b"./" + os.fsencode(folder) + b"/"
    with path.open("r+b") as file:
        if file.read(len(_CRATE)) == _CRATE:
            _change_crate(file, before, after)
            return
    other = path.with_suffix(".changed")
    with path.open("rb") as file, other.open("wb") as changed:
        changed.writelines(_changed_line(line, before, after) for line in file)
    other.replace(path)


def _changed_line(line: bytes, before: bytes, after: bytes) -> bytes:
    def elsewhere(found: re.Match[bytes]) -> bytes:
        target = after + found[2]
        around = b"@@@" if b"@" in target else b"@"
        return around + target + around

    return re.sub(rb"(@@@|@)" + re.escape(before) + rb"(.*?)\1", elsewhere, line) if before in line else line


def _change_crate(file: BinaryIO, before: bytes, after: bytes) -> None:
    """Add the changed names, and a table that leads to them, at the end; the former ones stay as unused bytes."""
    try:
        sections = _sections(file)
        start, _ = sections[_NAMES]
        number, _, size = _read(file, _SIZES, start)
        chunks, block = file.read(1), file.read(size - 1)
        if chunks != b"\0":
            raise ValueError("the names of the crate are in several chunks")
        names = _unpacked(block).split(b"\0")
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"no crate ({error!r})") from error
    changed = b"\0".join(after + name.removeprefix(before) if name.startswith(before) else name for name in names)
    packed = b"\0" + _packed(changed)
    sections[_NAMES] = (file.seek(0, os.SEEK_END), _SIZES.size + len(packed))
    file.write(_SIZES.pack(number, len(changed), len(packed)) + packed)
    contents = file.tell()
    file.write(_COUNT.pack(len(sections)) + b"".join(_SECTION.pack(name, *place) for name, place in sections.items()))
    file.seek(_CONTENTS_AT)
    file.write(_COUNT.pack(contents))


def _sections(file: BinaryIO) -> dict[bytes, tuple[int, int]]:
    """Start and size of each by its name."""
    (contents,) = _read(file, _COUNT, _CONTENTS_AT)
    (count,) = _read(file, _COUNT, contents)
    found = (_SECTION.unpack(file.read(_SECTION.size)) for _ in range(count))
    return {name: (start, size) for name, start, size in found}


def _read(file: BinaryIO, layout: struct.Struct, at: int) -> tuple[int, ...]:
    file.seek(at)
    return layout.unpack(file.read(layout.size))


def _unpacked(block: bytes) -> bytes:
    """An LZ4 block: in turn, bytes as they are, and bytes repeated from some way back."""
    found = bytearray()
    at = 0

    def length(short: int) -> int:
        nonlocal at
        if short == 15:
            while True:
                short += block[at]
                at += 1
                if block[at - 1] != 255:
                    break
        return short

    while True:
        lengths = block[at]
        at += 1
        plain = length(lengths >> 4)
        found += block[at : at + plain]
        at += plain
        if at >= len(block):
            return bytes(found)
        back = int.from_bytes(block[at : at + 2], "little")
        at += 2
        for _ in range(length(lengths & 15) + 4):
            found.append(found[-back])


def _packed(content: bytes) -> bytes:
    """An LZ4 block that repeats nothing."""
    rest = len(content) - 15
    if rest < 0:
        return bytes([len(content) << 4]) + content
    return b"\xf0" + b"\xff" * (rest // 255) + bytes([rest % 255]) + content
