import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from canicor.errors import InvalidArgument
from canicor.model_input import Placement, ResizeRule, fit, read
from canicor.radiograph import Radiograph, View, decode
from canicor.vhs import KeyPoints, measure

REAL = Path(__file__).parents[3] / "shared" / "radiographs"

SPACINGS = [None, (0.2, 0.1), (0.1, 0.15)]
POINTS = np.array([[60, 40], [95, 90], [50, 70], [100, 60], [40, 20], [110, 22]], dtype=np.float64)


def radiograph(pixels: np.ndarray, spacing: tuple[float, float] | None = None) -> Radiograph:
    return Radiograph(pixels.astype(np.float32), spacing, "PNG", View.LATERAL)


def fitted(*arguments: object) -> tuple[np.ndarray, Placement]:
    prepared = fit(*arguments)
    return prepared.pixels, prepared.placement


def blob(height: int, width: int, x: float, y: float, sigma: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def centroid(image: np.ndarray) -> np.ndarray:
    weights = image.astype(np.float64)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("rule", ResizeRule)
@pytest.mark.parametrize(
    ("height", "width", "target"),
    [(300, 420, (128, 128)), (301, 211, (96, 160)), (120, 150, (512, 512)), (90, 200, (300, 260))],
    ids=["down", "down, odd", "up", "up, odd"],
)
def test_a_blob_is_found_where_its_place_maps(height, width, target, rule, spacing):
    place = np.array([0.37 * width + 0.3, 0.58 * height - 0.2])
    image, placement = fitted(
        radiograph(blob(height, width, *place, sigma=min(height, width) / 14), spacing), *target, rule
    )
    assert image.shape == target
    assert image.dtype == np.uint8
    np.testing.assert_allclose(centroid(image), placement.to_input(place), atol=0.1)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("rule", ResizeRule)
def test_points_and_vhs_survive_the_way_there_and_back(rule, spacing):
    image = radiograph(np.linspace(0, 1, 128 * 150).reshape(128, 150), spacing)
    _, placement = fitted(image, 77, 205, rule)
    back = placement.to_radiograph(placement.to_input(POINTS))
    np.testing.assert_allclose(back, POINTS, atol=1e-9)
    expected = measure(KeyPoints.from_array(POINTS), image.pixel_aspect)
    assert measure(KeyPoints.from_array(back), image.pixel_aspect).vhs == pytest.approx(expected.vhs, abs=1e-9)


def test_pixel_centres_are_at_integers_in_both():
    placement = Placement(scale=(0.5, 2.0), offset=(3.0, 0.0))
    # The first pixel's left edge, -0.5, lands on the offset's edge; a pixel of two rows is centred between them.
    np.testing.assert_allclose(placement.to_input([-0.5, 0]), [2.5, 0.5])
    np.testing.assert_allclose(placement.to_radiograph([[2.5, 0.5], [3.0, 2.5]]), [[-0.5, 0], [0.5, 1]])


def test_letterbox_keeps_the_aspect_and_pads_with_black():
    image, placement = fitted(radiograph(np.ones((100, 200))), 120, 100, ResizeRule.LETTERBOX)
    assert (image[35:85] == 255).all()
    assert not image[:35].any()
    assert not image[85:].any()
    assert placement.scale == (0.5, 0.5)


def test_letterbox_makes_pixels_square():
    # 100 x 100 pixels, twice as tall as wide each: physically 200 high, 100 wide.
    image, placement = fitted(radiograph(np.ones((100, 100)), (0.2, 0.1)), 80, 80, ResizeRule.LETTERBOX)
    assert (image[:, 20:60] == 255).all()
    assert not image[:, :20].any()
    assert not image[:, 60:].any()
    assert placement.scale == (0.4, 0.8)


def test_vhs_on_letterboxed_square_pixels_is_that_of_the_radiograph():
    image = radiograph(np.ones((1280, 1500)), (0.2, 0.1))
    _, placement = fitted(image, 512, 512, ResizeRule.LETTERBOX)
    points = POINTS * 10
    squared = measure(KeyPoints.from_array(placement.to_input(points)))
    assert squared.vhs == pytest.approx(measure(KeyPoints.from_array(points), (0.2, 0.1)).vhs, rel=0.005)


def test_stretch_fills_the_input():
    image, placement = fitted(radiograph(np.ones((100, 200)), (0.2, 0.1)), 60, 60, ResizeRule.STRETCH)
    assert (image == 255).all()
    assert placement == Placement((0.3, 0.6), (0.0, 0.0))


def test_the_same_size_is_the_same_image():
    pixels = np.arange(256).reshape(16, 16) / 255
    image, placement = fitted(radiograph(pixels), 16, 16, ResizeRule.LETTERBOX)
    np.testing.assert_array_equal(image, np.arange(256).reshape(16, 16))
    assert placement == Placement((1.0, 1.0), (0.0, 0.0))


def test_shrinking_averages_fine_stripes_instead_of_aliasing():
    stripes = np.tile([0.0, 1.0], (400, 200))
    image, _ = fitted(radiograph(stripes), 57, 57, ResizeRule.STRETCH)
    assert np.abs(image.astype(int) - 128).max() < 20


@pytest.mark.parametrize("shape", [(32, 4000), (4000, 32)])
def test_a_thin_strip_keeps_a_pixel(shape):
    image, _ = fitted(radiograph(np.ones(shape)), 64, 64, ResizeRule.LETTERBOX)
    assert (image == 255).sum() == 64


# --- files, read at no more detail than the input takes ---


def mean_difference(data: bytes, height: int, width: int, rule: ResizeRule) -> float:
    """In grey levels of 255, between a file read for an input and one decoded whole and then resized."""
    prepared, whole = read(data, height, width, rule), fit(decode(data), height, width, rule)
    assert prepared.placement == whole.placement
    return float(np.abs(prepared.pixels.astype(int) - whole.pixels).mean())


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(file, "JPEG", quality=98)
    return file.getvalue()


def dicom(pixels: np.ndarray, **elements) -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, "1.2.3"
    made.Modality, made.PhotometricInterpretation = "DX", "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PixelRepresentation = 1, 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelData = np.rint(pixels * 4095).astype("<u2").tobytes()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize("rule", ResizeRule)
@pytest.mark.parametrize("write", [jpeg, dicom])
@pytest.mark.parametrize(
    ("height", "width", "shrinking"),
    [(400, 560, 2.5), (407, 563, 2.5), (801, 1125, 5), (803, 1127, 5), (1201, 1683, 8), (90, 100, 0.7)],
)
def test_a_blob_in_a_file_is_found_where_its_place_maps(height, width, shrinking, write, rule):
    place = np.array([0.37 * width + 0.3, 0.58 * height - 0.2])
    data = write(blob(height, width, *place, sigma=min(height, width) / 14))
    target = int(height / shrinking)
    prepared = read(data, target, target, rule)
    assert prepared.received == (height, width)
    # JPEG has dark pixels a level or two off black, which would pull the centroid to the middle.
    image = np.where(prepared.pixels > 12, prepared.pixels, 0)
    np.testing.assert_allclose(centroid(image), prepared.placement.to_input(place), atol=0.1)


@pytest.mark.parametrize("rule", ResizeRule)
@pytest.mark.parametrize("write", [jpeg, dicom])
def test_a_file_is_placed_alike_whole_and_resized(write, rule):
    data = write(blob(403, 561, 200, 180, sigma=40))
    assert mean_difference(data, 96, 128, rule) < 0.5


def test_a_file_of_non_square_pixels_is_letterboxed():
    data = dicom(blob(400, 800, 390, 210, sigma=50), PixelSpacing=[0.2, 0.1], ViewPosition="LL")
    prepared = read(data, 100, 100, ResizeRule.LETTERBOX)
    assert prepared.placement.scale == (0.125, 0.25)
    assert prepared.pixel_aspect == (0.2, 0.1)
    assert prepared.view is View.LATERAL


def test_the_header_is_told_before_any_pixel_is_decoded():
    told = []
    with pytest.raises(InvalidArgument):
        read(
            dicom(blob(40, 80, 20, 30, 9))[:-100],
            64,
            64,
            ResizeRule.STRETCH,
            header_read=lambda *size: told.append(size),
        )
    assert told == [(40, 80)]


@pytest.mark.parametrize("window", [None, (2048, 4096), (1800, 1600), (1500, 400), (1500, 60)], ids=str)
@pytest.mark.parametrize("rule", ResizeRule)
def test_a_real_radiograph_reads_the_same_resized_in_any_window(rule, window):
    path = REAL / "canine-lateral-1.dcm"
    if not path.exists():
        pytest.skip("real radiographs are not beside the repository (../shared/radiographs)")
    elements = {"WindowCenter": window[0], "WindowWidth": window[1]} if window else {}
    data = dicom(decode(path.read_bytes()).pixels, **elements)
    assert mean_difference(data, 300, 300, rule) < 0.2


@pytest.mark.parametrize("rule", ResizeRule)
def test_a_real_jpeg_reads_the_same_resized(rule):
    path = REAL / "canine-lateral-2.jpg"
    if not path.exists():
        pytest.skip("real radiographs are not beside the repository (../shared/radiographs)")
    assert mean_difference(path.read_bytes(), 224, 224, rule) < 1
