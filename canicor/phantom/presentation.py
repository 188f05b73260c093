"""What a vendor's processing and a clinic's habits make of the recorded film: greys, borders, markers, faults."""

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from canicor.phantom.beam import Map
from canicor.phantom.exposure import smooth
from canicor.phantom.priors import normal, sometimes, uniform

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""[height, width], bright = dense."""

# A dog's thinnest parts; what attenuates less counts as bare film.
_BARE = 0.25
# What the collimator leaves around the key points, as a share of the shorter side.
_SPARE = 0.03


@dataclass(frozen=True)
class Presentation:
    """Shares of 1; lengths are shares of the image's shorter side unless a comment says otherwise."""

    # The vendor's curve.
    equalisation: float = uniform(0.3, 0.8)  # how much of the slow changes is taken away
    equalised_size: float = uniform(0.1, 0.3)
    local_contrast: float = uniform(0.3, 1.3)  # at some v
    edge_enhancement: float = uniform(0.1, 1.7)  # at some pixels
    darkest: float = uniform(0.1, 2.0)  # percentile of the dog that is shown black
    brightest: float = uniform(94.5, 99.7)  # and white
    overexposed: float = sometimes(0.05, 2.0, 14.0)  # percent of the dog that is black beyond these
    gamma: float = normal(0.97, 0.2, 0.6, 1.7)
    s_curve: float = uniform(-0.15, 0.6)
    lung_grey: float = uniform(0.0, 0.3)  # what black becomes inside the dog
    brightness: float = normal(0.84, 0.07, 0.6, 1.0)  # what white becomes
    bare_film: float = sometimes(0.65, 0.01, 0.17)  # grey of the film beside the dog
    # The collimator's borders.
    left_border: float = sometimes(0.15, 0.004, 0.08)
    right_border: float = sometimes(0.45, 0.004, 0.12)
    upper_border: float = sometimes(0.4, 0.004, 0.08)
    lower_border: float = sometimes(0.35, 0.004, 0.18)
    border_turn: float = normal(0.0, 1.6, -7.0, 7.0)  # in degrees
    # Lead markers and burnt-in text.
    marker: float = sometimes(0.85, 0.03, 0.075)  # height
    marker_kind: float = uniform(0.0, 4.0)  # letter, letter on a plate, letter in a ring, corner
    marker_across: float = uniform(0.03, 0.93)
    marker_up: float = sometimes(0.2, 1.0, 1.0)  # 1 at the upper edge
    marker_turn: float = normal(0.0, 14.0, -60.0, 60.0)  # in degrees
    marker_mirrored: float = sometimes(0.1, 1.0, 1.0)
    text: float = sometimes(0.06, 0.02, 0.04)  # height of its letters
    # What became of the file.
    mirrored: float = sometimes(0.03, 1.0, 1.0)  # 1 where the head is on the right
    jpeg_quality: float = sometimes(0.4, 35.0, 96.0)  # of a lossy copy; only at 8 bits
    screen: float = sometimes(0.01, 0.02, 0.08)  # a photograph of a screen: strength of its moire


def clear_of(points: NDArray[np.float64], shape: tuple[int, int], shown: Presentation) -> Presentation:
    """The same with a collimator that is opened as far as points [n, 2] in pixels need."""
    free = (
        float(distance.min()) / min(shape) - _SPARE
        for distance in _distances(points[:, 0], points[:, 1], shape, shown)
    )
    names = ("left_border", "right_border", "upper_border", "lower_border")
    borders = zip(names, _borders(shown), free, strict=True)
    return replace(shown, **{name: max(min(border, most), 0.0) for name, border, most in borders})


def present(density: Map, shown: Presentation, right_lateral: bool, bits: int, rng: np.random.Generator) -> Pixels:
    """Shows the recorded film.

    Args:
        density: float32 [height, width], see `canicor.phantom.exposure.expose`.
        shown: How.
        right_lateral: Which letter the marker has: R where the right side lies on the table, else L.
        bits: 8 to 16.
        rng: Gives the text and the moire.

    Returns:
        [height, width] of 0 to 2^bits - 1, dense tissue bright; uint8 at 8 bits, else uint16.
    """
    inside = _inside(density.shape, shown)
    grey = _greys(density, inside > 0.5, shown)
    grey *= inside
    if shown.mirrored:
        grey = np.ascontiguousarray(grey[:, ::-1])
    _mark(grey, shown, "R" if right_lateral else "L")
    if shown.text:
        _write(grey, shown, rng)
    if shown.screen:
        grey = _photograph(grey, shown, rng)
    largest = 2**bits - 1
    grey *= np.float32(largest)
    np.rint(np.clip(grey, 0.0, largest, out=grey), out=grey)
    if bits > 8:
        return grey.astype(np.uint16)
    pixels = grey.astype(np.uint8)
    if not shown.jpeg_quality:
        return pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=round(shown.jpeg_quality))
    return np.array(Image.open(file))


