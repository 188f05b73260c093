"""Pictures that are no lateral canine thorax, to be refused: drawn from a seed, or files of installed packages.

What a child, a cat or another dog's abdomen would look like is not among them.

The limbs and the ventrodorsal thorax go through the phantom's own detector, and the turned and cropped thoraxes
are phantoms: an impostor that differs from the training images by its exposure would be found too easily.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Self

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.data import get_testdata_file
from sklearn.datasets import load_sample_images

from canicor import phantom
from canicor.bundle import InputSpec
from canicor.model_input import read
from canicor.phantom.beam import Beam, Map
from canicor.phantom.canvas import Canvas
from canicor.phantom.dog import Tissue
from canicor.phantom.exposure import Exposure, expose
from canicor.phantom.presentation import Presentation, present
from canicor.phantom.priors import drawn
from canicor.phantom.solids import Solids, smooth_path

Picture = NDArray[np.uint8]
"""uint8 [height, width], bright = dense."""

WIDTH, HEIGHT = 400, 312
"""Of what is drawn."""

# Pictures: a comparison of some twenty models shows all the same ones. 30 MB.
_KEPT = 256

# Of pydicom's own test files, those that show one grey slice of a body: two of CT, two of MR.
_SCANS = ("CT_small.dcm", "693_J2KI.dcm", "MR_small.dcm", "examples_overlay.dcm")


@dataclass(frozen=True)
class Impostors:
    """Pictures to be refused, at a model's input size.

    Attributes:
        kinds: What each shows, keys of `KINDS`.
        pixels: uint8 [N, height, width].
    """

    kinds: tuple[str, ...]
    pixels: NDArray[np.uint8]

    @classmethod
    def draw(cls, count: int, seed: int, spec: InputSpec, drawn: Callable[[], None]) -> Self:
        """Draws so many of every kind; `drawn` is called after each."""
        inputs = []
        for kind in KINDS:
            for index in range(count):
                file = io.BytesIO()
                Image.fromarray(draw(kind, seed, index)).save(file, "PNG")
                inputs.append(read(file.getvalue(), spec.height, spec.width, spec.resize).pixels)
                drawn()
        return cls(tuple(kind for kind in KINDS for _ in range(count)), np.stack(inputs))


@lru_cache(_KEPT)
def draw(kind: str, seed: int, index: int) -> Picture:
    """Draws picture `index` of a kind, read-only; the same arguments give the same picture."""
    picture = KINDS[kind](np.random.default_rng([seed, index, list(KINDS).index(kind)]))
    picture.setflags(write=False)
    return picture


def _noise(rng: np.random.Generator) -> Picture:
    return rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


def _gradient(rng: np.random.Generator) -> Picture:
    """An empty film: a slope of grey in some direction."""
    angle, dark, bright = rng.uniform(0, 2 * np.pi), rng.uniform(0, 100), rng.uniform(110, 255)
    across, down = np.linspace(-1, 1, WIDTH)[None, :], np.linspace(-1, 1, HEIGHT)[:, None]
    slope = np.cos(angle) * across + np.sin(angle) * down
    low, high = slope.min(), slope.max()
    grey: Picture = (dark + (bright - dark) * (slope - low) / (high - low)).astype(np.uint8)
    return grey


def _text(rng: np.random.Generator) -> Picture:
    """A page of words of random letters, black on white or white on black."""
    paper, ink = (245, 20) if rng.random() < 0.7 else (10, 230)
    page = Image.new("L", (WIDTH, HEIGHT), paper)
    size = int(rng.integers(9, 17))
    font, pen = ImageFont.load_default(size), ImageDraw.Draw(page)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    for y in range(size, HEIGHT - size, round(1.4 * size)):
        words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(rng.integers(5, 14))]
        pen.text((int(rng.integers(12, 20)), y), " ".join(words), fill=ink, font=font)
    return np.array(page)


def _photograph(rng: np.random.Generator) -> Picture:
    """A part of one of scikit-learn's two photographs (a temple, a flower), in grey."""
    photograph = _photographs()[int(rng.integers(2))]
    share = rng.uniform(0.35, 1.0)
    height, width = photograph.size[1] * share, photograph.size[0] * share
    left, top = rng.uniform(0, photograph.size[0] - width), rng.uniform(0, photograph.size[1] - height)
    part = photograph.resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height)
    )
    return np.array(part)[:, :: int(rng.choice([-1, 1]))]


