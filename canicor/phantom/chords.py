"""How long rays run in solids: each chord has a closed form, worked out in the solid's bounding box only.

A solid is displaced and enlarged by the cone beam through its own centre (a tube: through each of its points);
within it, rays count as parallel. What can be worked out for all solids at once is: most are small, and a step for
each of them would take longer than its pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from canicor.phantom.beam import Beam, Box, Map
from canicor.phantom.solids import Block, Egg, Tube

# A tube seen end-on is a disc as thick as the tube is long: its chord grows no further than this.
_END_ON = 4.0

# Pixels worked out at once: with what is in between they stay in a core's cache.
_AT_ONCE = 1 << 16


def root(square: NDArray[Any]) -> NDArray[Any]:
    """The square root, in place; 0 below 0."""
    np.maximum(square, 0.0, out=square)
    np.sqrt(square, out=square)
    return square


def add_tubes(target: Map, beam: Beam, tubes: Sequence[Tube]) -> None:
    """Adds the chords in v through tubes to a map. A tube adds nothing to itself where it bends."""
    pieces = _Pieces.of(beam, tubes)
    if not pieces.tube.size:
        return
    firsts = np.flatnonzero(np.diff(pieces.tube, prepend=-1))
    counts = np.diff(firsts, append=len(pieces.tube))
    corners, opposites = np.minimum.reduceat(pieces.low, firsts), np.maximum.reduceat(pieces.high, firsts)
    # All pieces of a tube have boxes of one size, within the tube's own.
    sizes = np.maximum.reduceat(pieces.high - pieces.low, firsts)
    low = np.minimum(pieces.low, np.repeat(opposites - sizes, counts, axis=0))
    shifts = low - np.repeat(corners, counts, axis=0)
    solve = _Chords(pieces, low)
    for first, count, number, corner, opposite, (width, height) in zip(
        firsts.tolist(),
        counts.tolist(),
        pieces.tube[firsts].tolist(),
        corners.tolist(),
        opposites.tolist(),
        sizes.tolist(),
        strict=True,
    ):
        tube, box = tubes[number], _box(corner, opposite)
        chord = np.zeros((opposite[1] - corner[1], opposite[0] - corner[0]), np.float32)
        together, strip = max(1, _AT_ONCE // (width * height)), max(1, _AT_ONCE // width)
        for start in range(first, first + count, together):
            some = slice(start, min(start + together, first + count))
            for top in range(0, height, strip):
                bottom = min(top + strip, height)
                chords = solve(some, width, range(top, bottom), tube)
                for (across, down), piece in zip(shifts[some].tolist(), chords, strict=True):
                    part = chord[down + top : down + bottom, across : across + width]
                    np.maximum(part, piece, out=part)
        chord *= np.float32(2.0 * tube.weight / pieces.enlarged[number])
        target[box] += chord


def add_blocks(target: Map, beam: Beam, blocks: Sequence[Block]) -> None:
    """Adds the chords in v through blocks to a map."""
    seen, larger = beam.project(np.array([block.centre for block in blocks]))
    half = np.array([block.half for block in blocks]) * larger[:, None]
    turn = np.radians([block.angle for block in blocks])
    along = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    side = np.stack([-along[:, 1], along[:, 0]], axis=1)
    pixels = beam.to_pixels(seen)
    to_pixels = beam.axes * beam.scale
    reach = np.abs(half[:, :1] * (along @ to_pixels)) + np.abs(half[:, 1:] * (side @ to_pixels))
    low, high = _boxes(beam, pixels - reach, pixels + reach)
    # Steps from pixel to pixel in half-axes, and where the box starts.
    steps = np.stack([along / half[:, :1], side / half[:, 1:]], axis=1) @ (beam.axes / beam.scale)
    starts = np.einsum("nij,nj->ni", steps, low - pixels)
    columns, rows = (np.arange(size, dtype=np.float32) for size in (beam.width, beam.height))
    for block, corner, opposite, ((s_across, s_down), (n_across, n_down)), (s_start, n_start) in zip(
        blocks,
        low.tolist(),
        high.tolist(),
        steps.astype(np.float32),
        starts.astype(np.float32),
        strict=True,
    ):
        if corner[0] >= opposite[0] or corner[1] >= opposite[1]:
            continue
        across, down = columns[: opposite[0] - corner[0]], rows[: opposite[1] - corner[1], None]
        s = s_across * across + (s_down * down + s_start)
        n = n_across * across + (n_down * down + n_start)
        for _ in range(block.power // 2):
            s *= s
            n *= n
        s += n
        chord = root(np.subtract(np.float32(1.0), s, out=s))
        chord *= np.float32(block.depth)
        target[_box(corner, opposite)] += chord


def add_egg(target: Map, beam: Beam, egg: Egg) -> None:
    """Adds the chords in v through an egg to a map."""
    length = float(np.hypot(*egg.axis))
    along = egg.axis / length
    caudal = np.array([along[1], -along[0]])
    pixels, spare = beam.to_pixels(egg.outline), 0.05 * beam.scale
    corner, opposite = _boxes(beam, pixels.min(axis=0) - spare, pixels.max(axis=0) + spare)
    box = _box(corner.tolist(), opposite.tolist())
    t, s = beam.coordinates(egg.base, np.array([along / length, caudal]), box)
    table = np.linspace(-0.02, 1.02, 1041)
    step = np.clip((t + np.float32(0.02)) * np.float32(1000.0) + np.float32(0.5), 0, 1040).astype(np.int32)
    cranial, caudal_width, cranial_power, caudal_power, thick = (
        curve(np.clip(table, 0.0, 1.0)).astype(np.float32)[step] for curve in (*egg.widths, *egg.powers, egg.depth)
    )
    own, power = np.where(s < 0.0, (cranial, cranial_power), (caudal_width, caudal_power))
    share = np.float32(1.0) - np.square(s / np.maximum(own, np.float32(1e-6)))
    chord = thick * (cranial + caudal_width) * np.maximum(share, 0.0) ** power
    chord[(t < 0.0) | (t > 1.0)] = 0.0
    target[box] += chord


@dataclass(frozen=True)
class _Pieces:
    """Straight pieces of tubes as they are seen on the film, in pixels: frusta with round ends.

    Attributes:
        tube: int [n]: the number of the tube that it belongs to.
        start: float64 [n, 2].
        end: float64 [n, 2].
        radius: float64 [n, 2]: at its start and its end.
        stretch: float64 [n]: how much longer a ray runs than across a level one.
        low: int [n, 2]: the first column and row of its box on the film.
        high: int [n, 2]: the ones after the last.
        enlarged: float64 [tubes]: pixels in one v of a tube.
    """

    tube: NDArray[np.intp]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    radius: NDArray[np.float64]
    stretch: NDArray[np.float64]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    enlarged: NDArray[np.float64]

    @classmethod
    def of(cls, beam: Beam, tubes: Sequence[Tube]) -> Self:
        """The pieces on the film, tube by tube."""
        counts = np.array([len(tube.path) for tube in tubes])
        path = np.concatenate([tube.path for tube in tubes])
        seen, larger = beam.project(path)
        pixels = beam.to_pixels(seen)
        reach = np.concatenate([tube.radius for tube in tubes]) * larger * beam.scale
        # Between two neighbours on a path, not between one path's end and the next one's start.
        first = np.delete(np.arange(len(path) - 1), np.cumsum(counts)[:-1] - 1)
        last = first + 1
        start, end, radius = pixels[first], pixels[last], np.stack([reach[first], reach[last]], axis=1)
        wide = radius.max(axis=1, keepdims=True)
        low, high = _boxes(beam, np.minimum(start, end) - wide, np.maximum(start, end) + wide)
        # Along a slanted tube a ray runs longer: by the tube's length over that of its image.
        image, depth = np.hypot(*(seen[last] - seen[first]).T), path[last, 2] - path[first, 2]
        whole = np.hypot(image, depth)
        stretch = whole / np.maximum(image, whole / _END_ON)
        tube = np.repeat(np.arange(len(tubes)), counts - 1)
        on_film = np.flatnonzero((low < high).all(axis=1))
        # Enlarged by the beam, but no thicker.
        enlarged = beam.scale * np.add.reduceat(larger, np.cumsum(counts) - counts) / counts
        return cls(
            tube[on_film],
            start[on_film],
            end[on_film],
            radius[on_film],
            stretch[on_film],
            low[on_film],
            high[on_film],
            enlarged,
        )


class _Chords:
    """Half the chords in pixels through pieces, in boxes from given first pixels on."""

    def __init__(self, pieces: _Pieces, corner: NDArray[np.intp]) -> None:
        step = pieces.end - pieces.start
        square = np.maximum((step**2).sum(axis=1, keepdims=True), 1e-12)
        self._corner, self._step, self._per_pixel = (
            part.astype(np.float32)[:, :, None] for part in (corner - pieces.start, step, step / square)
        )
        self._radius, self._growth, self._stretch = (
            part.astype(np.float32)[:, None, None]
            for part in (pieces.radius[:, 0], pieces.radius[:, 1] - pieces.radius[:, 0], pieces.stretch)
        )

    def __call__(self, some: slice, width: int, rows: range, tube: Tube) -> NDArray[np.float32]:
        """float32 [n, rows, width] of some pieces of a tube."""
        corner, step, per_pixel = self._corner[some], self._step[some], self._per_pixel[some]
        x = corner[:, 0] + np.arange(width, dtype=np.float32)
        y = corner[:, 1] + np.arange(rows.start, rows.stop, dtype=np.float32)
        share = (x * per_pixel[:, 0])[:, None, :] + (y * per_pixel[:, 1])[:, :, None]
        np.maximum(share, 0.0, out=share)
        np.minimum(share, 1.0, out=share)
        across = x[:, None, :] - share * step[:, :1]
        down = y[:, :, None] - share * step[:, 1:]
        across *= across
        down *= down
        across += down
        share *= self._growth[some]
        share += self._radius[some]
        if tube.lens:
            across /= share
            share -= across
            chord: NDArray[np.float32] = np.maximum(share, 0.0, out=share)
        else:
            share *= share
            chord = root(share - across)
            if tube.marrow:
                share *= np.float32(tube.marrow**2)
                share -= across
                chord -= np.float32(0.8) * root(share)
        chord *= self._stretch[some]
        return chord


def _boxes(
    beam: Beam, low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pixels around rectangles [..., 2], cut to the film: their first columns and rows, and the next."""
    size = (beam.width, beam.height)
    return (
        np.clip(np.floor(low), 0, size).astype(np.intp),
        np.clip(np.ceil(high) + 1.0, 0, size).astype(np.intp),
    )


def _box(corner: Sequence[int], opposite: Sequence[int]) -> Box:
    return slice(corner[1], opposite[1]), slice(corner[0], opposite[0])
