"""Bytes of a DICOM, PNG, JPEG or TIFF file -> Radiograph: grey pixels, their size, what is known of the view.

Orientation marks (EXIF, TIFF) are not applied: key points are in pixels of the radiograph as received, so the
pixels stay where the file stores them.
"""

import re

from canicor.radiograph._dicom import decode_dicom
from canicor.radiograph._dicom_deidentification import dicom_without_identity
from canicor.radiograph._image import Codecs, Deidentified, Radiograph, Size, Unbounded, View, refusal
from canicor.radiograph._quiet import quiet
from canicor.radiograph._raster import decode_raster
from canicor.radiograph._raster_deidentification import raster_without_identity

__all__ = [
    "MAX_PIXELS",
    "Codecs",
    "Deidentified",
    "Radiograph",
    "Size",
    "Unbounded",
    "View",
    "decode",
    "deidentified",
]

MAX_PIXELS = 64_000_000
"""The largest radiograph taken by default: three times a 43 x 43 cm detector of 0.1 mm pixels."""

_RASTER_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}

# A data set without preamble starts with group 0002 or 0008 and either a value representation or a short length.
_BARE_DATASET = re.compile(rb"[\x02\x08]\0.\0(?:[A-Z]{2}|..\0\0)|\0\x08\0.[A-Z]{2}", re.DOTALL)


def decode(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    size: Size | None = None,
    codecs: Codecs = Codecs.SAFE,
    whole_range: bool = False,
) -> Radiograph:
    """Reads one radiograph.

    DICOM pixels go through the Modality LUT or rescale, the first VOI LUT or window (PS3.3 C.11.2.1.2; a window
    without positive width counts as none) and the inversion of MONOCHROME1; without either, from the smallest to
    the largest pixel that is not padding. 8-bit rasters are scaled by 1/255, deeper ones from their smallest to
    their largest pixel, since most of them hold fewer bits than they could.

    Args:
        data: The whole file.
        max_pixels: Limit of height x width, checked against the header before any pixel is decoded.
        size: What to resize it to, asked once the header is read, before any pixel is decoded; whole without it.
        codecs: Which decoders may run in this process.
        whole_range: Leaves a linear window to whoever shows the radiograph: its levels go from the smallest to
            the largest pixel that is not padding, and `window` says where the window lies in that.

    Raises:
        InvalidArgument: The bytes are no radiograph; `reason` is one of EMPTY_FILE, NOT_AN_IMAGE, TRUNCATED,
            NO_PIXELS, MULTI_FRAME, COLOUR_PHOTOGRAPH, WRONG_MODALITY, WRONG_BODY_PART, WRONG_VIEW,
            UNSUPPORTED_TRANSFER_SYNTAX, NO_CONTRAST, TOO_SMALL.
        ResourceExhausted: TOO_LARGE: it has more than `max_pixels` pixels.
        Unbounded: Only where `codecs` is BOUNDED: another process has to read it.
    """
    if not data:
        raise refusal("EMPTY_FILE", "The file is empty: send a DICOM, PNG, JPEG or TIFF file.")
    with quiet:
        # First DICOM: its preamble may hold the signature of another format (PS3.10 7.1).
        if _is_dicom(data):
            return decode_dicom(data, max_pixels, size, codecs, whole_range=whole_range)
        return decode_raster(data, _raster_format(data), max_pixels, size, codecs)


def deidentified(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Deidentified:
    """Returns a radiograph's file without what says who the animal is, whose it is, and who treated it when.

    Only what it is measured by is kept: pixels, their size and how to show them, of DICOM also modality, view and
    body part. It is decoded as before, but for a view that only a description or a code gave away. A DICOM file's
    UIDs are replaced by one that comes of its pixels. Of PNG, JPEG and TIFF go text, EXIF, XMP, colour profiles,
    thumbnails, and marks of orientation, by which others would turn pixels that key points are placed on.

    Args:
        data: The whole file, one that `decode` takes.
        max_pixels: As for `decode`.

    Raises:
        InvalidArgument, ResourceExhausted: It can't be parsed; as `decode`. OLD_JPEG: it is a TIFF file whose
            compression does not let anything be taken out.
    """
    if not _is_dicom(data):
        return raster_without_identity(data, _raster_format(data))
    with quiet:
        return dicom_without_identity(data, max_pixels)


def _raster_format(data: bytes) -> str:
    for signature, file_format in _RASTER_SIGNATURES.items():
        if data.startswith(signature):
            return file_format
    raise refusal("NOT_AN_IMAGE", "The file is no image Canicor reads: send a DICOM, PNG, JPEG or TIFF file.")


def _is_dicom(data: bytes) -> bool:
    return data[128:132] == b"DICM" or _BARE_DATASET.match(data) is not None
