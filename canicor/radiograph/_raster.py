"""PNG, JPEG and TIFF through Pillow."""

from io import BytesIO

import numpy as np
from PIL import ExifTags, Image

from canicor.radiograph._image import (
    Levels,
    Radiograph,
    Sufficient,
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


def decode_raster(data: bytes, file_format: str, max_pixels: int, sufficient: Sufficient | None) -> Radiograph:
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
        received = image.height, image.width
        reduction = _scaled(image, sufficient) if sufficient else 1
        levels = _levels(_loaded(image, file_format))
    if white_is_zero:
        levels = 1 - levels
    return Radiograph(
        finished(levels),
        None,
        file_format,
        View.UNKNOWN,
        reduction=(reduction, reduction),
        received=received,
    )


def _scaled(image: Image.Image, sufficient: Sufficient) -> int:
    """Has a JPEG decoded at the smallest scale that suffices, and returns what its sides are divided by."""
    rows, columns = sufficient(image.height, image.width, (1.0, 1.0))
    width = image.width
    drafted = image.draft(None, (columns, rows))
    if drafted is None:
        return 1
    _, (_, _, scaled_width, _) = drafted
    return round(width / scaled_width)


def _is_white_zero(image: Image.Image) -> bool:
    """Whether TIFF pixels are still to be inverted: Pillow does so up to 8 bits only."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO and image.mode not in ("1", "L")


def _loaded(image: Image.Image, file_format: str) -> Image.Image:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1) if file_format == "TIFF" else 1
    image.load()
    turn = _AS_STORED.get(orientation)
    return image if turn is None else image.transpose(turn)


def _levels(image: Image.Image) -> Levels:
    """Returns [height, width]."""
    if image.mode in ("1", "L"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if image.mode == "F" or image.mode.startswith("I"):
        return stretched(np.asarray(image).astype(np.float32))
    see_through = image.has_transparency_data
    channels = np.asarray(image.convert("RGBA" if see_through else "RGB")).astype(np.float32) / np.float32(255)
    # What is transparent is no part of the picture: black, as outside the beam's field.
    return grey(channels[..., :3]) * channels[..., 3] if see_through else grey(channels)
