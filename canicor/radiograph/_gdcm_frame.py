"""Decompresses one JPEG frame with GDCM. As a program: frame on stdin, native pixel data on stdout.

GDCM aborts the whole process on some damaged frames: only a process that may die may import this. The program
imports nothing else, to start fast.
"""

import sys

# First, and so for itself: `import gdcm` alone shows its libraries to the whole process (RTLD_GLOBAL), where calls
# by Pillow of zlib land in GDCM's, and crash.
import _gdcm.gdcmswig  # noqa: F401
import gdcm


def decompressed(
    frame: bytes,
    transfer_syntax: str,
    photometric: str,
    rows: int,
    columns: int,
    samples: int,
    bits_allocated: int,
    bits_stored: int,
    pixel_representation: int,
) -> bytes:
    """Returns little endian pixel data, colour by pixel. The arguments are the DICOM elements of these names."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())

    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    interpretation = gdcm.PhotometricInterpretation.GetPIType(photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(interpretation))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(transfer_syntax)))
    image.SetPixelFormat(
        gdcm.PixelFormat(samples, bits_allocated, bits_stored, bits_stored - 1, pixel_representation)
    )
    # SWIG hands bytes out as str.
    pixels: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return pixels


if __name__ == "__main__":
    syntax, photometric, *numbers = sys.argv[1:]
    sys.stdout.buffer.write(decompressed(sys.stdin.buffer.read(), syntax, photometric, *map(int, numbers)))
