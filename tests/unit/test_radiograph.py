"""Files are built on the spot; each decoder must give back the pixels that went in."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gdcm
import numpy as np
import pydicom.data
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from canicor.errors import CanicorError, InvalidArgument, ResourceExhausted
from canicor.radiograph import Radiograph, View, decode

REAL = Path(__file__).parents[3] / "shared" / "radiographs"

ROWS, COLUMNS = 48, 64
# A smooth slope with a bright disc: 12 bits, from 0 to 4095, kind to lossy codecs.
_y, _x = np.mgrid[:ROWS, :COLUMNS]
TWELVE_BIT = np.clip(40 * _x + 20 * _y + 1200 * np.exp(-((_x - 40) ** 2 + (_y - 20) ** 2) / 90), 0, 4095)
TWELVE_BIT = (TWELVE_BIT - TWELVE_BIT.min()) * 4095 / np.ptp(TWELVE_BIT)
TWELVE_BIT = np.rint(TWELVE_BIT).astype(np.uint16)
EIGHT_BIT = (TWELVE_BIT >> 4).astype(np.uint8)
SHOWN = TWELVE_BIT / np.float32(4095)
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
    for sufficient in (None, small):
        with pytest.raises(error) as caught:
            decode(data, sufficient=sufficient, **options)
        assert caught.value.reason == reason
        assert caught.value.field == "image"
        assert "Doe" not in caught.value.message
    return caught.value.message


# --- DICOM: transfer syntaxes ---


@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda syntax: syntax.keyword)
def test_uncompressed_pixels_come_back(syntax):
    image = decode(dicom(syntax=syntax))
    assert (image.format, image.height, image.width) == ("DICOM", ROWS, COLUMNS)
    assert image.pixels.dtype == np.float32
    np.testing.assert_allclose(image.pixels, SHOWN, atol=1e-6)


@pytest.mark.parametrize(
    ("syntax", "codec"),
    [
        (uid.RLELossless, "pydicom"),
        (uid.JPEGLSLossless, "pyjpegls"),
        (uid.JPEG2000Lossless, "pylibjpeg"),
    ],
    ids=["RLE", "JPEG-LS", "JPEG 2000"],
)
def test_losslessly_compressed_pixels_come_back(syntax, codec):
    np.testing.assert_allclose(decode(compressed(syntax, codec)).pixels, SHOWN, atol=1e-6)


@pytest.mark.parametrize(
    ("syntax", "codec", "options"),
    [
        (uid.JPEGLSNearLossless, "pyjpegls", {"jls_error": 3}),
        (uid.JPEG2000, "pylibjpeg", {"j2k_psnr": [70]}),
    ],
    ids=["JPEG-LS", "JPEG 2000"],
)
def test_lossily_compressed_pixels_come_back_nearly(syntax, codec, options):
    np.testing.assert_allclose(decode(compressed(syntax, codec, **options)).pixels, SHOWN, atol=0.005)


@pytest.mark.parametrize(
    "syntax",
    [gdcm.TransferSyntax.JPEGLosslessProcess14, gdcm.TransferSyntax.JPEGLosslessProcess14_1],
    ids=["process 14", "first-order"],
)
def test_jpeg_lossless_pixels_come_back(tmp_path, syntax):
    np.testing.assert_allclose(decode(by_gdcm(tmp_path, syntax)).pixels, SHOWN, atol=1e-6)


def test_twelve_bit_jpeg_extended_pixels_come_back_nearly(tmp_path, capfd):
    data = by_gdcm(tmp_path, gdcm.TransferSyntax.JPEGExtendedProcess2_4, lossy=True)
    capfd.readouterr()
    np.testing.assert_allclose(decode(data).pixels, SHOWN, atol=0.02)
    assert capfd.readouterr() == ("", "")


def test_a_frame_that_makes_gdcm_abort_its_process_is_refused(tmp_path):
    data = by_gdcm(tmp_path, gdcm.TransferSyntax.JPEGExtendedProcess2_4, lossy=True)
    assert b"\xff\xd8\xff\xdb" in data
    refused(data.replace(b"\xff\xd8\xff\xdb", b"\xff\xd8\x66\xdb"), "TRUNCATED")


def test_jpeg_baseline_pixels_come_back_nearly():
    np.testing.assert_allclose(decode(jpeg_baseline()).pixels, EIGHT_BIT / 255, atol=0.02)


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
def test_a_data_set_without_preamble_and_header_is_read(syntax):
    file = io.BytesIO()
    made = dataset(syntax=syntax)
    del made.file_meta
    made.save_as(file, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    np.testing.assert_allclose(decode(file.getvalue()).pixels, SHOWN, atol=1e-6)


def test_a_header_without_preamble_is_read():
    np.testing.assert_allclose(decode(dicom()[132:]).pixels, SHOWN, atol=1e-6)


# --- DICOM: greyscale ---


def shown_values(values: list[float], pixels: np.ndarray, stored: np.ndarray) -> list[float]:
    return [float(pixels[tuple(np.argwhere(stored == value)[0])]) for value in values]


def levels(*values: int, dtype=np.uint16) -> np.ndarray:
    """An image that holds these values, each in columns of its own."""
    return np.tile(np.repeat(np.array(values, dtype=dtype), 32 // len(values) + 1), (32, 1))


@pytest.mark.parametrize(
    ("function", "center", "width", "expected"),
    [
        # PS3.3 C.11.2.1.2.1: x <= c - 0.5 - (w - 1) / 2 is black, x > c - 0.5 + (w - 1) / 2 white.
        (None, 2048, 4096, {0: 0, 1000: 1000 / 4095, 4095: 1}),
        ("LINEAR", 2000, 1001, {1499: 0, 1500: 0.5 / 1000, 1999: 0.4995, 2000: 0.5005, 2500: 1, 4000: 1}),
        ("LINEAR", 2048, 1, {2047: 0, 2048: 1}),
        # C.11.2.1.3.2
        ("LINEAR_EXACT", 2048, 4096, {0: 0, 1024: 0.25, 2048: 0.5, 4095: 4095 / 4096}),
        # C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w))
        ("SIGMOID", 2000, 1000, {2000: 0.5, 2250: 0.7310586, 1500: 0.1192029, 4000: 0.9996646}),
    ],
)
def test_window_follows_the_standard_formula(function, center, width, expected):
    stored = levels(*expected)
    elements = {"VOILUTFunction": function} if function else {}
    image = decode(dicom(stored, WindowCenter=center, WindowWidth=width, **elements))
    assert shown_values(list(expected), image.pixels, stored) == pytest.approx(list(expected.values()), abs=1e-6)


def test_the_first_of_several_windows_counts():
    image = decode(dicom(WindowCenter=[2048, 100], WindowWidth=[4096, 10]))
    np.testing.assert_allclose(image.pixels, SHOWN, atol=1e-6)


def test_a_window_without_width_counts_as_none():
    np.testing.assert_allclose(decode(dicom(WindowCenter=0, WindowWidth=0)).pixels, SHOWN, atol=1e-6)


def test_the_window_is_in_rescaled_values():
    stored = levels(0, 100, 200, 400)
    # Modality values -100, 100, 300, 700; exact window 0..400.
    image = decode(
        dicom(
            stored,
            RescaleSlope=2,
            RescaleIntercept=-100,
            WindowCenter=200,
            WindowWidth=400,
            VOILUTFunction="LINEAR_EXACT",
        )
    )
    assert shown_values([0, 100, 200, 400], image.pixels, stored) == pytest.approx([0, 0.25, 0.75, 1])


def test_a_negative_slope_turns_dark_to_bright():
    image = decode(dicom(RescaleSlope=-1, RescaleIntercept=4095))
    np.testing.assert_allclose(image.pixels, 1 - SHOWN, atol=1e-6)


def lut(entries: int, first: int, bits: int, data: list[int] | bytes) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, first, bits])
    item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return [item]


@pytest.mark.parametrize("data", [[0, 100, 400, 1023], struct.pack("<4H", 0, 100, 400, 1023)], ids=["US", "OW"])
def test_voi_lut_maps_from_its_first_value_and_clamps_at_both_ends(data):
    stored = levels(5, 1000, 1001, 1002, 1003, 4000)
    image = decode(dicom(stored, VOILUTSequence=lut(4, 1000, 10, data)))
    values = [0, 0, 100 / 1023, 400 / 1023, 1, 1]
    assert shown_values([5, 1000, 1001, 1002, 1003, 4000], image.pixels, stored) == pytest.approx(values)


def test_voi_lut_of_eight_bits_takes_twelve_bit_pixels():
    table = [(4095 - value) >> 4 for value in range(4096)]
    image = decode(dicom(VOILUTSequence=lut(4096, 0, 8, table)))
    np.testing.assert_allclose(image.pixels, ((4095 - TWELVE_BIT) >> 4) / 255, atol=1e-6)


def test_modality_lut_comes_before_the_window():
    stored = levels(0, 1, 2, 3)
    made = {"ModalityLUTSequence": lut(4, 0, 16, [0, 1000, 3000, 4000])}
    image = decode(dicom(stored, **made, WindowCenter=2000, WindowWidth=4000, VOILUTFunction="LINEAR_EXACT"))
    assert shown_values([0, 1, 2, 3], image.pixels, stored) == pytest.approx([0, 0.25, 0.75, 1])


def test_monochrome1_is_inverted_after_the_window():
    image = decode(dicom(PhotometricInterpretation="MONOCHROME1", WindowCenter=2048, WindowWidth=4096))
    np.testing.assert_allclose(image.pixels, 1 - SHOWN, atol=1e-6)


@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda syntax: syntax.keyword)
def test_signed_pixels(syntax):
    signed = TWELVE_BIT.astype(np.int16) - 2048
    np.testing.assert_allclose(decode(dicom(signed, syntax=syntax)).pixels, SHOWN, atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_set_the_scale(photometric):
    stored = levels(100, 150, 200, 4000)
    image = decode(dicom(stored, PixelPaddingValue=4000, PhotometricInterpretation=photometric))
    expected = [0, 0.5, 1, 0] if photometric == "MONOCHROME2" else [1, 0.5, 0, 0]
    assert shown_values([100, 150, 200, 4000], image.pixels, stored) == pytest.approx(expected)


def test_signed_padding_and_its_range():
    stored = levels(-2000, -1999, 0, 50, 100, dtype=np.int16)
    image = decode(dicom(stored, bits=16, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990))
    assert shown_values([-2000, -1999, 0, 50, 100], image.pixels, stored) == pytest.approx([0, 0, 0, 0.5, 1])


def test_grey_in_rgb_is_grey():
    image = decode(dicom(np.dstack([EIGHT_BIT] * 3), bits=8))
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255, atol=1e-6)


def test_grey_in_a_palette_is_grey():
    made = dataset(EIGHT_BIT, bits=8, PhotometricInterpretation="PALETTE COLOR")
    ramp = (np.arange(256, dtype="<u2") * 257).tobytes()
    for colour in ("Red", "Green", "Blue"):
        made.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        made.add_new(f"{colour}PaletteColorLookupTableData", "OW", ramp)
    np.testing.assert_allclose(decode(written(made)).pixels, EIGHT_BIT / 255, atol=1e-6)


# --- DICOM: geometry and view ---


@pytest.mark.parametrize(
    ("elements", "spacing", "aspect"),
    [
        ({}, None, (1, 1)),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.3]}, (0.2, 0.1), (0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.3, 0.15]}, (0.3, 0.15), (0.3, 0.15)),
        ({"PixelAspectRatio": [4, 3]}, None, (4, 3)),
        ({"PixelSpacing": [0, 0.1], "PixelAspectRatio": [4, 3]}, None, (4, 3)),
    ],
)
def test_pixel_size(elements, spacing, aspect):
    image = decode(dicom(**elements))
    assert image.pixel_spacing == spacing
    assert image.pixel_aspect == aspect


@pytest.mark.parametrize(
    ("position", "view"),
    [
        ("LL", View.LATERAL),
        ("RL", View.LATERAL),
        ("LATERAL", View.LATERAL),
        ("Left-right lateral", View.LATERAL),
        ("VD", View.VENTRODORSAL),
        ("DV", View.VENTRODORSAL),
        ("AP", View.VENTRODORSAL),
        ("LLO", View.UNKNOWN),
        ("LAT OBLIQUE", View.UNKNOWN),
        ("", View.UNKNOWN),
    ],
)
def test_view_position(position, view):
    assert decode(dicom(ViewPosition=position)).view is view


def test_view_code():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399198007", "SCT", "right lateral"
    assert decode(dicom(ViewCodeSequence=[code])).view is View.LATERAL


@pytest.mark.parametrize(
    ("description", "view"),
    [
        ("Thorax_LAT re", View.LATERAL),
        ("Thorax ventro-dorsal", View.VENTRODORSAL),
        ("Thorax VD + LAT", View.UNKNOWN),
        ("Collateral findings", View.UNKNOWN),
    ],
)
def test_view_from_the_series_description_only_where_it_names_one(description, view):
    assert decode(dicom(SeriesDescription=description)).view is view


# --- rasters ---


@pytest.mark.parametrize(("file_format", "tolerance"), [("PNG", 1e-6), ("TIFF", 1e-6), ("JPEG", 0.02)])
def test_eight_bit_grey(file_format, tolerance):
    image = decode(raster(EIGHT_BIT, file_format))
    assert (image.format, image.view, image.pixel_spacing) == (file_format, View.UNKNOWN, None)
    assert image.pixel_aspect == (1, 1)
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255, atol=tolerance)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_what_they_hold(file_format):
    np.testing.assert_allclose(decode(raster(TWELVE_BIT, file_format)).pixels, SHOWN, atol=1e-6)


def test_float_tiff():
    np.testing.assert_allclose(decode(raster(SHOWN * 3 - 7, "TIFF")).pixels, SHOWN, atol=1e-6)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_one_bit(file_format):
    image = decode(raster(Image.fromarray(EIGHT_BIT > 127), file_format))
    np.testing.assert_array_equal(image.pixels, (EIGHT_BIT > 127).astype(np.float32))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_grey_in_other_png_modes_is_grey(mode):
    image = decode(raster(Image.fromarray(EIGHT_BIT).convert(mode), "PNG"))
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255, atol=1e-6)


def test_transparent_pixels_are_black():
    alpha = np.where(np.arange(COLUMNS) < 10, 0, 255) * np.ones((ROWS, 1))
    image = decode(raster(np.dstack([EIGHT_BIT] * 3 + [alpha.astype(np.uint8)]), "PNG"))
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255 * (alpha / 255), atol=1e-6)


def test_chroma_noise_of_a_jpeg_is_grey_and_a_small_coloured_marker_passes():
    large = np.kron(EIGHT_BIT, np.ones((4, 4), np.uint8))
    noisy = np.dstack([large] * 3).astype(np.int16)
    noisy += np.random.default_rng(1).integers(-4, 5, noisy.shape)
    noisy[2:10, 2:10] = (255, 0, 0)
    image = decode(raster(np.clip(noisy, 0, 255).astype(np.uint8), "JPEG", quality=90))
    np.testing.assert_allclose(image.pixels[16:], large[16:] / 255, atol=0.06)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize(
    ("pixels", "expected"),
    # Pillow inverts the 8-bit pixels it writes under this tag, and only those.
    [(EIGHT_BIT, EIGHT_BIT / 255), (TWELVE_BIT, 1 - SHOWN), (SHOWN, 1 - SHOWN)],
    ids=["8 bit", "16 bit", "float"],
)
def test_white_is_zero_tiff_is_inverted(pixels, expected, compression):
    data = raster(pixels, "TIFF", tiffinfo={262: 0}, compression=compression)
    np.testing.assert_allclose(decode(data).pixels, expected, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF", "PNG"])
def test_orientation_marks_do_not_move_pixels(file_format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = decode(raster(EIGHT_BIT, file_format, exif=exif))
    np.testing.assert_allclose(image.pixels, EIGHT_BIT / 255, atol=0.02)


# --- no more detail than suffices ---


def means(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Block means, the last blocks of what is left."""
    height, width = pixels.shape
    return np.array(
        [
            [pixels[y : y + rows, x : x + columns].mean(dtype=np.float64) for x in range(0, width, columns)]
            for y in range(0, height, rows)
        ]
    )


