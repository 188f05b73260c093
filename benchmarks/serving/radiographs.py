"""Radiographs without end, no two alike: no answer can be kept for another request."""

import io
import itertools
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEGLSLossless

from canicor.phantom import draw

OK, INVALID_ARGUMENT = "OK", "INVALID_ARGUMENT"

_LARGE = (1600, 1250)
_SMALL = (1024, 819)
"""(width, height) of the formats without loss: as they come, a second of them would be hundreds of MB."""

_QUALITY = 90
_PHANTOMS = 8
_DIGITS = 8


@dataclass(frozen=True)
class Sample:
    """A file that is sent again and again, each time with another number where no decoder looks.

    Attributes:
        file: Without a number.
        status: How a call with it ends, as a gRPC status.
        number: Puts 8 bytes into the file.
    """

    name: str
    file: bytes
    status: str
    number: Callable[[bytes, bytes], bytes]


class Radiographs:
    """Hands out samples in turn; those of several processes differ as well.

    Args:
        samples: In the order in which they are handed out.

    Attributes:
        first: The first number; it is no other's.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.first = time.time_ns()
        self._numbers = itertools.count(self.first)
        self._turns = itertools.cycle(range(len(samples)))

    def next(self) -> tuple[int, bytes]:
        """Returns which of `samples` it is, and that with a number of its own."""
        index, number = next(self._turns), next(self._numbers)
        sample = self.samples[index]
        return index, sample.number(sample.file, number.to_bytes(_DIGITS, "big"))


def jpegs() -> list[Sample]:
    """Returns eight JPEG radiographs of 1600 x 1250."""
    return [Sample("JPEG", _saved(_grey(index, _LARGE), "JPEG"), OK, _in_jpeg) for index in range(_PHANTOMS)]


def lossless() -> list[Sample]:
    """Returns one radiograph of 1024 x 819 as PNG, as DICOM of 12 in 16 bits, and as that in JPEG-LS."""
    grey = _grey(_PHANTOMS, _SMALL)
    return [
        Sample("PNG", _saved(grey, "PNG"), OK, _in_png),
        Sample("DICOM", _dicom(grey, compressed=False), OK, _in_dicom),
        Sample("DICOM, JPEG-LS", _dicom(grey, compressed=True), OK, _in_dicom),
    ]


def bad() -> list[Sample]:
    """Returns files that are no radiographs: cut short, of another modality, text."""
    jpeg, (png, dicom, _) = jpegs()[0], lossless()
    text = b"Dear colleague, please find the radiograph enclosed. " * 100
    return [
        Sample("cut JPEG", jpeg.file[: len(jpeg.file) // 2], INVALID_ARGUMENT, _in_jpeg),
        Sample("cut PNG", png.file[: len(png.file) // 2], INVALID_ARGUMENT, _in_png),
        Sample("cut DICOM", dicom.file[: len(dicom.file) // 2], INVALID_ARGUMENT, _in_dicom),
        Sample("text", text, INVALID_ARGUMENT, _at_the_end),
    ]


def truth(
    infers: Sequence[Callable[[bytes], list[float]]], samples: Sequence[Sample]
) -> list[Mapping[int, list[float]]]:
    """Returns what each model says of each sample that is a radiograph, by the sample's index."""
    good = [(index, sample.file) for index, sample in enumerate(samples) if sample.status == OK]
    return [{index: infer(file) for index, file in good} for infer in infers]


def _grey(index: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    return draw(0, index, width=width, height=height).pixels


def _saved(grey: NDArray[np.uint8], file_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, file_format, quality=_QUALITY)
    return buffer.getvalue()


def _dicom(grey: NDArray[np.uint8], *, compressed: bool) -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    made.Modality, made.PhotometricInterpretation = "DX", "MONOCHROME2"
    made.Rows, made.Columns = grey.shape
    made.SamplesPerPixel, made.PixelRepresentation = 1, 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelData = (grey.astype("<u2") << 4).tobytes()
    if compressed:
        made.compress(JPEGLSLossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _in_jpeg(file: bytes, number: bytes) -> bytes:
    """In a comment behind the start of the image (ITU-T T.81 B.2.4.5)."""
    return b"".join((file[:2], b"\xff\xfe", (_DIGITS + 2).to_bytes(2, "big"), number, file[2:]))


def _in_png(file: bytes, number: bytes) -> bytes:
    """In a private chunk behind the header, which ends at byte 33 (PNG 5.3, 5.4)."""
    chunk = b"caNr" + number
    length, checksum = len(number).to_bytes(4, "big"), zlib.crc32(chunk).to_bytes(4, "big")
    return b"".join((file[:33], length, chunk, checksum, file[33:]))


def _in_dicom(file: bytes, number: bytes) -> bytes:
    """In the preamble (PS3.10 7.1)."""
    return number + file[_DIGITS:]


def _at_the_end(file: bytes, number: bytes) -> bytes:
    return file + number
