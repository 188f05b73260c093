"""Draws one phantom: dog, framing, projection, exposure, presentation."""

import hashlib
import operator
from dataclasses import asdict, dataclass
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from canicor.errors import InvalidArgument
from canicor.phantom.beam import Beam
from canicor.phantom.breeds import BreedType
from canicor.phantom.canvas import Canvas
from canicor.phantom.devices import Devices
from canicor.phantom.dog import Dog, Stream, Tissue
from canicor.phantom.exposure import Exposure, expose
from canicor.phantom.presentation import Pixels, Presentation, clear_of, present
from canicor.phantom.priors import asked_for, drawn, medians, names_of, normal
from canicor.phantom.wishes import LateralView, Wishes, wished_breed, wished_parameters, wished_vhs
from canicor.vhs import VERTEBRAE_SPANNED, KeyPoints, measure

_SHORTEST_SIDE, _LONGEST_SIDE = 64, 4096
_FEWEST_BITS, _MOST_BITS = 8, 16
_LARGEST_WORD = 2**64 - 1

# The six points keep this share of the image's width and height free at each edge.
_MARGIN = 0.06


@dataclass(frozen=True)
class Framing:
    """Where on the film the dog is."""

    ruler_share: float = normal(0.33, 0.05, 0.2, 0.46)  # of E-F in the image's width, where all fits
    centre_across: float = normal(0.5, 0.06, 0.36, 0.64)  # of the six points, as a share of the width
    centre_down: float = normal(0.5, 0.06, 0.36, 0.64)
    crop: float = asked_for()  # how far the dog is moved out of the film, as a share of its size: a fault


