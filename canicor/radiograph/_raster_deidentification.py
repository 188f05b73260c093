"""PNG, JPEG and TIFF files without what they say beside their pixels."""

import re
import struct
from collections.abc import Sequence

from PIL import TiffTags

from canicor.radiograph._image import Deidentified, decoding, refusal

# Of PNG (its specification, section 11): the picture, and numbers that say how to show it.
_CHUNKS = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"bKGD", b"cHRM", b"gAMA", b"pHYs", b"sBIT", b"sRGB"}
)

# Of JPEG (ISO/IEC 10918-1, table B.1): frames, tables and scans; and those that stand alone.
_SEGMENTS = frozenset((*range(0xC0, 0xD0), *range(0xDA, 0xE0)))
_ALONE = frozenset({0x01, 0xD8})
_SCAN, _END, _JFIF, _ADOBE = 0xDA, 0xD9, 0xE0, 0xEE
# In a scan, 0 behind 255 is a pixel's, and 208 to 215 begin its next part.
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")

# Of TIFF: the picture, and how large and how bright its pixels are. The orientation goes too, for key points are
# in pixels as they are stored.
_KEPT_TAGS = frozenset(
    (254, 255, *range(256, 260), 262, 266, 273, *range(277, 285), 292, 293, 296, 317, 320, *range(322, 326))
) | {338, 339, 340, 341, 347, 529, 530, 531, 532}
_COMPRESSION, _STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 259, 273, 279, 324, 325
_OLD_JPEG = 6
# Bytes of a number by its type (TIFF 6.0, section 2, and BigTIFF), and of whole ones the format.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {3: "H", 4: "I", 16: "Q"}

_BEHIND = "data behind the image"


def raster_without_identity(data: bytes, file_format: str) -> Deidentified:
    """Copies what a picture is made of; see `canicor.radiograph.deidentified`."""
    with decoding(file_format):
        content, removed = {"PNG": _png, "JPEG": _jpeg, "TIFF": _tiff}[file_format](data)
    return Deidentified(content, tuple(dict.fromkeys(removed)), states_burned_in=False)


def _png(data: bytes) -> tuple[bytes, list[str]]:
    kept, position, kind = [data[:8]], 8, b""
    removed: list[str] = []
    while kind != b"IEND" and position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind in _CHUNKS:
            kept.append(data[position:end])
        else:
            removed.append(f"{kind.decode() if kind.isalpha() else 'unknown'} chunk")
        position = end
    return b"".join(kept), removed + _behind(data[position:])


def _jpeg(data: bytes) -> tuple[bytes, list[str]]:
    kept, position = [data[:2]], 2
    removed: list[str] = []
    while found := _MARKER.search(data, position):
        code, body = found[1][0], found.end()
        if code == _END:
            return b"".join((*kept, b"\xff\xd9")), removed + _behind(data[body:])
        position = body
        if code in _ALONE:
            continue
        (length,) = struct.unpack_from(">H", data, body)
        position = body + length
        content = data[body + 2 : position]
        if code == _SCAN:
            following = _MARKER.search(data, position)
            position = following.start() if following else len(data)
            kept.append(data[body - 2 : position])
        elif code in _SEGMENTS:
            kept.append(data[body - 2 : position])
        elif code == _JFIF and content.startswith(b"JFIF\0"):
            # Without the small picture that may come in it.
            kept.append(b"\xff\xe0\x00\x10" + content[:12] + bytes(2))
            removed += ["JFIF thumbnail"] * (len(content) > 14)
        elif code == _ADOBE and content.startswith(b"Adobe"):
            # It says what the components are.
            kept.append(b"\xff\xee\x00\x0e" + content[:12])
        else:
            removed.append("COM segment" if code == 0xFE else f"APP{code - 0xE0} segment")
    return b"".join(kept), removed


def _tiff(data: bytes) -> tuple[bytes, list[str]]:
    """Copies the first directory and what it leads to to where they were, and leaves zeros between."""
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    pointer, count, inline = (f"{order}Q", f"{order}Q", 8) if big else (f"{order}I", f"{order}H", 4)
    head, entry = (16, 20) if big else (8, 12)
    (directory,) = struct.unpack_from(pointer, data, head - inline)
    (entries,) = struct.unpack_from(count, data, directory)
    first = directory + struct.calcsize(count)
    kept = bytearray(len(data))
    kept[:head] = data[:head]
    found: dict[int, tuple[int, int, int]] = {}
    stated, removed = [], []
    for start in range(first, first + entry * entries, entry):
        tag, kind, amount = struct.unpack_from(f"{order}HH{pointer[1]}", data, start)
        if tag not in _KEPT_TAGS or tag in found:
            removed.append(f"{TiffTags.lookup(tag).name} ({tag})")
            continue
        value, size = start + entry - inline, _SIZES[kind] * amount
        if size > inline:
            (value,) = struct.unpack_from(pointer, data, value)
            kept[value : value + size] = data[value : value + size]
        found[tag] = kind, amount, value
        stated.append(data[start : start + entry])

    def whole(tag: int) -> Sequence[int]:
        kind, amount, value = found[tag]
        return struct.unpack_from(f"{order}{amount}{_WHOLE[kind]}", data, value)

    if _COMPRESSION in found and _OLD_JPEG in whole(_COMPRESSION):
        raise refusal(
            "OLD_JPEG",
            "The TIFF file holds JPEG in TIFF 6.0's way, of which nothing can be taken out: save it uncompressed.",
        )
    offsets, sizes = (_TILES, _TILE_SIZES) if _TILES in found else (_STRIPS, _STRIP_SIZES)
    parts = list(zip(whole(offsets), whole(sizes), strict=True))
    if sum(size for _, size in parts) > len(data):
        raise refusal("TRUNCATED", "The TIFF file states more pixels than it holds: send it again, whole.")
    for start, size in parts:
        kept[start : start + size] = data[start : start + size]
    listed = struct.pack(count, len(stated)) + b"".join(stated) + bytes(inline)
    kept[directory : directory + len(listed)] = listed
    return bytes(kept), removed


def _behind(rest: bytes) -> list[str]:
    return [_BEHIND] if rest.strip(b"\0") else []
