"""Files that a server may be sent by accident or on purpose: damaged, cut off, and headers that lie."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file

from canicor.radiograph._gdcm_frame import gdcm
from tests.radiographs import (
    COLOURED,
    EIGHT_BIT,
    TWELVE_BIT,
    UNCOMPRESSED,
    by_gdcm,
    compressed,
    dicom,
    jpeg_baseline,
    lut,
    raster,
)

SYNTAXES = (
    *UNCOMPRESSED,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)
"""Those that are read."""

OTHER_WRITERS = (
    "693_J2KI.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "JPEG-lossy.dcm",
    "JPEG2000.dcm",
    "JPGExtended.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "rtplan.dcm",
)
"""Of pydicom's test files."""

_NUMBERS = (0, 1, 2, 7, 8, 9, 12, 15, 16, 17, 32, 48, 64, 255, 256, 4096, 8000, 32767, 32768, 65535)
_TEXT = np.frombuffer(b"0123456789.-+eE\\ nainf", np.uint8)


def intact(folder: Path) -> dict[str, list[bytes]]:
    """Returns intact files of every kind, small ones and one of half a megapixel, by format."""
    noise = np.random.default_rng(3).normal(0, 30, (640, 820))
    large = np.asarray(Image.fromarray(TWELVE_BIT.astype(np.float32)).resize(noise.shape[::-1]))
    large = np.clip(large + noise, 0, 4095).astype(np.uint16)
    extended, lossless = gdcm.TransferSyntax.JPEGExtendedProcess2_4, gdcm.TransferSyntax.JPEGLosslessProcess14
    encapsulated = [
        jpeg_baseline(),
        by_gdcm(folder, gdcm.TransferSyntax.JPEGLosslessProcess14_1),
        by_gdcm(folder, lossless),
        by_gdcm(folder, extended, lossy=True),
        compressed(uid.JPEGLSNearLossless, "pyjpegls", jls_error=3),
        compressed(uid.JPEG2000, "pylibjpeg", j2k_psnr=[70]),
    ]
    for pixels in (TWELVE_BIT, large):
        encapsulated.append(compressed(uid.RLELossless, "pydicom", pixels))
        encapsulated.append(compressed(uid.JPEGLSLossless, "pyjpegls", pixels))
        encapsulated.append(compressed(uid.JPEG2000Lossless, "pylibjpeg", pixels))
    native = [
        *(dicom(syntax=syntax, WindowCenter=2048, WindowWidth=4096, ViewPosition="LL") for syntax in UNCOMPRESSED),
        dicom(large, PixelSpacing=[0.2, 0.1], PixelPaddingValue=0),
        dicom(EIGHT_BIT, bits=8, PhotometricInterpretation="MONOCHROME1"),
        dicom(TWELVE_BIT.astype(np.int16) - 2048, RescaleSlope=2, RescaleIntercept=-1),
        dicom(VOILUTSequence=lut(4096, 0, 8, [value % 256 for value in range(4096)])),
        dicom(np.dstack([EIGHT_BIT] * 3), bits=8),
    ]
    wide = (large >> 4).astype(np.uint8)
    return {
        "DICOM": [*native, *encapsulated],
        "DICOM of another syntax than it says": [
            made
            for data in (native[0], *encapsulated[:7])
            for syntax in SYNTAXES
            for made in _claiming(data, syntax)
        ],
        "PNG": [raster(EIGHT_BIT, "PNG"), raster(large, "PNG"), raster(COLOURED, "PNG")],
        "JPEG": [
            raster(EIGHT_BIT, "JPEG"),
            raster(wide, "JPEG"),
            raster(wide, "JPEG", progressive=True),
            raster(COLOURED, "JPEG"),
            raster(Image.fromarray(wide).convert("RGB"), "JPEG", quality=60),
            raster(Image.fromarray(wide).convert("CMYK"), "JPEG"),
        ],
        "TIFF": [
            raster(EIGHT_BIT, "TIFF"),
            raster(large, "TIFF", compression="tiff_lzw"),
            raster(TWELVE_BIT, "TIFF", compression="tiff_adobe_deflate"),
            raster(Image.fromarray(EIGHT_BIT > 127), "TIFF", compression="group4"),
            raster(wide, "TIFF", compression="jpeg"),
        ],
    }