_PARAMETERS = {
    *Dog.parameter_names(),
    *(name for kind in (Framing, Exposure, Presentation) for name in names_of(kind)),
}


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph and the truth about it.

    Attributes:
        pixels: uint8 (8 bits) or uint16 [height, width], bright = dense (MONOCHROME2).
        key_points: In pixels of this image.
        vhs: What `canicor.vhs.measure` says of the key points.
        breed: How the dog is built.
        view: Which side lay on the table.
        masks: bool [height, width]: where "heart", "lungs" and "dog" are on the film, whatever hides them.
        parameters: Every parameter drawn, by name: lengths of the anatomy in vertebral units, angles in degrees.
    """

    pixels: Pixels
    key_points: KeyPoints
    vhs: float
    breed: BreedType
    view: LateralView
    masks: dict[str, NDArray[np.bool_]]
    parameters: dict[str, float]


@dataclass(frozen=True)
class Examination:
    """A dog on the table, and how its film is to be taken and shown.

    Attributes:
        dog: Its numbers.
        framing: Where on the film it is.
        exposure: How the film is taken.
        presentation: How it is shown.
        beam: The rays that the framing asks for.
        stream: The random numbers for each purpose.
    """

    dog: Dog
    framing: Framing
    exposure: Exposure
    presentation: Presentation
    beam: Beam
    stream: Stream

    @property
    def parameters(self) -> dict[str, float]:
        """Every parameter drawn, by name."""
        return self.dog.parameters | asdict(self.framing) | asdict(self.exposure) | asdict(self.presentation)

    def show(self, tissue: Tissue, bits: int) -> Pixels:
        """The picture of tissue [height, width] along the rays: uint8 at 8 bits, else uint16."""
        density = expose(tissue, self.dog.table.vertebra_cm, self.beam.scale, self.exposure, self.stream("noise"))
        return present(density, self.presentation, bool(self.dog.table.right_lateral), bits, self.stream("film"))

    def take(self, bits: int) -> Phantom:
        """Takes the film."""
        tissue, masks = self.dog.project(Canvas(self.beam), self.stream)
        pixels = self.show(tissue, bits)
        points = self.beam.to_pixels(self.dog.heart.key_points())
        if self.presentation.mirrored:
            points[:, 0] = self.beam.width - 1 - points[:, 0]
            masks = {name: np.ascontiguousarray(mask[:, ::-1]) for name, mask in masks.items()}
        key_points = KeyPoints.from_array(points)
        view = LateralView.RIGHT if self.dog.table.right_lateral else LateralView.LEFT
        vhs = measure(key_points).vhs
        return Phantom(pixels, key_points, vhs, self.dog.breed, view, masks, self.parameters)


def draw(
    seed: int, index: int, *, width: int = 512, height: int = 400, bits: int = 8, **wishes: Unpack[Wishes]
) -> Phantom:
    """Draws phantom `index` of the batch `seed`; the same arguments give the same bytes, in any order or process.

    A seed and an index name one dog and one exposure; another VHS gives the same dog with another heart.

    Args:
        seed: Of the batch, 0 to 2^64 - 1.
        index: Of the phantom in the batch, 0 to 2^64 - 1.
        width: Of the image in pixels, 64 to 4096.
        height: Of the image in pixels, 64 to 4096.
        bits: Of a pixel, 8 to 16.
        wishes: What is not to be drawn.

    Raises:
        InvalidArgument: A number is out of range, a name is unknown, or wishes exclude each other.
    """
    _check_integer("bits", bits, _FEWEST_BITS, _MOST_BITS)
    return examine(seed, index, width=width, height=height, **wishes).take(bits)


def examine(
    seed: int, index: int, *, width: int = 512, height: int = 400, **wishes: Unpack[Wishes]
) -> Examination:
    """The dog and the conditions of which `draw` takes the film. Arguments and errors as there."""
    for field, number in (("width", width), ("height", height)):
        _check_integer(field, number, _SHORTEST_SIDE, _LONGEST_SIDE)
    dog = draw_dog(seed, index, **wishes)
    stream, fixed = _streams(seed, index), wished_parameters(wishes, _PARAMETERS)
    framing = drawn(Framing, stream("framing"), fixed=fixed)
    exposure = drawn(Exposure, stream("exposure"), fixed=fixed)
    presentation = drawn(Presentation, stream("presentation"), fixed=fixed)
    beam = beam_of(dog, framing, width, height)
    if not framing.crop:
        points = beam.to_pixels(dog.heart.key_points())
        presentation = clear_of(points, (height, width), presentation)
    return Examination(dog, framing, exposure, presentation, beam, stream)


def draw_dog(seed: int, index: int, **wishes: Unpack[Wishes]) -> Dog:
    """The dog that `draw` would show, without the picture: fast. Arguments and errors as there."""
    for field, number in (("seed", seed), ("index", index)):
        _check_integer(field, number, 0, _LARGEST_WORD)
    fixed = wished_parameters(wishes, _PARAMETERS)
    stream = _streams(seed, index)
    size, kind = stream("dog").random(2)
    return Dog.draw(stream, wished_vhs(wishes, float(size)), wished_breed(wishes, float(kind)), fixed)


def beam_of(dog: Dog, framing: Framing, width: int, height: int) -> Beam:
    """Frames the chest as drawn, or smaller where the six points would not fit."""
    table, rise = dog.table, dog.spine.spine_rise
    unit = Beam(1.0, rise, (0.0, 0.0), width, height)
    points, size = unit.to_pixels(dog.heart.key_points()), np.array([width, height])
    low, high = points.min(axis=0), points.max(axis=0)
    room = (1.0 - 2.0 * _MARGIN) * size
    scale = min(framing.ruler_share * width / VERTEBRAE_SPANNED, float((room / (high - low)).min()))
    spare = 0.5 * (room - scale * (high - low))
    shift = np.clip((np.array([framing.centre_across, framing.centre_down]) - 0.5) * size, -spare, spare)
    origin = 0.5 * (size - 1) + shift - scale * 0.5 * (low + high) + framing.crop * size
    return Beam(
        scale,
        rise,
        (float(origin[0]), float(origin[1])),
        width,
        height,
        source=table.source_cm / table.vertebra_cm,
        focus=(table.focus_along, table.focus_ventral),
        roll=table.roll,
        slant=table.slant,
    )


def plain_film() -> dict[str, float]:
    """The parameters of a film like most with nothing on it but the dog, to be `fixed` where only dogs may differ.

    Framing, exposure and presentation are each at their median, without devices or a marker.
    """
    kinds = (Devices, Framing, Exposure, Presentation)
    return {name: number for kind in kinds for name, number in medians(kind).items()} | {"marker": 0.0}


def _streams(seed: int, index: int) -> Stream:
    """Philox keyed by the two words, a counter of its own for each purpose: no two share numbers."""
    key = np.array([seed, index], dtype=np.uint64)

    def stream(purpose: str) -> np.random.Generator:
        word = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "big")
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, word]))

    return stream


def _check_integer(field: str, number: int, low: int, high: int) -> None:
    try:
        in_range = low <= operator.index(number) <= high
    except TypeError:
        in_range = False
    if not in_range:
        raise InvalidArgument(
            f"The {field} is a whole number from {low} to {high}, not {number}.",
            reason=f"{field.upper()}_OUT_OF_RANGE",
            field=field,
        )
