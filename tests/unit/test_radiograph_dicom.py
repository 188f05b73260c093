"""Each decoder must give back the pixels that went in, shown as the file says."""

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from canicor.radiograph import View, decode
from tests.radiographs import (
    COLUMNS,
    EIGHT_BIT,
    ROWS,
    SHOWN,
    TWELVE_BIT,
    UNCOMPRESSED,
    by_gdcm,
    compressed,
    dataset,
    dicom,
    gdcm,
    jpeg_baseline,
    lut,
    refused,
    written,
)

REAL = Path(__file__).parents[3] / "shared" / "radiographs"

# --- transfer syntaxes ---


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


# --- greyscale ---


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


# --- geometry and view ---


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
        ("Thorax VD + LAT", View.UNKNOWN),
        ("Collateral findings", View.UNKNOWN),
    ],
)
def test_view_from_the_series_description_only_where_it_names_one(description, view):
    assert decode(dicom(SeriesDescription=description)).view is view


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_files_of_other_writers_decode_when_they_are_radiographs(name):
    """Real codestreams, filed as radiographs of the thorax."""
    made = pydicom.dcmread(get_testdata_file(name))
    made.Modality, made.BodyPartExamined = "DX", "THORAX"
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in made:
            del made[keyword]
    image = decode(written(made))
    assert image.pixels.shape == (made.Rows, made.Columns)
    if name != "JPGExtended.dcm":
        plain = get_decoder(made.file_meta.TransferSyntaxUID).as_array(made)[0].astype(np.float64)
        np.testing.assert_allclose(image.pixels, (plain - plain.min()) / np.ptp(plain), atol=1e-6)


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