def files(count: int, seed: int, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields mutated files with their format, as many of each; the same for the same seed."""
    formats = list(intact(folder).items())
    for index in range(count):
        random = np.random.default_rng([seed, index])
        name, several = formats[index % len(formats)]
        yield name, mutated(several[random.integers(len(several))], random)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Returns a file with one kind of damage or forgery."""
    kinds: list[Callable[[bytearray, np.random.Generator], None]] = [_cut, _flip, _overwrite, _replace]
    if data[128:132] == b"DICM":
        kinds += [_forge_number, _forge_length, _forge_value, _damage_codestream, _damage_codestream]
    elif data.startswith(b"\x89PNG"):
        kinds += [_forge_png]
    elif data.startswith(b"\xff\xd8"):
        kinds += [_forge_jpeg]
    else:
        kinds += [_forge_tiff]
    forged = bytearray(data)
    kinds[random.integers(len(kinds))](forged, random)
    return bytes(forged)


def _as_radiograph(name: str) -> bytes:
    made = pydicom.dcmread(get_testdata_file(name))
    made.Modality, made.BodyPartExamined = "DX", "THORAX"
    file = io.BytesIO()
    made.save_as(file)
    return file.getvalue()


def _claiming(data: bytes, syntax: str) -> Iterator[bytes]:
    made = pydicom.dcmread(io.BytesIO(data))
    made.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    # What pydicom writes no such file of, is none of them.
    with contextlib.suppress(ValueError):
        made.save_as(file)
        yield file.getvalue()


def _cut(data: bytearray, random: np.random.Generator) -> None:
    del data[random.integers(len(data)) :]


def _flip(data: bytearray, random: np.random.Generator) -> None:
    for position in random.integers(len(data), size=random.integers(1, 20)):
        data[position] ^= 1 << random.integers(8)


def _overwrite(data: bytearray, random: np.random.Generator) -> None:
    # Headers are short: half a kilobyte at the start.
    for position in random.integers(min(512, len(data)), size=random.integers(1, 6)):
        data[position] = random.integers(256)


def _replace(data: bytearray, random: np.random.Generator) -> None:
    start = random.integers(len(data))
    data[start : start + random.integers(1, 40)] = random.bytes(random.integers(40))


def _forge_number(data: bytearray, random: np.random.Generator) -> None:
    """Another number in the group that describes the pixels."""
    order = "<" if data.find(b"\x28\0\x10\0") > 0 else ">"
    for _ in range(random.integers(1, 4)):
        element = (0x0002, 0x0010, 0x0011, 0x0100, 0x0101, 0x0102, 0x0103)[random.integers(7)]
        position = data.find(struct.pack(f"{order}HH", 0x0028, element))
        if position > 0:
            struct.pack_into(f"{order}H", data, position + 8, int(random.choice(_NUMBERS)))


def _forge_length(data: bytearray, random: np.random.Generator) -> None:
    """Another length of an element with an explicit value representation."""
    position = _some_element(data, random)
    if data[position + 4 : position + 6] in (b"OW", b"OB", b"SQ", b"UN"):
        lengths = (0, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, int(random.integers(2**32)))
        struct.pack_into("<I", data, position + 8, lengths[random.integers(len(lengths))])
    else:
        struct.pack_into("<H", data, position + 6, int(random.choice(_NUMBERS)))


def _forge_value(data: bytearray, random: np.random.Generator) -> None:
    """Other characters in an element."""
    start = _some_element(data, random) + 8
    length = min(int.from_bytes(data[start - 2 : start], "little"), 64, len(data) - start)
    data[start : start + length] = random.choice(_TEXT, length).astype(np.uint8).tobytes()


def _damage_codestream(data: bytearray, random: np.random.Generator) -> None:
    """Damage where the compressed image starts, if there is one."""
    start = max(data.find(mark) for mark in (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x40\0\0\0", b"\xe0\x7f"))
    codestream = data[start:]
    (_flip, _overwrite, _replace)[random.integers(3)](codestream, random)
    data[start:] = codestream


def _some_element(data: bytearray, random: np.random.Generator) -> int:
    head = bytes(data[132:1500])
    starts = [at - 4 for at in range(4, len(head) - 8) if head[at : at + 2].isupper() and head[at - 3] == 0]
    return 132 + int(random.choice(starts)) if starts else 132


def _forge_png(data: bytearray, random: np.random.Generator) -> None:
    """Another size, depth or kind of pixels, with the checksum that goes with it."""
    if random.integers(2):
        struct.pack_into(
            ">I", data, int(random.choice((16, 20))), int(random.choice((0, 31, 40, 70, 9000, 2**31)))
        )
    else:
        data[random.integers(24, 29)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16))
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))


def _forge_jpeg(data: bytearray, random: np.random.Generator) -> None:
    """Another size, precision, number of components or sampling."""
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    if random.integers(2):
        size = int(random.choice((0, 1, 31, 60, 640, 8000, 65535)))
        struct.pack_into(">H", data, frame + int(random.choice((5, 7))), size)
    else:
        data[frame + random.integers(1, 16)] = random.choice((0, 1, 2, 3, 4, 8, 12, 17, 34, 68, 255))


def _forge_tiff(data: bytearray, random: np.random.Generator) -> None:
    """Another type, count or value of a few fields."""
    start = int.from_bytes(data[4:8], "little")
    fields = max(1, min(30, int.from_bytes(data[start : start + 2], "little")))
    for _ in range(random.integers(1, 4)):
        field = start + 2 + 12 * int(random.integers(fields))
        number = int(random.choice((*_NUMBERS, 2**31, 2**32 - 1)))
        if field + 12 <= len(data):
            struct.pack_into("<I", data, field + int(random.choice((4, 8))), number)
