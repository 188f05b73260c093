"""What is no radiograph of a lateral thorax, or no file at all."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from canicor.errors import ResourceExhausted
from canicor.radiograph import Radiograph, decode
from tests.radiographs import (
    COLOURED,
    COLUMNS,
    EIGHT_BIT,
    ROWS,
    SHOWN,
    compressed,
    dataset,
    dicom,
    jpeg_baseline,
    raster,
    refused,
    written,
)


def test_empty():
    refused(b"", "EMPTY_FILE")


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"hello, this is a text" * 20,
        b"%PDF-1.7" + bytes(400),
        raster(EIGHT_BIT, "GIF"),
        raster(EIGHT_BIT, "BMP"),
        b"\x08\0\x05\0CS\x02\0" + bytes(200),
    ],
    ids=["zero", "text", "PDF", "GIF", "BMP", "like DICOM"],
)
def test_not_an_image(data):
    refused(data, "NOT_AN_IMAGE")


def test_random_bytes_are_no_image():
    random = np.random.default_rng(7)
    for _ in range(200):
        refused(random.bytes(2000), "NOT_AN_IMAGE")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_truncated_raster(file_format, share):
    data = raster(EIGHT_BIT, file_format)
    refused(data[: max(12, int(share * len(data)))], "TRUNCATED")


@pytest.mark.parametrize(
    "make",
    [
        dicom,
        jpeg_baseline,
        lambda: dicom(syntax=uid.DeflatedExplicitVRLittleEndian),
        lambda: compressed(uid.RLELossless, "pydicom"),
        lambda: compressed(uid.JPEG2000Lossless, "pylibjpeg"),
    ],
    ids=["native", "JPEG", "deflated", "RLE", "JPEG 2000"],
)
def test_truncated_dicom(make):
    data = make()
    for length in (300, len(data) // 2, len(data) * 3 // 4):
        refused(data[:length], "TRUNCATED")


def test_dicom_cut_off_within_its_header():
    data = dicom()
    modality = data.index(b"\x08\0\x60\0CS")
    for length in range(modality + 1, modality + 10):
        refused(data[:length], "TRUNCATED")
    # Between two elements a cut cannot be told from an end.
    refused(data[:modality], "NO_PIXELS")


def test_dicom_without_pixels():
    made = dataset()
    del made.PixelData
    refused(written(made), "NO_PIXELS")


def test_multi_frame_dicom():
    made = dataset(NumberOfFrames=2)
    made.PixelData = made.PixelData * 2
    refused(written(made), "MULTI_FRAME")


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_multi_page_raster(file_format):
    first, second = Image.fromarray(EIGHT_BIT), Image.fromarray(255 - EIGHT_BIT)
    refused(raster(first, file_format, save_all=True, append_images=[second]), "MULTI_FRAME")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_colour_photograph(file_format):
    refused(raster(COLOURED, file_format), "COLOUR_PHOTOGRAPH")


def test_coloured_dicom():
    refused(dicom(COLOURED, bits=8), "COLOUR_PHOTOGRAPH")


@pytest.mark.parametrize("modality", ["US", "CT", "MR", "XC"])
def test_wrong_modality(modality):
    assert "DX" in refused(dicom(Modality=modality), "WRONG_MODALITY")


@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "OT", ""])
def test_modality_of_a_radiograph_or_none(modality):
    assert isinstance(decode(dicom(Modality=modality)), Radiograph)


@pytest.mark.parametrize("body_part", ["ABDOMEN", "PELVIS", "SKULL"])
def test_wrong_body_part(body_part):
    refused(dicom(BodyPartExamined=body_part), "WRONG_BODY_PART")


@pytest.mark.parametrize("body_part", ["CHEST", "THORAX", "Chest abdomen", "WHOLEBODY", "", "UNKNOWN"])
def test_body_part_with_a_thorax_or_none(body_part):
    assert isinstance(decode(dicom(BodyPartExamined=body_part)), Radiograph)


@pytest.mark.parametrize(
    "elements",
    [
        {"ViewPosition": "VD"},
        {"ViewPosition": "DV"},
        {"ViewPosition": "AP"},
        {"SeriesDescription": "Thorax ventro-dorsal"},
    ],
    ids=str,
)
def test_wrong_view(elements):
    assert "lateral" in refused(dicom(**elements), "WRONG_VIEW")


@pytest.mark.parametrize(
    "data",
    [raster(Image.fromarray(EIGHT_BIT).convert("CMYK"), file_format) for file_format in ("JPEG", "TIFF")],
    ids=["JPEG", "TIFF"],
)
def test_colours_of_print(data):
    assert "CMYK" in refused(data, "COLOUR_PHOTOGRAPH")


def test_unsupported_transfer_syntax():
    made = dataset(syntax=uid.MPEG2MPML)
    made.PixelData = encapsulate([b"\0\0\1\xb3" + bytes(60)])
    made["PixelData"].is_undefined_length = True
    refused(written(made), "UNSUPPORTED_TRANSFER_SYNTAX")


@pytest.mark.parametrize(
    "data",
    [
        raster(np.full((40, 40), 90, np.uint8), "PNG"),
        raster(np.full((40, 40), 900, np.uint16), "TIFF"),
        raster(np.full((40, 40, 3), 90, np.uint8), "JPEG"),
        dicom(np.full((40, 40), 7, np.uint16)),
        dicom(WindowCenter=9000, WindowWidth=2),
    ],
    ids=["PNG", "TIFF", "JPEG", "DICOM", "window beside the pixels"],
)
def test_no_contrast(data):
    refused(data, "NO_CONTRAST")


def test_float_pixels_must_be_finite():
    pixels = SHOWN.copy()
    pixels[3, 3] = np.nan
    refused(raster(pixels, "TIFF"), "NOT_AN_IMAGE")


@pytest.mark.parametrize("make", [lambda p: raster(p, "PNG"), lambda p: dicom(p, bits=8)], ids=["PNG", "DICOM"])
def test_too_small(make):
    refused(make(EIGHT_BIT[:31]), "TOO_SMALL")
    refused(make(np.ascontiguousarray(EIGHT_BIT[:, :31])), "TOO_SMALL")
    assert isinstance(decode(make(np.ascontiguousarray(EIGHT_BIT[:32, :32]))), Radiograph)


def test_too_large_at_the_limit():
    data = raster(EIGHT_BIT, "PNG")
    assert isinstance(decode(data, max_pixels=ROWS * COLUMNS), Radiograph)
    for too_large in (data, dicom(), raster(EIGHT_BIT, "JPEG"), raster(EIGHT_BIT, "TIFF")):
        refused(too_large, "TOO_LARGE", ResourceExhausted, max_pixels=ROWS * COLUMNS - 1)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_huge_header_is_refused_before_any_pixel_is_decoded(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    # The pixels are rubbish: decoding them would say TRUNCATED.
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"rubbish")
    refused(png, "TOO_LARGE", ResourceExhausted)
    refused(dicom(Rows=side, Columns=side), "TOO_LARGE", ResourceExhausted)


@pytest.mark.parametrize(
    "make",
    [lambda p: jpeg_baseline(p, Rows=40), lambda p: jpeg_baseline(p, Columns=40)],
    ids=["rows", "columns"],
)
def test_a_codestream_of_another_size_than_the_header_says_is_refused(make):
    assert "Rows and Columns" in refused(make(EIGHT_BIT), "TRUNCATED")


def test_a_deflated_bomb_is_refused():
    made = dataset(syntax=uid.DeflatedExplicitVRLittleEndian)
    made.add_new(0x00091001, "OB", bytes(20_000_000))
    data = written(made)
    assert len(data) < 100_000
    refused(data, "TOO_LARGE", ResourceExhausted, max_pixels=10_000)