RAMP = np.tile(np.arange(0, 4095, 63, dtype=np.uint16), (ROWS, 1))
SHOWN_AS = {
    "from least to most": {},
    "a window beyond all": {"WindowCenter": 2048, "WindowWidth": 5000},
    "a window that clips both ends": {"WindowCenter": 1800, "WindowWidth": 1000},
    "a window that clips one end hard": {"WindowCenter": 100, "WindowWidth": 200},
    "a narrow window": {"WindowCenter": 2000.3, "WindowWidth": 3},
    "a step": {"WindowCenter": 2000, "WindowWidth": 1},
    "inverted": {"WindowCenter": 1800, "WindowWidth": 1000, "PhotometricInterpretation": "MONOCHROME1"},
    "a negative slope": {"RescaleSlope": -0.5, "RescaleIntercept": 90, "WindowCenter": -700, "WindowWidth": 900},
    "a sigmoid": {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
    "a table": {"VOILUTSequence": lut(4096, 0, 8, [(value // 9) % 256 for value in range(4096)])},
    "padding": {"PixelPaddingValue": 4032},
    "padding in a window": {"PixelPaddingValue": 0, "WindowCenter": 1000, "WindowWidth": 500},
}


@pytest.mark.parametrize("elements", SHOWN_AS.values(), ids=SHOWN_AS)
@pytest.mark.parametrize("pixels", [RAMP, TWELVE_BIT, TWELVE_BIT[:, :61]], ids=["ramp", "disc", "uneven"])
@pytest.mark.parametrize("size", [(16, 12), (7, 60), (10, 10)])
def test_a_reduced_dicom_is_the_mean_of_what_is_shown(pixels, size, elements):
    data = dicom(np.ascontiguousarray(pixels), **elements)
    image = decode(data, sufficient=lambda *_: size)
    assert image.reduction == tuple(
        max(1, int(had / (1.25 * needed))) for had, needed in zip(pixels.shape, size, strict=True)
    )
    assert (image.height, image.width) == pixels.shape
    # A fifth of a grey level of 255.
    np.testing.assert_allclose(image.pixels, means(decode(data).pixels, *image.reduction), atol=0.2 / 255)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int8, np.uint32, np.int32])
def test_reduced_pixels_of_any_width_are_means(dtype):
    info = np.iinfo(dtype)
    values = np.linspace(info.min, info.max, ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(dtype)
    data = dicom(values, bits=info.bits)
    image = decode(data, sufficient=small)
    assert image.reduction == (3, 4)
    np.testing.assert_allclose(image.pixels, means(decode(data).pixels, *image.reduction), atol=1e-4)


def test_what_suffices_is_asked_with_the_size_and_aspect_that_the_file_states():
    asked = []

    def whole(height, width, aspect):
        asked.append((height, width, aspect))
        return height, width

    image = decode(dicom(PixelSpacing=[0.2, 0.1]), sufficient=whole)
    decode(raster(EIGHT_BIT, "JPEG"), sufficient=whole)
    assert asked == [(ROWS, COLUMNS, (0.2, 0.1)), (ROWS, COLUMNS, (1, 1))]
    np.testing.assert_array_equal(image.pixels, decode(dicom()).pixels)


@pytest.mark.parametrize(
    ("size", "scale"), [((300, 400), 1), ((150, 200), 2), ((149, 100), 2), ((60, 60), 4), ((4, 4), 8)]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shape", [(300, 400), (301, 405)])
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_suffices(shape, mode, size, scale):
    grey = np.asarray(Image.fromarray(EIGHT_BIT).resize(shape[::-1], Image.Resampling.BICUBIC))
    image = decode(raster(Image.fromarray(grey).convert(mode), "JPEG", quality=95), sufficient=lambda *_: size)
    assert image.reduction == (scale, scale)
    assert (image.height, image.width) == shape
    np.testing.assert_allclose(image.pixels, means(grey / 255, scale, scale), atol=0.06)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_other_files_come_whole(file_format):
    image = decode(raster(EIGHT_BIT, file_format), sufficient=small)
    assert image.reduction == (1, 1)
    np.testing.assert_array_equal(image.levels, EIGHT_BIT)


def test_grey_bytes_stay_bytes():
    for file_format in ("PNG", "JPEG", "TIFF"):
        assert decode(raster(EIGHT_BIT, file_format)).levels.dtype == np.uint8


# --- refusals ---


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


COLOURED = np.dstack([EIGHT_BIT, EIGHT_BIT[::-1], np.full_like(EIGHT_BIT, 90)])


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


# --- whatever bytes come ---


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    forged = bytearray(data)
    match random.integers(4):
        case 0:
            return bytes(forged[: random.integers(len(forged))])
        case 1:
            for position in random.integers(len(forged), size=random.integers(1, 20)):
                forged[position] ^= 1 << random.integers(8)
        case 2:
            # Headers are short: half a kilobyte at the start.
            for position in random.integers(min(512, len(forged)), size=random.integers(1, 6)):
                forged[position] = random.integers(256)
        case 3:
            start = random.integers(len(forged))
            forged[start : start + random.integers(1, 40)] = random.bytes(random.integers(40))
    return bytes(forged)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> dict[str, list[bytes]]:
    folder = tmp_path_factory.mktemp("gdcm")
    return {
        "DICOM": [
            *(dicom(syntax=syntax, WindowCenter=2048, WindowWidth=4096) for syntax in UNCOMPRESSED),
            jpeg_baseline(),
            compressed(uid.RLELossless, "pydicom"),
            compressed(uid.JPEGLSLossless, "pyjpegls"),
            compressed(uid.JPEG2000Lossless, "pylibjpeg"),
            by_gdcm(folder, gdcm.TransferSyntax.JPEGLosslessProcess14_1),
            by_gdcm(folder, gdcm.TransferSyntax.JPEGExtendedProcess2_4, lossy=True),
        ],
        "PNG": [raster(EIGHT_BIT, "PNG"), raster(TWELVE_BIT, "PNG")],
        "JPEG": [raster(EIGHT_BIT, "JPEG"), raster(COLOURED, "JPEG", progressive=True)],
        "TIFF": [raster(EIGHT_BIT, "TIFF"), raster(TWELVE_BIT, "TIFF", compression="tiff_lzw")],
    }


def is_sound_or_refused(data: bytes) -> None:
    for sufficient in (None, small):
        try:
            image = decode(data, sufficient=sufficient)
        except CanicorError:
            continue
        assert image.pixels.min() >= 0
        assert image.pixels.max() <= 1
        assert min(image.height, image.width) >= 32
        assert min(image.pixels.shape) >= (10 if sufficient else 32)


@pytest.mark.parametrize("file_format", ["DICOM", "PNG", "JPEG", "TIFF"])
def test_a_hundred_damaged_files_are_read_or_refused(seeds, file_format, caplog):
    random = np.random.default_rng(20)
    for index in range(100):
        is_sound_or_refused(mutated(seeds[file_format][index % len(seeds[file_format])], random))
    assert not caplog.records


PYDICOM_FILES = sorted(
    path for path in (Path(pydicom.data.__file__).parent / "test_files").iterdir() if path.is_file()
)


@pytest.mark.parametrize("path", PYDICOM_FILES, ids=lambda path: path.name)
def test_files_that_come_with_pydicom_are_read_or_refused(path):
    is_sound_or_refused(path.read_bytes())


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_files_of_other_writers_decode_when_they_are_radiographs(name):
    """Real codestreams, filed as radiographs of the thorax."""
    path = next(path for path in PYDICOM_FILES if path.name == name)
    made = pydicom.dcmread(path)
    made.Modality, made.BodyPartExamined = "DX", "THORAX"
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in made:
            del made[keyword]
    image = decode(written(made))
    assert image.pixels.shape == (made.Rows, made.Columns)
    if name != "JPGExtended.dcm":
        plain = get_decoder(made.file_meta.TransferSyntaxUID).as_array(made)[0].astype(np.float64)
        np.testing.assert_allclose(image.pixels, (plain - plain.min()) / np.ptp(plain), atol=1e-6)


def test_warning_filters_survive_decoding_in_many_threads():
    before = list(warnings.filters)
    bad, good = dicom()[:-100], dicom()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(_reason, [bad, good] * 40))
    assert results == ["TRUNCATED", "read"] * 40
    assert warnings.filters == before


def _reason(data: bytes) -> str:
    try:
        decode(data)
    except CanicorError as error:
        return error.reason
    return "read"


# --- real radiographs ---


@pytest.mark.parametrize(
    ("name", "shape", "spacing", "view"),
    [
        ("canine-lateral-1.dcm", (1300, 1612), (0.139, 0.139), View.LATERAL),
        ("canine-lateral-2.jpg", (600, 800), None, View.UNKNOWN),
    ],
)
def test_real_radiographs(name, shape, spacing, view):
    path = REAL / name
    if not path.exists():
        pytest.skip("real radiographs are not beside the repository (../shared/radiographs)")
    image = decode(path.read_bytes())
    assert image.pixels.shape == shape
    assert (image.pixel_spacing, image.view) == (spacing, view)
    assert np.ptp(image.pixels) > 0.9
    for sealed in (image.pixels, image.levels):
        with pytest.raises(ValueError, match="read-only"):
            sealed[0, 0] = 1
