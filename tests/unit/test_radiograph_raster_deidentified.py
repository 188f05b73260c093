"""What is left of a PNG, JPEG or TIFF file that says no longer who is on it, for an eye and for other programs."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from canicor.errors import InvalidArgument
from canicor.radiograph import decode, deidentified
from tests.radiographs import EIGHT_BIT, TWELVE_BIT, raster

SECRET = "Bello Schmidt, 1 Secret Street"
DESCRIPTION, ARTIST, ORIENTATION, COMPRESSION, STRIP_SIZES = 270, 315, 274, 259, 279
TURNED = 6


def exif() -> Image.Exif:
    made = Image.Exif()
    made[DESCRIPTION] = made[ARTIST] = SECRET
    made[ORIENTATION] = TURNED
    made.get_ifd(0x8769)[0x9286] = SECRET.encode()
    return made


def png() -> bytes:
    said = PngInfo()
    said.add_text("Owner", SECRET)
    said.add_text("Note", SECRET, zip=True)
    said.add_itxt("Patient", SECRET)
    said.add(b"tIME", struct.pack(">HBBBBB", 2024, 3, 12, 9, 30, 0))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return raster(EIGHT_BIT, "PNG", pnginfo=said, exif=exif(), icc_profile=profile)


def jpeg(pixels: np.ndarray = EIGHT_BIT, **options: object) -> bytes:
    return raster(pixels, "JPEG", comment=SECRET, exif=exif(), xmp=SECRET.encode(), **options)


def tiff(pixels: np.ndarray | Image.Image = TWELVE_BIT, **options: object) -> bytes:
    said = TiffImagePlugin.ImageFileDirectory_v2()
    said[DESCRIPTION] = said[ARTIST] = SECRET
    said[ORIENTATION] = TURNED
    said[65000] = SECRET
    return raster(pixels, "TIFF", tiffinfo=said, **options)


FILES = [
    pytest.param(png(), id="PNG"),
    pytest.param(jpeg(), id="JPEG"),
    pytest.param(jpeg(progressive=True), id="progressive JPEG"),
    pytest.param(jpeg(np.dstack([EIGHT_BIT] * 3), restart_marker_rows=1), id="JPEG with restarts"),
    pytest.param(tiff(), id="TIFF"),
    pytest.param(tiff(big_tiff=True), id="BigTIFF"),
    *(
        pytest.param(tiff(EIGHT_BIT, compression=codec), id=f"TIFF, {codec}")
        for codec in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd")
    ),
    pytest.param(tiff(TWELVE_BIT.astype(np.float32)), id="TIFF of floats"),
    pytest.param(tiff(Image.fromarray(EIGHT_BIT).convert("P")), id="TIFF of a palette"),
    pytest.param(tiff(Image.fromarray(EIGHT_BIT > 90)), id="TIFF of one bit"),
    pytest.param(raster(TWELVE_BIT.astype(">u2"), "TIFF", description=SECRET), id="TIFF, high byte first"),
]


@pytest.mark.parametrize("data", FILES)
def test_nothing_that_was_written_beside_the_pixels_is_left(data: bytes) -> None:
    assert b"Schmidt" in data
    file = deidentified(data)
    assert b"Schmidt" not in file.content
    assert b"Secret" not in file.content
    assert file.removed
    left = Image.open(io.BytesIO(file.content))
    assert not set(left.info) & {"Owner", "Note", "Patient", "comment", "exif", "xmp", "icc_profile"}
    assert not {DESCRIPTION, ARTIST, ORIENTATION} & set(left.getexif())


@pytest.mark.parametrize("data", FILES)
def test_it_looks_as_before(data: bytes) -> None:
    assert np.array_equal(decode(deidentified(data).content).levels, decode(data).levels)


@pytest.mark.parametrize("data", FILES)
def test_what_is_left_stays(data: bytes) -> None:
    once = deidentified(data)
    again = deidentified(once.content)
    assert (again.content, again.removed) == (once.content, ())


@pytest.mark.parametrize(
    "data",
    [
        raster(TWELVE_BIT, "PNG"),
        raster(EIGHT_BIT, "PNG", dpi=(300, 300)),
        raster(EIGHT_BIT, "JPEG"),
        raster(EIGHT_BIT, "JPEG", quality=95, progressive=True),
    ],
)
def test_a_file_that_says_nothing_stays_as_it_is(data: bytes) -> None:
    file = deidentified(data)
    assert (file.content, file.removed) == (data, ())


def test_what_was_taken_out_is_listed() -> None:
    assert set(deidentified(png()).removed) == {
        "tEXt chunk",
        "zTXt chunk",
        "iTXt chunk",
        "tIME chunk",
        "eXIf chunk",
        "iCCP chunk",
    }
    assert deidentified(jpeg()).removed == ("APP1 segment", "COM segment")
    assert {"ImageDescription (270)", "Artist (315)", "Orientation (274)"} <= set(deidentified(tiff()).removed)


@pytest.mark.parametrize("data", [raster(EIGHT_BIT, "PNG"), raster(EIGHT_BIT, "JPEG")])
def test_what_hides_behind_the_picture_goes(data: bytes) -> None:
    file = deidentified(data + SECRET.encode())
    assert (file.content, file.removed) == (data, ("data behind the image",))


def test_the_thumbnail_of_a_jpeg_goes() -> None:
    plain = raster(EIGHT_BIT, "JPEG")
    small = bytes([2, 2]) + SECRET.encode()[:12]
    data = plain[:2] + struct.pack(">HH", 0xFFE0, 16 + 12) + plain[6:18] + small + plain[20:]
    file = deidentified(data)
    assert (file.content, file.removed) == (plain, ("JFIF thumbnail",))


def test_colours_stay_what_they_are() -> None:
    # Adobe's segment says that these are red, green and blue, and not luma and chroma.
    data = raster(np.dstack([EIGHT_BIT] * 3), "JPEG", keep_rgb=True)
    assert np.array_equal(decode(deidentified(data).content).levels, decode(data).levels)


def patched(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF file whose first directory states another number."""
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    for start in range(directory + 2, directory + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, start) == (tag,):
            kind = struct.unpack_from("<H", data, start + 2)[0]
            number = struct.pack("<H" if kind == 3 else "<I", value).ljust(4, b"\0")
            return data[: start + 8] + number + data[start + 12 :]
    raise AssertionError(f"there is no tag {tag}")


def test_a_tiff_from_which_nothing_can_be_taken_is_refused() -> None:
    with pytest.raises(InvalidArgument) as error:
        deidentified(patched(tiff(), COMPRESSION, 6))
    assert error.value.reason == "OLD_JPEG"


def test_a_tiff_that_states_more_than_it_holds_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        deidentified(patched(tiff(), STRIP_SIZES, 2**31))


@pytest.mark.parametrize("data", [png(), jpeg(), tiff()])
def test_a_damaged_file_is_refused_or_copied_and_nothing_else(data: bytes) -> None:
    chance = np.random.default_rng(7)
    whole = np.frombuffer(data, np.uint8)
    for _ in range(300):
        broken = whole.copy()
        places = chance.integers(4, len(whole), size=8)
        broken[places] = chance.integers(0, 256, size=8)
        cut = broken[: chance.integers(16, len(whole) + 1)].tobytes()
        try:
            file = deidentified(cut)
        except InvalidArgument:
            continue
        assert len(file.content) <= len(cut) + 64


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InvalidArgument) as error:
        deidentified(b"Bello Schmidt")
    assert error.value.reason == "NOT_AN_IMAGE"