@cache
def _photographs() -> list[Image.Image]:
    return [Image.fromarray(picture).convert("L") for picture in load_sample_images().images]


def _scan(rng: np.random.Generator) -> Picture:
    """A slice of CT or MR, turned by quarters."""
    path = get_testdata_file(_SCANS[int(rng.integers(len(_SCANS)))], download=False)
    values = pydicom.dcmread(str(path)).pixel_array.astype(np.float64)
    low, high = np.percentile(values, (1, 99.5))
    grey = (255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(grey, int(rng.integers(4))))


def _upside_down(rng: np.random.Generator) -> Picture:
    """Spine below, sternum above: the picture's rows in reverse."""
    return np.ascontiguousarray(_thorax(rng)[::-1])


def _half_turn(rng: np.random.Generator) -> Picture:
    return np.ascontiguousarray(_thorax(rng)[::-1, ::-1])


def _quarter_turn(rng: np.random.Generator) -> Picture:
    return np.ascontiguousarray(np.rot90(_thorax(rng), int(rng.choice([1, 3]))))


def _negative(rng: np.random.Generator) -> Picture:
    """Dense tissue dark, as where a MONOCHROME1 film is read as MONOCHROME2."""
    return 255 - _thorax(rng)


def _crop(rng: np.random.Generator) -> Picture:
    """A ninth of a thorax, enlarged."""
    thorax = Image.fromarray(_thorax(rng))
    left, top = rng.uniform(0, WIDTH * 2 / 3), rng.uniform(0, HEIGHT * 2 / 3)
    box = (left, top, left + WIDTH / 3, top + HEIGHT / 3)
    return np.array(thorax.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box))


def _thorax(rng: np.random.Generator) -> Picture:
    seed = int(rng.integers(2**63))
    return np.asarray(phantom.draw(seed, 0, width=WIDTH, height=HEIGHT).pixels, np.uint8)


def _ventrodorsal(rng: np.random.Generator) -> Picture:
    """A thorax seen along the sagittal plane: spine in the middle, lungs on either side, heart to the left."""
    canvas = _canvas(rng, turn=rng.uniform(80, 100))
    trunk, lungs, heart, bones = Solids(), Solids(), Solids(), Solids()
    half, air = rng.uniform(2.6, 3.4), rng.uniform(0.62, 0.8)
    trunk.block((1.5, 0), (12, half + rng.uniform(0.6, 1.1)), rng.uniform(6, 8))
    for side in (-1, 1):
        lungs.block((1.0, side * half * 0.5), (4.6, half * 0.48), 5.0, angle=side * 6, power=2)
    heart.block((1.6, 0.4), (rng.uniform(2.1, 2.9), rng.uniform(1.5, 2.1)), 3.6, angle=18, power=2)
    for number in range(-4, 9):
        x = number + 0.05 * rng.standard_normal()
        bones.block((x, 0), (0.44, 0.42), 0.8)
        bones.block((x, 0), (0.12, 0.9), 0.3, power=2)
        bones.tube([(x, 0), (x, 0.16)], (0.12, 0.1), weight=2.0)
        for side in (-1, 1):
            reach = side * (half - 0.03 * (number - 2) ** 2 + 0.1)
            rib = smooth_path([(x, 0), (x + 0.3, 0.75 * reach), (x + 0.9, reach)], 4)
            bones.tube(rib, np.linspace(0.13, 0.1, len(rib)), marrow=0.6)
    soft = canvas.thickness(trunk)
    soft -= np.float32(air) * np.maximum(canvas.thickness(lungs) - canvas.thickness(heart), 0.0)
    return _film(canvas, soft, bones, rng.uniform(1.0, 2.3), rng)


