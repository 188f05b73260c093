"""PNG, JPEG and TIFF through Pillow."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from canicor.radiograph._image import (
    Radiograph,
    View,
    check_size,
    decoding,
    finished,
    grey,
    multi_frame,
    stretched,
    too_large,
)

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


def decode_raster(data: bytes, file_format: str, max_pixels: int) -> Radiograph:
    """Reads a PNG, JPEG or TIFF file; see `canicor.radiograph.decode`."""
    with decoding(file_format):
        try:
            image: Image.Image = Image.open(BytesIO(data), formats=[file_format])
        except Image.DecompressionBombError as error:
            raise too_large(max_pixels) from error
        check_size(image.height, image.width, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise multi_frame(frames)
        white_is_zero = _is_white_zero(image)
        pixels = _intensities(_loaded(image, file_format))
    if white_is_zero:
        pixels = 1 - pixels
    return Radiograph(finished(pixels), None, file_format, View.UNKNOWN)


def _is_white_zero(image: Image.Image) -> bool:
    """Whether TIFF pixels are still to be inverted: Pillow does so up to 8 bits only."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO and image.mode not in ("1", "L")


def _loaded(image: Image.Image, file_format: str) -> Image.Image:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1) if file_format == "TIFF" else 1
    image.load()
    turn = _AS_STORED.get(orientation)
    return image if turn is None else image.transpose(turn)


def _intensities(image: Image.Image) -> NDArray[np.float32]:
    """Returns [height, width] in 0..1."""
    if image.mode in ("1", "L"):
        return _of_bytes(image.convert("L"))
    if image.mode == "F" or image.mode.startswith("I"):
        return stretched(np.asarray(image).astype(np.float32))
    see_through = image.has_transparency_data
    channels = _of_bytes(image.convert("RGBA" if see_through else "RGB"))
    # What is transparent is no part of the picture: black, as outside the beam's field.
    return grey(channels[..., :3]) * channels[..., 3] if see_through else grey(channels)


def _of_bytes(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image).astype(np.float32) / np.float32(255)
