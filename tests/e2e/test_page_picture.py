"""What the labelling page shows of a radiograph, in a real browser."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, expect

from canicor import phantom
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.messages import key_points_from
from canicor.morphometry import implausible
from tests.browsers import Labeller
from tests.clinics import Clinic
from tests.films import (
    HEIGHT,
    NEAR,
    WIDTH,
    all_delivered,
    hand_in,
)
from tests.radiographs import dicom
from tests.servers import until


def seen(labeller: Labeller, width: int, height: int) -> np.ndarray:
    """Returns mean greys [56, 46] of the screen, of an image but for a twenty-fifth or so at its sides."""
    stage = labeller.stage
    corners = np.array([(0.04 * width, height / 30), (0.96 * width, height * 29 / 30)]) - 0.5
    (left, top), (right, bottom) = labeller.on_screen(corners, width, height) - (stage["x"], stage["y"])
    shot = Image.open(io.BytesIO(labeller.page.locator("#stage").screenshot())).convert("L")
    return np.asarray(shot.resize((46, 56), Image.Resampling.BOX, box=(left, top, right, bottom)), np.float64)


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """Returns the means of an image's pixels that `seen` ought to find."""
    height, width = pixels.shape
    inner = pixels[height // 30 : height * 29 // 30, width // 25 : width * 24 // 25]
    return inner.reshape(56, inner.shape[0] // 56, 46, inner.shape[1] // 46).mean((1, 3))


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_seen_is_what_the_image_holds(clinic: Clinic, visit: BrowserContext, bits: int) -> None:
    (one,) = hand_in(clinic, 1, bits)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.waits_for("Place A")
    anna.page.mouse.move(2, 2)
    pixels = np.asarray(Image.open(io.BytesIO(one.content)), np.float64)
    low, high = (0, 255) if bits == 8 else (pixels.min(), pixels.max())
    expected = 255 * (pixels - low) / (high - low)

    truth = shrunk(expected)

    def shows(greys: np.ndarray) -> bool:
        return bool(np.abs(seen(anna, WIDTH, HEIGHT) - greys).mean() < 2)

    until(lambda: shows(truth))
    anna.presses("i")
    until(lambda: shows(255 - truth))
    anna.presses("0")
    until(lambda: shows(truth))
    stage = anna.stage
    middle = np.array([stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2])
    anna.drags(middle, (-120, 0), button="right")
    anna.page.mouse.move(2, 2)
    narrower = np.clip((truth - 127.5) * 2 ** (120 / 200) + 127.5, 0, 255)
    until(lambda: shows(narrower))


def test_a_dicom_file_s_window_is_where_the_page_begins_and_hides_nothing(
    clinic: Clinic, visit: BrowserContext
) -> None:
    pixels = phantom.draw(3, 0, width=500, height=600, bits=16).pixels >> 4
    low, high = int(pixels.min()), int(pixels.max())
    center, width = low + 0.6 * (high - low), 0.2 * (high - low)
    film = dicom(pixels, WindowCenter=center, WindowWidth=width, VOILUTFunction="LINEAR_EXACT")
    clinic("mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=film)])
    anna = Labeller.sits_down(visit, clinic.server)
    anna.waits_for("Place A")
    anna.page.mouse.move(2, 2)
    shares = (pixels - low) / (high - low)

    def shows(window_width: float) -> bool:
        expected = 255 * np.clip((shares - 0.6) / window_width + 0.5, 0, 1)
        return bool(np.abs(seen(anna, 500, 600) - shrunk(expected)).mean() < 2)

    until(lambda: shows(0.2))
    stage = anna.stage
    middle = np.array([stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2])
    anna.drags(middle, (200, 0), button="right")
    anna.page.mouse.move(2, 2)
    until(lambda: shows(0.4))
    anna.presses("0")
    until(lambda: shows(0.2))


def test_a_point_where_no_heart_has_it_is_remarked(clinic: Clinic, visit: BrowserContext) -> None:
    (one,) = hand_in(clinic, 1)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.places(one.points, WIDTH, HEIGHT)
    remarks = anna.page.locator("#remarks li")
    expect(remarks).to_have_count(0)
    a, f = anna.on_screen(one.points.xy[[0, 5]], WIDTH, HEIGHT)
    anna.page.keyboard.down("Alt")
    anna.drags(a, tuple(f - a))
    anna.page.keyboard.up("Alt")
    expect(remarks.filter(has_text="plausible in a dog")).not_to_have_count(0)
    said = [text for text in remarks.all_inner_texts() if text.endswith("plausible in a dog.")]
    anna.presses("Enter")
    (label,) = all_delivered(clinic, anna, 1)
    assert said == implausible(key_points_from(label.key_points))


def test_zoom_keeps_what_is_under_the_cursor_and_points_where_they_are(
    clinic: Clinic, visit: BrowserContext
) -> None:
    (one,) = hand_in(clinic, 1)
    anna = Labeller.sits_down(visit, clinic.server)
    anna.waits_for("Place A")
    # Wheels turn at whole pixels of the screen.
    place = np.round(anna.on_screen(one.points.xy[:1], WIDTH, HEIGHT)[0])
    (first,) = anna.on_screen(np.zeros((1, 2)), WIDTH, HEIGHT)
    under = (place - first) / anna.zoom(WIDTH, HEIGHT)
    anna.page.mouse.move(*place)
    anna.page.mouse.wheel(0, -800)
    anna.clicks(place)
    anna.waits_for("Place B")
    assert np.abs(np.array(anna.points()["A"]) - under).max() <= NEAR
    before = anna.page.locator("[data-point=A]").bounding_box()
    anna.drags(place + 150, (100, -60))
    after = anna.page.locator("[data-point=A]").bounding_box()
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((100, -60), abs=1)
    assert np.abs(np.array(anna.points()["A"]) - under).max() <= NEAR, "the image was moved, not A"
