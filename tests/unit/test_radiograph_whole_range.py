"""Where a window is left to whoever shows a radiograph, and where it can't be."""

import numpy as np
import pytest
from pydicom.sequence import Sequence

from canicor.radiograph import decode
from tests.radiographs import EIGHT_BIT, SHOWN, TWELVE_BIT, dicom, lut, raster


def windowed(levels: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    black, white = window
    return np.clip((levels - black) / (white - black), 0, 1)


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 1500, "WindowWidth": 900},
        {"WindowCenter": [1500, 700], "WindowWidth": [900, 20]},
        {"WindowCenter": 1500, "WindowWidth": 9000},
        {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 1500, "WindowWidth": 900, "PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": -200, "WindowWidth": 1800, "RescaleSlope": 2, "RescaleIntercept": -1024},
    ],
)
def test_the_window_over_the_whole_range_shows_what_the_file_asks_for(elements: dict) -> None:
    data = dicom(**elements)
    whole = decode(data, whole_range=True)
    assert whole.window is not None
    assert (whole.levels.min(), whole.levels.max()) == (0, 1)
    assert len(np.unique(whole.levels)) == len(np.unique(TWELVE_BIT)), "no grey is lost"
    np.testing.assert_allclose(windowed(whole.levels, whole.window), decode(data).levels, atol=1e-4)


def test_padding_is_no_part_of_the_range() -> None:
    padded = TWELVE_BIT.copy()
    padded[:5] = 60_000
    data = dicom(padded, bits=16, PixelPaddingValue=60_000, WindowCenter=1500, WindowWidth=900)
    whole = decode(data, whole_range=True)
    np.testing.assert_allclose(windowed(whole.levels, whole.window)[5:], decode(data).levels[5:], atol=1e-4)
    assert whole.levels[5:].max() == 1
    assert np.all(whole.levels[:5] == 0)


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 1500, "WindowWidth": 1},
        {
            "WindowCenter": 1500,
            "WindowWidth": 900,
            "VOILUTSequence": Sequence(
                lut(4096, 0, 12, list(np.sqrt(np.arange(4096) * 4095).astype(int).tolist()))
            ),
        },
    ],
)
def test_what_is_no_straight_window_is_shown_as_before(elements: dict) -> None:
    data = dicom(**elements)
    whole = decode(data, whole_range=True)
    assert whole.window is None
    assert np.array_equal(whole.levels, decode(data).levels)


def test_without_being_asked_a_window_is_applied() -> None:
    data = dicom(WindowCenter=1500, WindowWidth=900)
    assert decode(data).window is None
    assert np.abs(decode(data).levels - SHOWN).max() > 0.1


def test_another_format_has_no_window() -> None:
    assert decode(raster(EIGHT_BIT, "PNG"), whole_range=True).window is None
