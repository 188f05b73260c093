"""DICOM through pydicom and its decoders."""

import re
import struct
import subprocess
import sys
import zlib
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset, read_partial
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.tag import BaseTag

from canicor.radiograph._greyscale import greyscale, take_window
from canicor.radiograph._image import (
    Codecs,
    Radiograph,
    Size,
    Unbounded,
    View,
    check_size,
    decoding,
    finished,
    grey,
    multi_frame,
    refusal,
    too_large,
)
from canicor.resizing import resized

_UNCOMPRESSED = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
_NATIVE = (*_UNCOMPRESSED, uid.DeflatedExplicitVRLittleEndian)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)

# One decoder each, named so that a GPL one that happens to be installed is never taken.
_CODECS: dict[str, str] = {
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    **dict.fromkeys(_JPEG_2000, "pylibjpeg"),
}
_BY_GDCM = (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_GDCM_PROGRAM = Path(__file__).with_name("_gdcm_frame.py")
# A frame at the default limit of pixels takes a few; one that takes longer hangs.
_GDCM_SECONDS = 60

_PIXEL_DATA = BaseTag(0x7FE00010)
_UNDEFINED_LENGTH = 0xFFFFFFFF
# Radiographs have some 5 KiB before their pixels, or twenty times that with an icon or private elements.
_HEADER_BYTES = 128 * 1024

# Projection X-ray: computed, digital, plain film (digitised), fluoroscopy's single shots; and what secondary
# captures are filed under. DR and SC are no defined terms (PS3.3 C.7.3.1.1.1), but are written.
_MODALITIES = {"CR", "DX", "DR", "RG", "RF", "OT", "SC"}

_THORAX = re.compile(r"CHEST|THORA|TORAX|T[ _-]?SPINE|RIB|LUNG|HEART|CARDIAC|WHOLE ?BODY|TRUNK|MEDIASTINUM")
_NO_BODY_PART = {"", "OTHER", "UNKNOWN", "UNSPECIFIED", "NONE", "BODY"}

_LATERAL = re.compile(r"\b([LR]L|[LR]?T? ?LAT|(LATERO[- ]?)?LATERAL)\b")
_VENTRODORSAL = re.compile(
    r"\b(VD|DV|AP|PA|VENTRO[- ]?DORSAL|DORSO[- ]?VENTRAL|ANTERO[- ]?POSTERIOR|POSTERO[- ]?ANTERIOR)\b"
)
_NEITHER = re.compile(r"OBLIQUE|DECUBITUS|MEDIAL")

# What a deflated file may grow to: bytes per pixel, and everything beside the pixels.
_WIDEST_PIXEL = 4
_BESIDE_PIXELS = 16 * 1024 * 1024


def decode_dicom(
    data: bytes, max_pixels: int, size: Size | None, codecs: Codecs, *, whole_range: bool
) -> Radiograph:
    """Reads a DICOM file; see `canicor.radiograph.decode`."""
    # All of it: pydicom parses an element only when it is asked for.
    with decoding("DICOM"):
        dataset = _uncompressed(data)
        if dataset is None:
            if codecs is Codecs.BOUNDED:
                raise Unbounded
            dataset = parsed(data, max_pixels)
        _check(dataset, max_pixels)
        if codecs is Codecs.BOUNDED and not _is_grey_of_at_most_16_bits(dataset):
            raise Unbounded
        received = int(dataset.Rows), int(dataset.Columns)
        spacing = _pair(dataset, "PixelSpacing") or _pair(dataset, "ImagerPixelSpacing")
        aspect = _pair(dataset, "PixelAspectRatio") or (1.0, 1.0)
        resized_to = size(*received, spacing or aspect) if size else None
        stored = _stored_pixels(dataset, codecs)
        window = None
        if stored.ndim == 2:
            if whole_range:
                window = take_window(dataset, stored)
            levels = finished(greyscale(dataset, stored, resized_to))
        else:
            luma = _luma(dataset, stored)
            levels = finished(resized(luma, *resized_to) if resized_to else luma)
        return Radiograph(levels, spacing, "DICOM", _view(dataset), aspect, received, window)


def _uncompressed(data: bytes) -> pydicom.FileDataset | None:
    """Returns the data set of a file with uncompressed pixels that begin near its start, None for any other.

    pydicom takes a millisecond for a hundred elements, and a hostile file may be made of elements alone.
    """
    head = BytesIO(data[:_HEADER_BYTES])
    pixels: list[tuple[str | None, int]] = []

    def are_next(tag: BaseTag, representation: str | None, length: int) -> bool:
        if tag == _PIXEL_DATA:
            pixels.append((representation, length))
        return bool(pixels)

    try:
        if data[128:132] != b"DICM" or _transfer_syntax(head, 132) not in _UNCOMPRESSED:
            return None
        head.seek(0)
        dataset = read_partial(head, are_next)
    except Exception:  # whatever it is, the whole file has to be read to tell
        return None
    if not pixels or pixels[0][0] not in (None, "OB", "OW") or pixels[0][1] == _UNDEFINED_LENGTH:
        return None
    representation, length = pixels[0]
    # PS3.5 7.1.2: tag, VR, two bytes reserved, length; PS3.5 7.1.3: tag, length.
    start = head.tell() + (12 if representation else 8)
    dataset.add_new(_PIXEL_DATA, representation or "OW", memoryview(data)[start : start + length])
    return dataset


def _is_grey_of_at_most_16_bits(dataset: pydicom.FileDataset) -> bool:
    grey = dataset.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2") and dataset.SamplesPerPixel == 1
    return grey and dataset.BitsAllocated in (8, 16)


def parsed(data: bytes, max_pixels: int) -> pydicom.FileDataset:
    """Parses the file, and sees to it that it has a transfer syntax."""
    preamble = data[128:132] == b"DICM"
    _check_deflated_size(data, 132 if preamble else 0, max_pixels)
    dataset = pydicom.dcmread(BytesIO(data), force=not preamble)
    if not preamble and "SOPClassUID" not in dataset and "Modality" not in dataset:
        raise refusal("NOT_AN_IMAGE", "The file is no image Canicor reads: send a DICOM, PNG, JPEG or TIFF file.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _transfer_syntax(file: BytesIO, start: int) -> str | None:
    """Reads the File Meta Information, and leaves the file at its end."""
    file.seek(start)
    meta = read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2
    )
    syntax: str | None = meta.get("TransferSyntaxUID")
    return syntax


def _check_deflated_size(data: bytes, start: int, max_pixels: int) -> None:
    """Refuses a deflated data set that grows beyond what the pixels need: pydicom inflates without bound."""
    file = BytesIO(data)
    if _transfer_syntax(file, start) != uid.DeflatedExplicitVRLittleEndian:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pending, inflated = file.read(), 0
    while pending and not inflater.eof:
        inflated += len(inflater.decompress(pending, 1 << 20))
        pending = inflater.unconsumed_tail
        if inflated > _WIDEST_PIXEL * max_pixels + _BESIDE_PIXELS:
            raise too_large(max_pixels)


def _check(dataset: pydicom.FileDataset, max_pixels: int) -> None:
    """Refuses, from the header alone, what is no thorax radiograph or cannot be decoded."""
    if "PixelData" not in dataset:
        raise _without_pixels(dataset)
    modality = _text(dataset, "Modality")
    if modality and modality not in _MODALITIES:
        raise refusal(
            "WRONG_MODALITY",
            f"The file's modality is not radiography: send one of {', '.join(sorted(_MODALITIES))}.",
        )
    body_part = _text(dataset, "BodyPartExamined")
    if body_part not in _NO_BODY_PART and not _THORAX.search(body_part):
        raise refusal(
            "WRONG_BODY_PART", "The file states a body part other than the thorax: send a lateral thorax."
        )
    if _view(dataset) is View.VENTRODORSAL:
        raise refusal("WRONG_VIEW", "The file states a ventrodorsal or dorsoventral view: send a lateral thorax.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise multi_frame(frames)
    if dataset.file_meta.TransferSyntaxUID not in (*_NATIVE, *_CODECS, *_BY_GDCM):
        raise refusal(
            "UNSUPPORTED_TRANSFER_SYNTAX",
            "The DICOM transfer syntax is not supported: send uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000.",
        )
    check_size(int(dataset.Rows), int(dataset.Columns), max_pixels)


def _without_pixels(dataset: pydicom.FileDataset) -> Exception:
    """Returns TRUNCATED where the last element ends elsewhere than the file, else NO_PIXELS."""
    last = dataset.get_item(max(dataset.keys())) if len(dataset) else None
    size = dataset.buffer.seek(0, SEEK_END) if dataset.buffer else 0
    if last is None or (isinstance(last, RawDataElement) and last.value_tell + last.length != size):
        return refusal("TRUNCATED", "The DICOM file is cut off before its pixels: send it again, whole.")
    return refusal("NO_PIXELS", "The DICOM file holds no pixels: send the image itself.")


def _stored_pixels(dataset: pydicom.FileDataset, codecs: Codecs) -> NDArray[Any]:
    """Returns integers [rows, columns], or [rows, columns, 3] in RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in (*_NATIVE, uid.RLELossless):
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        coded = _size_of_jpeg_2000(frame) if syntax in _JPEG_2000 else _size_of_jpeg(frame)
        # The header was held against the limit; a codestream that says otherwise could be of any size.
        if coded != (dataset.Rows, dataset.Columns):
            raise refusal(
                "TRUNCATED", "The DICOM file is damaged: Rows and Columns differ from its compressed image's."
            )
        if syntax in _BY_GDCM:
            dataset.PixelData = _decompressed_by_gdcm(dataset, frame, codecs)
            dataset.file_meta.TransferSyntaxUID = syntax = uid.ExplicitVRLittleEndian
    # Rather a view of the file than a copy of it, where it needs no correction.
    options: dict[str, Any] = {"view_only": True, "correct_unused_bits": False} if syntax in _NATIVE else {}
    plugin = _CODECS.get(syntax, "")
    pixels, _ = get_decoder(syntax).as_array(dataset, index=0, decoding_plugin=plugin, **options)
    if options:
        pixels = _without_unused_bits(dataset, pixels)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(pixels, dataset)
    return pixels


def _without_unused_bits(dataset: pydicom.Dataset, pixels: NDArray[Any]) -> NDArray[Any]:
    """Clears, respectively fills with the sign, what lies above BitsStored: it may hold anything (PS3.5 8.1.1)."""
    unused = int(dataset.BitsAllocated) - int(dataset.BitsStored)
    most = 2 ** (int(dataset.BitsStored) - int(dataset.PixelRepresentation))
    if unused <= 0 or (-most <= pixels.min() and pixels.max() < most):
        return pixels
    return (pixels << unused) >> unused


def _decompressed_by_gdcm(dataset: pydicom.FileDataset, frame: bytes, codecs: Codecs) -> bytes:
    """Returns native pixel data.

    Raises:
        subprocess.SubprocessError: GDCM could not read the frame, or died of it.
    """
    names = (str(dataset.file_meta.TransferSyntaxUID), str(dataset.PhotometricInterpretation))
    keywords = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
    numbers = [int(dataset[keyword].value) for keyword in keywords]
    if codecs is Codecs.ALL:
        # Only here, so that the process which GDCM must not take down does not even load it.
        from canicor.radiograph._gdcm_frame import decompressed

        return decompressed(frame, *names, *numbers)
    return subprocess.run(
        [sys.executable, "-P", _GDCM_PROGRAM, *names, *map(str, numbers)],
        input=frame,
        capture_output=True,
        check=True,
        timeout=_GDCM_SECONDS,
    ).stdout


def _size_of_jpeg_2000(frame: bytes) -> tuple[int, int]:
    """Reads (height, width) from the SIZ segment (ISO/IEC 15444-1 A.5.1)."""
    start = frame.index(b"\xff\x4f\xff\x51")
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    return bottom - top, right - left


def _size_of_jpeg(frame: bytes) -> tuple[int, int]:
    """Reads (height, width) from the start-of-frame segment (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2)."""
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", frame, position)
        if marker == 0xFFF7 or (0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC)):
            height, width = struct.unpack_from(">HH", frame, position + 5)
            return height, width
        position += 2 + length


def _luma(dataset: pydicom.FileDataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
    bits = 8 * stored.dtype.itemsize if palette else int(dataset.BitsStored)
    return grey(Image.fromarray((stored >> max(0, bits - 8)).astype(np.uint8)))


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    """Returns the first value in capitals, blanks stripped; empty where absent."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return "" if value is None else str(value).strip().upper()


def _pair(dataset: pydicom.Dataset, keyword: str) -> tuple[float, float] | None:
    """Returns two positive numbers, None where there are none."""
    value = dataset.get(keyword)
    if not isinstance(value, MultiValue) or len(value) != 2:
        return None
    row, column = (float(number) for number in value)
    return (row, column) if 0 < row < np.inf and 0 < column < np.inf else None


def _view(dataset: pydicom.Dataset) -> View:
    codes = dataset.get("ViewCodeSequence") or [pydicom.Dataset()]
    for text in (
        _text(dataset, "ViewPosition"),
        _text(codes[0], "CodeMeaning"),
        _text(dataset, "SeriesDescription"),
    ):
        words = text.replace("_", " ")
        lateral, ventrodorsal = _LATERAL.search(words), _VENTRODORSAL.search(words)
        if not _NEITHER.search(words) and bool(lateral) != bool(ventrodorsal):
            return View.LATERAL if lateral else View.VENTRODORSAL
    return View.UNKNOWN
