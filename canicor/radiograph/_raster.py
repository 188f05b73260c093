"""PNG, JPEG and TIFF through Pillow."""

import struct
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image

from canicor.radiograph._image import (
    Codecs,
    Levels,
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
    stretched,
    too_large,
)
from canicor.resizing import resized

_PHOTOMETRIC_INTERPRETATION = 262
_WHITE_IS_ZERO = 0

# Pillow turns TIFF pixels upright as it loads them; these turn them back to where the file has them.
_AS_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

# Pillow walks through a JPEG's header in Python, segment by segment.
_JPEG_HEADER_BYTES = 128 * 1024
_JPEG_SEGMENTS = 300

# Markers of ISO/IEC 10918-1 table B.1.
_SEQUENTIAL_FRAMES = {0xFFC0, 0xFFC1}
_OTHER_FRAMES = set(range(0xFFC2, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_START_OF_SCAN = 0xFFDA
_SEGMENTS = range(0xFFC0, 0xFFFF)


def decode_raster(data: bytes, file_format: str, max_pixels: int, size: Size | None, codecs: Codecs) -> Radiograph:
    """Reads a PNG, JPEG or TIFF file; see `canicor.radiograph.decode`."""
    if codecs is Codecs.BOUNDED and not (file_format == "JPEG" and _has_one_scan(data)):
        raise Unbounded
    with decoding(file_format):
        try:
            image: Image.Image = Image.open(BytesIO(data), formats=[file_format])
        except Image.DecompressionBombError as error:
            raise too_large(max_pixels) from error
        received = image.height, image.width
        check_size(*received, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise multi_frame(frames)
        white_is_zero = _is_white_zero(image)
        resized_to = size(*received, (1.0, 1.0)) if size else None
        levels = _levels(_loaded(image, file_format, resized_to))
        if resized_to:
            # At JPEG's smaller scales the last row and column stand for what is left of the image.
            scale = round(received[1] / levels.shape[1])
            levels = resized(levels, *resized_to, (received[0] / scale, received[1] / scale))
    if white_is_zero:
        levels = 1 - levels
    return Radiograph(finished(levels), None, file_format, View.UNKNOWN, received=received)


def _has_one_scan(data: bytes) -> bool:
    """Whether a JPEG has a short header and one scan of all its components, grey or three, coded sequentially.

    A decoder goes through the image once for each scan, and a progressive file may have any number of them.
    """
    position, components = 2, 0
    for _ in range(_JPEG_SEGMENTS):
        head = data[position : position + 10]
        if len(head) < 10 or position > _JPEG_HEADER_BYTES:
            return False
        marker, length = struct.unpack_from(">HH", head)
        if marker == _START_OF_SCAN:
            return components in (1, 3) and head[4] == components
        if marker not in _SEGMENTS or marker in _OTHER_FRAMES or length < 2:
            return False
        if marker in _SEQUENTIAL_FRAMES:
            components = head[9]
        position += 2 + length
    return False


def _is_white_zero(image: Image.Image) -> bool:
    """Whether TIFF pixels are still to be inverted: Pillow does so up to 8 bits only."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO and image.mode not in ("1", "L")


def _loaded(image: Image.Image, file_format: str, resized_to: tuple[int, int] | None) -> Image.Image:
    """Decodes, a JPEG at the smallest scale of 1, 1/2, 1/4 and 1/8 that has so many rows and columns."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1) if file_format == "TIFF" else 1
    if file_format == "JPEG":
        # As JFIF has it, the luma is there already.
        image.draft("YCbCr" if "jfif" in image.info else None, resized_to and resized_to[::-1])
    image.load()
    turn = _AS_STORED.get(orientation)
    return image if turn is None else image.transpose(turn)


def _levels(image: Image.Image) -> Levels:
    """Returns [height, width]."""
    if image.mode in ("1", "L"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if image.mode == "F" or image.mode.startswith("I"):
        return stretched(np.asarray(image).astype(np.float32))
    if image.mode not in ("RGB", "RGBX", "RGBA", "RGBa", "P", "PA", "LA", "La", "YCbCr"):
        raise refusal(
            "COLOUR_PHOTOGRAPH",
            f"The image is in {image.mode}, colours for print or proofs: send a radiograph, which is grey.",
        )
    if not image.has_transparency_data:
        return grey(image if image.mode == "YCbCr" else image.convert("RGB"))
    image = image.convert("RGBA")
    # What is transparent is no part of the picture: black, as outside the beam's field.
    shares = np.asarray(image.getchannel("A")).astype(np.float32) / np.float32(255)
    return grey(image.convert("RGB")) / np.float32(255) * shares
