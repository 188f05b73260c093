"""A benchmark of this repository's making: a small clinic whose films look like none that the generator makes.

Both are phantoms. The clinic's are exposed and shown by numbers outside the ranges that the ordinary phantom draws
from: soft beam, much scatter, bright films, no sharpening, no marker. It stands for real images where there are
none, and shows what the method is worth under a change of appearance, nothing about dogs.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from canicor import manifest
from canicor.manifest import Row
from canicor.phantom.folder import MANIFEST, Order, write
from canicor.phantom.wishes import Wishes
from canicor.vhs import HEART_SIZES
from training.dataset import Progress, counting, split

DOGS = 200
"""Split as in the study: 140 to train on, 20 to validate, 40 to test; a film each."""

APPEARANCE = {
    "softness": 0.8,
    "scatter": 0.8,
    "spread": 0.04,
    "equalisation": 0.15,
    "local_contrast": 0.2,
    "edge_enhancement": 0.0,
    "gamma": 0.55,
    "marker": 0.0,
}
"""All outside of what `canicor.phantom` draws, but for the marker: one film in seven has none there either."""

KIND = "clinic"

NOTE = (
    "The clinic and the generator are both this repository's phantom. The clinic's films are exposed and shown by "
    "numbers that the generator never draws: a soft beam, much scatter, bright films without sharpening. They "
    "stand for real radiographs, of which there are none here, and show what the method is worth under a change "
    "of appearance."
)

_SIZE = (320, 256)

# The generator's batches, apart from the clinic's.
_APART = 1000


def draw(folder: Path, dogs: int, per_real: int, seed: int, progress: Progress) -> tuple[list[Row], list[Row]]:
    """Draws the clinic's films and ordinary phantoms to learn from.

    Args:
        folder: Where they go; what is already there is not drawn again.
        dogs: Of the clinic.
        per_real: Ordinary phantoms for each film of the clinic's training split, of its class.
        seed: Of both, and of the split.
        progress: Told how far it is.

    Returns:
        The clinic's rows with their splits, and the ordinary phantoms' rows.
    """
    films = _batch(folder / "clinic", dogs, Order(seed, size=_SIZE, wishes=Wishes(fixed=APPEARANCE)), progress)
    clinic = split(films, seed)
    wanted = Counter(row.heart_size for row in clinic if row.split == "train")
    ordinary = []
    for index, size in enumerate(HEART_SIZES):
        order = Order(seed + _APART * (index + 1), size=_SIZE, wishes=Wishes(heart_size=size))
        ordinary += _batch(folder / f"ordinary-{size.lower()}", per_real * wanted[size], order, progress)
    return clinic, ordinary


def _batch(folder: Path, count: int, order: Order, progress: Progress) -> list[Row]:
    file = folder / MANIFEST
    if not file.exists():
        written: Callable[[], None] = counting(progress, f"Drawing {folder.name} phantoms", count)
        write(folder, count, order, written)
    return manifest.read(file.read_bytes())
