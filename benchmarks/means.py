"""Where phantoms differ from real radiographs: `python benchmarks/means.py means.png [--phantoms N]`.

Cut out around A, B, C and D and along the spine, in units of each dog's vertebrae with E-F level, and averaged:
thumbnails of ../shared/radiographs above, phantoms below. What is brighter, darker or elsewhere in one row is what
the phantom draws wrongly on the whole. The picture is of real dogs and must stay outside the repository.

Printed is how far inside of C and D half of the heart's contrast to the lung is reached, in vertebrae: readers
place both outside of what is seen of the heart, and a phantom's border is to be as soft as to put them there. It
takes a minute.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from real_thumbnails import FOLDER, thumbnails
from scipy.ndimage import map_coordinates

from canicor.phantom import draw
from canicor.vhs import VERTEBRAE_SPANNED

SEED = 40
WIDTH, HEIGHT = 310, 244
"""Of the phantoms: twice a thumbnail's."""

_STEP = 0.1
_REACH = np.arange(-3.0, 3.0, _STEP)
_SPINE = (np.arange(-2.0, 8.0, _STEP), np.arange(-2.5, 2.5, _STEP))
_CONTRAST = 2.5
_ENLARGED = 4


def cut_outs(pixels: NDArray[np.uint8], points: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Returns what lies around A, B, C and D, and along the spine: caudal to the right, ventral below."""
    along = (points[5] - points[4]) / VERTEBRAE_SPANNED
    down = np.array([-along[1], along[0]])
    # A dog that faces right is seen as in a mirror.
    down *= np.sign((points[0] - points[4]) @ down)
    places = [*((point, _REACH, _REACH) for point in points[:4]), (points[4], *_SPINE)]
    found = []
    for centre, x, y in places:
        at = centre + x[None, :, None] * along + y[:, None, None] * down
        found.append(map_coordinates(pixels.astype(float), (at[..., 1], at[..., 0]), order=1, mode="nearest"))
    return found


def half_contrasts(pixels: NDArray[np.uint8], points: NDArray[np.float64]) -> tuple[float, float]:
    """Returns how far inside of C, and of D, half the contrast is reached, in vertebrae.

    Along C-D, the mean of a band as wide as a third of it: from the brightest place near the middle out to
    the darkest one about the point.
    """
    line = points[3] - points[2]
    aside = np.array([-line[1], line[0]])
    shares, band = np.linspace(-0.3, 1.3, 81), np.linspace(-0.15, 0.15, 7)
    at = points[2] + shares[None, :, None] * line + band[:, None, None] * aside
    grey = map_coordinates(pixels.astype(float), (at[..., 1], at[..., 0]), order=1, mode="nearest").mean(0)
    vertebrae = VERTEBRAE_SPANNED * np.hypot(*line) / np.hypot(*(points[5] - points[4]))
    inside = []
    for profile in (grey, grey[::-1]):
        heart, lung = (shares > 0.2) & (shares < 0.6), np.abs(shares) < 0.2
        bright = int(np.where(heart, profile, -np.inf).argmax())
        half = 0.5 * (profile[bright] + profile[lung].min())
        reached = bright - int((profile[bright::-1] < half).argmax())
        inside.append(float(shares[reached] * vertebrae))
    return inside[0], inside[1]


Dog = tuple[list[NDArray[np.float64]], tuple[float, float]]


def described(pixels: NDArray[np.uint8], points: NDArray[np.float64]) -> Dog:
    return cut_outs(pixels, points), half_contrasts(pixels, points)


def of_phantom(index: int) -> Dog:
    drawn = draw(SEED, index, width=WIDTH, height=HEIGHT)
    return described(drawn.pixels, drawn.key_points.xy)


def row(dogs: Iterable[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Returns the means beside each other, each around a middle grey."""
    means = [np.mean(one, axis=0) for one in zip(*dogs, strict=True)]
    height = max(len(mean) for mean in means)
    return np.hstack(
        [
            np.pad(128 + _CONTRAST * (mean - mean.mean()), ((0, height - len(mean)), (0, 2)), constant_values=0)
            for mean in means
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the means of thumbnails and phantoms.")
    parser.add_argument("picture", type=Path, help="where to draw them")
    parser.add_argument("--phantoms", type=int, default=200, help="default: %(default)s")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        sys.exit("There is no ../shared/radiographs: nothing to compare with.")
    real = [described(np.asarray(Image.open(one.file).convert("L")), one.key_points.xy) for one in thumbnails()]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        phantoms = list(workers.map(of_phantom, range(arguments.phantoms), chunksize=10))
    for what, dogs in (("thumbnails", real), ("phantoms", phantoms)):
        cranial, caudal = np.array([half for _, half in dogs]).T
        print(
            f"{len(dogs)} {what}, half the contrast inside of the point, v: C {cranial.mean():.2f} "
            f"(standard deviation {cranial.std():.2f}), D {caudal.mean():.2f} ({caudal.std():.2f})"
        )
    rows = [row(cuts for cuts, _ in dogs) for dogs in (real, phantoms)]
    grey = np.clip(np.vstack(rows), 0, 255).astype(np.uint8)
    size = (_ENLARGED * grey.shape[1], _ENLARGED * grey.shape[0])
    Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).save(arguments.picture)


if __name__ == "__main__":
    main()
