"""Radiographs as files of every kind, built on the spot."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from canicor.errors import CanicorError, InvalidArgument
from canicor.radiograph import decode
from canicor.radiograph._gdcm_frame import gdcm

ROWS, COLUMNS = 48, 64
# A smooth slope with a bright disc: 12 bits, from 0 to 4095, kind to lossy codecs.
_y, _x = np.mgrid[:ROWS, :COLUMNS]
TWELVE_BIT = np.clip(40 * _x + 20 * _y + 1200 * np.exp(-((_x - 40) ** 2 + (_y - 20) ** 2) / 90), 0, 4095)
TWELVE_BIT = (TWELVE_BIT - TWELVE_BIT.min()) * 4095 / np.ptp(TWELVE_BIT)
TWELVE_BIT = np.rint(TWELVE_BIT).astype(np.uint16)
EIGHT_BIT = (TWELVE_BIT >> 4).astype(np.uint8)
SHOWN = TWELVE_BIT / np.float32(4095)
COLOURED = np.dstack([EIGHT_BIT, EIGHT_BIT[::-1], np.full_like(EIGHT_BIT, 90)])
UNCOMPRESSED = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)


def dataset(pixels=TWELVE_BIT, *, bits=12, syntax=uid.ExplicitVRLittleEndian, **elements) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = "1.2.3.4"
    made.Modality = "DX"
    made.PatientName = "Doe^Rex"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    made.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = 8 * pixels.dtype.itemsize
    made.BitsStored, made.HighBit = bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    made.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    with warnings.catch_warnings():
        # Hospitals do write what the standard forbids.
        warnings.simplefilter("ignore")
        for keyword, value in elements.items():
            setattr(made, keyword, value)
    return made


def written(made: Dataset) -> bytes:
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def dicom(pixels=TWELVE_BIT, **options) -> bytes:
    return written(dataset(pixels, **options))


def raster(pixels: np.ndarray | Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, file_format, **options)
    return file.getvalue()


def compressed(syntax: str, codec: str, pixels=TWELVE_BIT, **options) -> bytes:
    made = dataset(pixels)
    made.compress(syntax, encoding_plugin=codec, **options)
    return written(made)


def by_gdcm(folder: Path, syntax: int, *, lossy: bool = False) -> bytes:
    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(dicom())
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    codec = gdcm.JPEGCodec()
    codec.SetLossless(not lossy)
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetUserCodec(codec)
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target.read_bytes()


def jpeg_baseline(pixels=EIGHT_BIT, **elements) -> bytes:
    made = dataset(pixels, bits=8, syntax=uid.JPEGBaseline8Bit, **elements)
    made.PixelData = encapsulate([raster(pixels, "JPEG", quality=95)])
    made["PixelData"].is_undefined_length = True
    return written(made)


def small(height: int, width: int, aspect: tuple[float, float]) -> tuple[int, int]:
    return 10, 12


def refused(data: bytes, reason: str, error: type[CanicorError] = InvalidArgument, **options) -> str:
    """Whole or reduced, the same refusal."""
    for size in (None, small):
        with pytest.raises(error) as caught:
            decode(data, size=size, **options)
        assert caught.value.reason == reason
        assert caught.value.field == "image"
        assert "Doe" not in caught.value.message
    return caught.value.message


def lut(entries: int, first: int, bits: int, data: list[int] | bytes) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, first, bits])
    item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return [item]
