"""Draws one phantom: anatomy, framing, projection, exposure."""

import math
import operator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from canicor.errors import InvalidArgument
from canicor.phantom.anatomy import BANDS, HIGHEST_VHS, LOWEST_VHS, Anatomy, draw_anatomy, draw_vhs
from canicor.phantom.canvas import Frame
from canicor.phantom.detector import draw_exposure, expose
from canicor.phantom.projection import project
from canicor.vhs import VERTEBRAE_SPANNED, HeartSize, KeyPoints, measure

_SHORTEST_SIDE, _LONGEST_SIDE = 64, 4096
_LARGEST_WORD = 2**64 - 1

# The six points keep this share of the image's width and height free at each edge.
_MARGIN = 0.09


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph and the truth about it.

    Attributes:
        pixels: uint8 [height, width], bright = dense (MONOCHROME2).
        key_points: In pixels of this image.
        vhs: What `canicor.vhs.measure` says of the key points.
        parameters: Every parameter drawn, by name: lengths of the anatomy in vertebral units, angles in degrees.
    """

    pixels: NDArray[np.uint8]
    key_points: KeyPoints
    vhs: float
    parameters: dict[str, float]


def draw(
    seed: int,
    index: int,
    *,
    vhs: float | None = None,
    heart_size: HeartSize | None = None,
    vhs_range: tuple[float, float] | None = None,
    width: int = 512,
    height: int = 400,
) -> Phantom:
    """Draws phantom `index` of the batch `seed`; the same arguments give the same bytes, in any order or process.

    A seed and an index name one dog and one exposure; another VHS gives the same dog with another heart.

    Args:
        seed: Of the batch, 0 to 2^64 - 1.
        index: Of the phantom in the batch, 0 to 2^64 - 1.
        vhs: The VHS wanted, 4 to 20 vertebrae. Without it and the next two, drawn from the study population.
        heart_size: The class wanted: VHS from the study population within the class.
        vhs_range: The lowest and highest VHS wanted, drawn evenly between.
        width: Of the image in pixels, 64 to 4096.
        height: Of the image in pixels, 64 to 4096.

    Raises:
        InvalidArgument: A number is out of range, or more than one of `vhs`, `heart_size`, `vhs_range` is given.
    """
    for field, number in (("seed", seed), ("index", index)):
        _check_integer(field, number, 0, _LARGEST_WORD)
    for field, number in (("width", width), ("height", height)):
        _check_integer(field, number, _SHORTEST_SIDE, _LONGEST_SIDE)
    anatomy = draw_geometry(seed, index, vhs=vhs, heart_size=heart_size, vhs_range=vhs_range)
    frame = frame_of(anatomy, width, height)
    rng = _generator(seed, index, stream=1)
    exposure = draw_exposure(rng)
    pixels = expose(project(anatomy, frame, rng), anatomy.vertebra_cm, exposure, rng)
    key_points = KeyPoints.from_array(frame.to_pixels(anatomy.key_points()))
    return Phantom(pixels, key_points, measure(key_points).vhs, asdict(anatomy) | asdict(exposure))


def draw_geometry(
    seed: int,
    index: int,
    *,
    vhs: float | None = None,
    heart_size: HeartSize | None = None,
    vhs_range: tuple[float, float] | None = None,
) -> Anatomy:
    """The dog that `draw` would show, without the picture: fast."""
    rng = _generator(seed, index, stream=0)
    wanted = _wanted_vhs(float(rng.random()), vhs, heart_size, vhs_range)
    return draw_anatomy(rng, wanted)


def frame_of(anatomy: Anatomy, width: int, height: int) -> Frame:
    """Frames the chest as drawn, or smaller where the six points would not fit."""
    unit = Frame(1.0, anatomy.spine_rise, (0.0, 0.0), width, height)
    points, size = unit.to_pixels(anatomy.key_points()), np.array([width, height])
    low, high = points.min(axis=0), points.max(axis=0)
    room = (1.0 - 2.0 * _MARGIN) * size
    scale = min(anatomy.ruler_share * width / VERTEBRAE_SPANNED, float((room / (high - low)).min()))
    spare = 0.5 * (room - scale * (high - low))
    shift = np.clip((np.array([anatomy.centre_across, anatomy.centre_down]) - 0.5) * size, -spare, spare)
    origin = 0.5 * (size - 1) + shift - scale * 0.5 * (low + high)
    return Frame(scale, anatomy.spine_rise, (float(origin[0]), float(origin[1])), width, height)


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """Philox keyed by the two words: a cipher's blocks, so no two keys or streams share numbers."""
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))


def _wanted_vhs(
    probability: float,
    vhs: float | None,
    heart_size: HeartSize | None,
    vhs_range: tuple[float, float] | None,
) -> float:
    wishes = {"vhs": vhs, "heart_size": heart_size, "vhs_range": vhs_range}
    given = [name for name, value in wishes.items() if value is not None]
    if len(given) > 1:
        raise InvalidArgument(
            f"Give at most one of vhs, heart_size and vhs_range, not {' and '.join(given)}.",
            reason="CONFLICTING_VHS",
            field=given[1],
        )
    if vhs is not None:
        return _checked_vhs("vhs", vhs)
    if heart_size is not None:
        return draw_vhs(probability, *BANDS[_checked_class(heart_size)])
    if vhs_range is None:
        return draw_vhs(probability)
    low, high = (_checked_vhs("vhs_range", end) for end in vhs_range)
    if low >= high:
        raise InvalidArgument(
            f"A VHS range runs from low to high, not {low} to {high}.", reason="EMPTY_VHS_RANGE", field="vhs_range"
        )
    return low + probability * (high - low)


def _checked_vhs(field: str, vhs: float) -> float:
    if not (math.isfinite(vhs) and LOWEST_VHS <= vhs <= HIGHEST_VHS):
        raise InvalidArgument(
            f"A VHS lies between {LOWEST_VHS:g} and {HIGHEST_VHS:g} vertebrae, not at {vhs}.",
            reason="VHS_OUT_OF_RANGE",
            field=field,
        )
    return float(vhs)


def _checked_class(heart_size: str) -> HeartSize:
    try:
        return HeartSize(heart_size)
    except ValueError as error:
        raise InvalidArgument(
            f"A heart size is one of {', '.join(HeartSize)}, not {heart_size}.",
            reason="UNKNOWN_HEART_SIZE",
            field="heart_size",
        ) from error


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