def _greys(density: Map, exposed: NDArray[np.bool_], shown: Presentation) -> Map:
    """Flattens slow changes, lifts detail, then spreads the dog's densities over the greys."""
    side = min(density.shape)
    dog = exposed & (density > np.float32(_BARE))
    slow = smooth(density, max(1, round(shown.equalised_size * side)))
    detail = density - np.float32(shown.equalisation) * slow
    detail += np.float32(shown.local_contrast) * (density - smooth(density, max(1, side // 14)))
    detail += np.float32(shown.edge_enhancement) * (density - smooth(density, max(1, side // 100)))
    sample = detail[::4, ::4][dog[::4, ::4]]
    ends = (shown.darkest + shown.overexposed, shown.brightest)
    low, high = np.percentile(sample, ends) if sample.size else (0.0, 1.0)
    detail -= np.float32(low)
    detail *= np.float32(1.0 / max(high - low, 1e-3))
    grey: Map = np.clip(detail, 0.0, 1.0, out=detail) ** np.float32(shown.gamma)
    grey += np.float32(shown.s_curve) * (grey * grey * (3.0 - 2.0 * grey) - grey)
    # Beside the dog the film is black, or as dark as the clinic's curve leaves it.
    thickness = np.clip(density * np.float32(1.0 / (2.0 * _BARE)) - np.float32(0.2), 0.0, 1.0)
    grey *= np.float32(shown.brightness - shown.lung_grey)
    grey += np.float32(shown.lung_grey)
    grey -= np.float32(shown.bare_film)
    grey *= thickness
    grey += np.float32(shown.bare_film)
    return grey


def _inside(shape: tuple[int, int], shown: Presentation) -> Map:
    """1 inside the collimator's turned rectangle, 0 outside, with a soft edge."""
    height, width = shape
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    inside = np.ones(shape, np.float32)
    for border, distance in zip(_borders(shown), _distances(x, y, shape, shown), strict=True):
        if border:
            within = distance - np.float32(border * min(shape))
            inside *= np.clip(within * np.float32(0.5) + np.float32(0.5), 0.0, 1.0)
    return inside


def _borders(shown: Presentation) -> tuple[float, float, float, float]:
    return shown.left_border, shown.right_border, shown.upper_border, shown.lower_border


def _distances(
    x: NDArray[Any], y: NDArray[Any], shape: tuple[int, int], shown: Presentation
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """How far points lie from the image's left, right, upper and lower edge, turned about its middle: pixels."""
    height, width = shape
    turn = np.float32(np.tan(np.radians(shown.border_turn)))
    along, down = turn * (x - np.float32(0.5 * width)), turn * (y - np.float32(0.5 * height))
    return x + down, width - 1 - x - down, y - along, height - 1 - y + along


def _mark(grey: Map, shown: Presentation, letter: str) -> None:
    """Lays a lead marker near the lower or the upper edge."""
    if not shown.marker:
        return
    height, width = grey.shape
    size = max(7, round(shown.marker * min(height, width)))
    mark = Image.new("L", (2 * size, 2 * size))
    pen, middle = ImageDraw.Draw(mark), (size, size)
    kind = int(shown.marker_kind)
    plate = 0.0
    if kind == 3:
        pen.line(
            [(size // 2, size // 2), (size // 2, 3 * size // 2), (3 * size // 2, 3 * size // 2)],
            255,
            max(2, size // 5),
        )
    else:
        small = size if kind == 0 else 0.75 * size
        pen.text(middle, letter, fill=255, font=ImageFont.load_default(max(small, 6)), anchor="mm")
    if kind == 1:
        plate = 0.35
    if kind == 2:
        pen.ellipse([(0.35 * size, 0.35 * size), (1.65 * size, 1.65 * size)], outline=255, width=max(1, size // 9))
    if shown.marker_mirrored:
        mark = mark.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    base = Image.new("L", mark.size)
    if plate:
        ImageDraw.Draw(base).rectangle([(0.5 * size, 0.4 * size), (1.5 * size, 1.6 * size)], fill=255)
    left = round(shown.marker_across * width) - size
    top = round(height * (0.01 if shown.marker_up else 0.99)) - (0 if shown.marker_up else 2 * size)
    for layer, level in ((base, plate), (mark, 0.95)):
        if not level:
            continue
        turned = np.asarray(layer.rotate(shown.marker_turn, Image.Resampling.BILINEAR), dtype=np.float32)
        cut = (slice(max(top, 0), min(top + 2 * size, height)), slice(max(left, 0), min(left + 2 * size, width)))
        part = turned[cut[0].start - top : cut[0].stop - top, cut[1].start - left : cut[1].stop - left]
        part = part * np.float32(1.0 / 255.0)
        grey[cut] += part * np.maximum(np.float32(level) - grey[cut], 0.0)


def _write(grey: Map, shown: Presentation, rng: np.random.Generator) -> None:
    """Burns lines of letters and numbers into a corner."""
    height, width = grey.shape
    size = max(7, round(shown.text * min(height, width)))
    layer = Image.new("L", (width, height))
    pen = ImageDraw.Draw(layer)
    letters = list("ABCDEFGHIKLMNOPRSTUVWXYZ0123456789 :./-")
    left, top = float(rng.choice([0.01, 0.7])) * width, float(rng.choice([0.01, 0.88])) * height
    for line in range(int(rng.integers(1, 4))):
        words = "".join(rng.choice(letters, int(rng.integers(6, 18))))
        pen.text((left, top + 1.2 * size * line), words, fill=230, font=ImageFont.load_default(size))
    np.maximum(grey, np.asarray(layer, dtype=np.float32) * np.float32(1.0 / 255.0), out=grey)


def _photograph(grey: Map, shown: Presentation, rng: np.random.Generator) -> Map:
    """A telephone held before the monitor: moire, falling brightness, a pane's reflection."""
    height, width = grey.shape
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    turn, waves = rng.uniform(0.0, np.pi), rng.uniform(20.0, 90.0)
    phase = np.float32(waves) * (np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y)
    moire = np.float32(shown.screen) * np.sin(phase + np.float32(3.0) * x * y)
    at = rng.uniform(-0.8, 0.8, 2).astype(np.float32)
    glare = np.float32(2.0 * shown.screen) * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) * np.float32(4.0))
    shade = 1.0 - np.float32(0.2) * (x * x + y * y)
    seen: Map = np.clip((0.06 + 0.88 * grey) * (shade + moire) + glare, 0.0, 1.0)
    return seen