def _hand(rng: np.random.Generator) -> Picture:
    """A person's hand, flat on the film: a unit is a centimetre."""
    canvas = _canvas(rng, turn=rng.uniform(-110, -70), unit=HEIGHT / rng.uniform(19, 24))
    flesh, bones = Solids(), Solids()
    flesh.block((-3.5, 0), (4.6, 4.2), 2.6)
    flesh.tube([(-13, 0), (-6, 0)], (2.9, 2.7), weight=0.6)
    for index, (length, spread) in enumerate(((5.5, -46), (7.4, -11), (8.2, -2), (7.6, 7), (6.0, 17))):
        _digit(flesh, bones, root=(-4.5, 1.15 * (index - 2)), reach=4.0 + length, spread=spread, radius=0.85)
    for side in (-0.9, 0.9):
        bones.tube([(-13, side), (-6.3, side)], (0.75, 0.95), marrow=0.5)
    return _film(canvas, canvas.thickness(flesh), bones, 1.0, rng)


def _paw(rng: np.random.Generator) -> Picture:
    """A dog's forepaw, flat on the film: a unit is a centimetre."""
    canvas = _canvas(rng, turn=rng.uniform(-110, -70), unit=HEIGHT / rng.uniform(13, 17))
    flesh, bones = Solids(), Solids()
    flesh.tube([(-10, 0), (1.5, 0)], (1.6, 2.2), weight=0.8)
    for index, spread in enumerate((-16, -5, 5, 16)):
        _digit(flesh, bones, root=(-3.0, 0.75 * (index - 1.5)), reach=7.5, spread=spread, radius=0.75)
    for side in (-0.45, 0.45):
        bones.tube([(-10, side), (-3.6, side)], (0.5, 0.6), marrow=0.5)
    return _film(canvas, canvas.thickness(flesh), bones, 1.0, rng)


def _digit(
    flesh: Solids,
    bones: Solids,
    root: tuple[float, float],
    reach: float,
    spread: float,
    radius: float,
) -> None:
    """Adds a ray of a hand: its flesh, and four bones with a gap at each joint."""
    turn = np.radians(spread)
    along, start = np.array([np.cos(turn), np.sin(turn)]), np.array(root)
    flesh.tube([start, start + reach * along], (radius, 0.8 * radius))
    joints = reach * np.array([0.0, 0.42, 0.68, 0.86, 1.0])
    for one, other in pairwise(joints):
        ends = [start + (one + 0.12) * along, start + (other - 0.12) * along]
        bones.tube(ends, (0.5 * radius, 0.42 * radius), marrow=0.5)


def _canvas(rng: np.random.Generator, turn: float, unit: float | None = None) -> Canvas:
    """A film whose first axis is turned by degrees, near its middle; by default a unit is a vertebra."""
    unit = unit or WIDTH * rng.uniform(0.24, 0.42) / 6
    origin = (WIDTH * rng.uniform(0.42, 0.58), HEIGHT * rng.uniform(0.42, 0.58))
    return Canvas(Beam(unit, -turn, origin, WIDTH, HEIGHT))


def _film(canvas: Canvas, soft: Map, bones: Solids, cm: float, rng: np.random.Generator) -> Picture:
    soft *= 1.0 + np.float32(0.02) * canvas.texture(rng, 0.5)
    tissue = Tissue(np.maximum(soft, 0.0), canvas.blank(), canvas.thickness(bones))
    density = expose(tissue, cm, canvas.beam.scale, drawn(Exposure, rng), rng)
    return np.asarray(present(density, drawn(Presentation, rng), rng.random() < 0.5, 8, rng), np.uint8)


KINDS: dict[str, Callable[[np.random.Generator], Picture]] = {
    "noise": _noise,
    "gradient": _gradient,
    "text": _text,
    "photograph": _photograph,
    "scan": _scan,
    "hand": _hand,
    "paw": _paw,
    "ventrodorsal": _ventrodorsal,
    "upside down": _upside_down,
    "half turn": _half_turn,
    "quarter turn": _quarter_turn,
    "negative": _negative,
    "crop": _crop,
}
"""How each kind is drawn."""
