"""Text that is burned into a radiograph's pixels, such as an owner's name: what can't be taken out is told."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from canicor.radiograph import Radiograph

# A letter's height in pixels; higher ones are made of lead and lie beside the animal.
_LOWEST, _HIGHEST = 5, 96
_WIDEST = 1.6
"""A letter's width over its height; that of two which touch."""

_LETTERS = 6
"""In a row: L and R, and the date on a lead marker, are shorter or not drawn so sharply."""

_CONTRAST = 0.25
"""Of the whole range, to the pixels around: text is drawn to be read on any tissue."""

_EXTREMES = (0.02, 0.15)
"""Of the whole range, from its end: text is drawn in white or black. Small letters have no pixel that is nothing
but white; where tissue is bright, large ones stand out only by being so."""

_MOST_LETTERS = 1000
"""That are looked at, from the top: noise has more, and none of them would be text."""


@dataclass(frozen=True)
class _Letter:
    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top


def shows_text(radiograph: Radiograph) -> bool:
    """Whether there is a row of letters, white or black, as software draws them into an image."""
    levels = radiograph.pixels
    return any(_has_row(_letters(image, end)) for image in (levels, 1 - levels) for end in _EXTREMES)


def _letters(levels: NDArray[np.float32], extreme: float) -> list[_Letter]:
    """Returns what is white, but for so much, sharp, and as large as a letter."""
    white = levels >= 1 - extreme
    if not white.any():
        return []
    parts, _ = ndimage.label(white, np.ones((3, 3)))
    found = []
    for number, place in enumerate(ndimage.find_objects(parts), 1):
        rows, columns = place
        letter = _Letter(rows.start, rows.stop, columns.start, columns.stop)
        width = letter.right - letter.left
        if not (_LOWEST <= letter.height <= _HIGHEST and width <= _WIDEST * letter.height):
            continue
        around = tuple(slice(max(side.start - 3, 0), side.stop + 3) for side in place)
        inside = parts[around] == number
        # Two pixels away, for an edge that was resized or compressed is no step.
        near = ndimage.binary_dilation(inside, np.ones((3, 3)), iterations=3)
        edge = near & ~ndimage.binary_dilation(inside, np.ones((3, 3)), iterations=2)
        if edge.any() and np.median(levels[around][edge]) <= 1 - extreme - _CONTRAST:
            found.append(letter)
        if len(found) == _MOST_LETTERS:
            break
    return found


def _has_row(letters: list[_Letter]) -> bool:
    """Whether enough of them stand beside each other, as high as each other."""
    letters = sorted(letters, key=lambda letter: letter.left)
    longest: list[int] = []
    for place, letter in enumerate(letters):
        before = [
            length for length, other in zip(longest, letters[:place], strict=True) if _follows(letter, other)
        ]
        longest.append(1 + max(before, default=0))
    return max(longest, default=0) >= _LETTERS


def _follows(letter: _Letter, other: _Letter) -> bool:
    higher = max(letter.height, other.height)
    gap = letter.left - other.right
    return (
        min(letter.height, other.height) >= 0.6 * higher
        and abs(letter.bottom - other.bottom) <= 0.35 * higher
        and -0.3 * higher <= gap <= 1.0 * higher
        and letter.left > other.left
    )
