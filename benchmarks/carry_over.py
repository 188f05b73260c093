"""What phantoms teach that holds for real dogs: `python benchmarks/carry_over.py [--seeds N | --leave-one-out]`.

One small heat-map network and one recipe, both fixed here so that phantoms can be compared: the network of
`canicor train`, 160 x 192 inputs, 3,000 phantoms of a thumbnail's size or up to twice that, no real radiograph.
It is judged on the thumbnails and radiographs of ../shared/radiographs, which lie outside the repository; so must
the sheet, which shows them with the points stated (white) and found (yellow). What a part's variety contributes
is seen by leaving it out: the numbers of that part are the same in all phantoms. That takes a network a part, of
half as many phantoms. Each network has a process and a core of its own, on which it takes some 20 minutes, or 10.
"""

import argparse
import io
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from real_thumbnails import FOLDER, Thumbnail, figures, line, thumbnails

from canicor.model_input import Prepared, ResizeRule, read
from canicor.phantom import BreedType, draw
from canicor.phantom.abdomen import Abdomen
from canicor.phantom.chest import ChestWall
from canicor.phantom.devices import Devices
from canicor.phantom.dog import Table
from canicor.phantom.exposure import Exposure
from canicor.phantom.limbs import Limbs
from canicor.phantom.lungs import Lungs
from canicor.phantom.presentation import Presentation
from canicor.phantom.spine import Spine
from canicor.phantom.trunk import Trunk
from canicor.phantom.wishes import Wishes
from canicor.vhs import HEART_SIZES, KeyPoints, heart_size, measure

if TYPE_CHECKING:
    from training.network import KeyPointNetwork

PHANTOMS = 3000
EPOCHS = 18
MIRRORED = 0.0
"""Share of the images: these networks read a radiograph as it lies, not its mirror image too as a served one."""
PHANTOMS_LEFT_OUT = 1500
"""For each part left out, and for the network with all parts that these are held to."""
HEIGHT, WIDTH = 160, 192
DRAWN_HEIGHT, DRAWN_WIDTH = 250, 320
SMALLEST = 0.48
"""Share of these sides that the smallest phantoms have: a thumbnail's."""
QUALITY = 85
"""Of JPEG: the figure that the thumbnails were cut from was one."""
RADIOGRAPHS = ("canine-lateral-1.dcm", "canine-lateral-2.jpg")

_ENLARGED, _COLUMNS = 2, 7


def middle(kind: type) -> Wishes:
    """Returns the wish that all numbers of a part of the phantom's description stand at their medians."""
    numbers = (item for item in fields(kind) if "quantile" in item.metadata)
    return {"fixed": {item.name: item.metadata["quantile"](0.5) for item in numbers}}


PARTS: Mapping[str, Wishes] = {
    "breeds": {"breed": BreedType.AVERAGE},
    "table": middle(Table),
    "spine": middle(Spine),
    "wall": middle(ChestWall),
    "lungs": middle(Lungs),
    "trunk": middle(Trunk),
    "limbs": middle(Limbs),
    "abdomen": middle(Abdomen),
    "devices": middle(Devices),
    "exposure": middle(Exposure),
    "presentation": middle(Presentation),
}
"""What is left out, one by one: the heart's numbers stay, since its points are what is to be learned."""


def phantom(wishes: Wishes, seed: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Returns a phantom as the network takes it, uint8 [HEIGHT, WIDTH], and its points, float32 [6, 2]."""
    drawn = draw(seed, index, width=DRAWN_WIDTH, height=DRAWN_HEIGHT, **wishes)
    rng = np.random.default_rng((seed, index))
    shrunk = rng.uniform(SMALLEST, 1.0)
    size = (round(shrunk * DRAWN_WIDTH), round(shrunk * DRAWN_HEIGHT))
    file = io.BytesIO()
    Image.fromarray(drawn.pixels).resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=QUALITY)
    small = read(file.getvalue(), HEIGHT, WIDTH, ResizeRule.LETTERBOX)
    to_small = np.array(size) / (DRAWN_WIDTH, DRAWN_HEIGHT)
    points = small.placement.to_input((drawn.key_points.xy + 0.5) * to_small - 0.5)
    return np.asarray(small.pixels), points.astype(np.float32)


def taught(wishes: Wishes, seed: int, count: int) -> "KeyPointNetwork":
    """Returns the network after the recipe, with `count` phantoms."""
    import torch

    from training.augmentation import Strength
    from training.dataset import Images
    from training.fitting import Recipe, fit, key_point_loss
    from training.network import KeyPointNetwork

    torch.set_num_threads(1)
    drawn = [phantom(wishes, seed, index) for index in range(count)]
    pixels, points = (np.stack(part) for part in zip(*drawn, strict=True))
    classes = [HEART_SIZES.index(heart_size(measure(KeyPoints.from_array(one)).vhs)) for one in points]
    images = Images((), pixels, (), points, np.array(classes, np.int64), np.empty((count, 0)))

    def epoch_done(epoch: int, loss: float) -> None:
        print(f"seed {seed}, epoch {epoch} of {EPOCHS}: loss {loss:.3f}", file=sys.stderr, flush=True)

    recipe = Recipe(epochs=EPOCHS, strength=Strength(mirrored=MIRRORED))
    return fit(KeyPointNetwork, key_point_loss, images, recipe, seed, epoch_done)


def found_by(networks: list["KeyPointNetwork"], prepared: Prepared) -> KeyPoints:
    """Returns the points in the radiograph's pixels: the mean of what the networks find."""
    import torch

    image = torch.from_numpy(np.array(prepared.pixels)[None])
    with torch.inference_mode():
        points = torch.stack([network(image).key_points[0] for network in networks]).mean(0)
    return KeyPoints.from_array(prepared.placement.to_radiograph(points.numpy()))


def prepared(file: Path) -> Prepared:
    return read(file.read_bytes(), HEIGHT, WIDTH, ResizeRule.LETTERBOX)


def show(networks: list["KeyPointNetwork"], real: list[Thumbnail], sheet: Path | None) -> None:
    """Prints the figures of some networks together, and draws their points."""
    points = [found_by(networks, prepared(one.file)) for one in real]
    for figure in figures(real, np.array([measure(one).vhs for one in points])):
        print(f"  {figure}")
    for figure in _lengths(real, points):
        print(f"  {figure}")
    for name in RADIOGRAPHS:
        image = prepared(FOLDER / name)
        print(f"  {name}: VHS {measure(found_by(networks, image), image.pixel_aspect).vhs:.2f}")
    if sheet:
        _sheet(real, points).save(sheet)


def leave_one_out(real: list[Thumbnail], workers: ProcessPoolExecutor) -> None:
    """Prints what a network reads with all parts varying, and how much worse without each of them.

    How far chance alone moves these figures is seen on the second network: all parts again, in other phantoms.
    """
    stated = np.array([one.vhs for one in real])
    with_all: NDArray[np.float64] | None = None
    lessons: dict[str, tuple[Wishes, int]] = {"nothing": ({}, 0), "nothing, seed 1": ({}, 1)}
    lessons |= {name: (wishes, 0) for name, wishes in PARTS.items()}
    networks = workers.map(taught, *zip(*lessons.values(), strict=True), repeat(PHANTOMS_LEFT_OUT))
    for name, network in zip(lessons, networks, strict=True):
        found = np.array([measure(found_by([network], prepared(one.file))).vhs for one in real])
        errors = np.abs(found - stated)
        with_all = errors if with_all is None else with_all
        print(f"Without {name}:")
        print(*(f"  {figure}" for figure in figures(real, found)), sep="\n")
        print(
            "  " + line("more error than with all parts", partial(_mean, errors - with_all), len(real)), flush=True
        )


def _mean(numbers: NDArray[np.float64], some: NDArray[np.intp]) -> float:
    return float(numbers[some].mean())


def _lengths(real: list[Thumbnail], points: list[KeyPoints]) -> Iterator[str]:
    """Compares the lengths found with those stated: which of them is it that VHS suffers from?"""
    stated, found = (np.array([one.xy for one in some]) for some in ([one.key_points for one in real], points))
    (long, short, ruler), (long_found, short_found, ruler_found) = (
        np.hypot(*np.moveaxis(some[:, 1::2] - some[:, ::2], -1, 0)).T for some in (stated, found)
    )
    axes, rulers = (long_found + short_found) / (long + short), ruler_found / ruler
    for name, ratio in (("axes", axes), ("ruler", rulers)):
        yield f"{name} found to stated: mean {ratio.mean():.3f}, standard deviation {ratio.std():.3f}"
    vhs = np.array([one.vhs for one in real])
    errors = np.abs(6 * (long_found + short_found) / ruler - vhs)
    yield line("mean absolute VHS error with the stated ruler", lambda some: float(errors[some].mean()), len(real))


def _sheet(real: list[Thumbnail], points: list[KeyPoints]) -> Image.Image:
    pictures = list(_overlays(real, points))
    width, height = (max(size) for size in zip(*(one.size for one in pictures), strict=True))
    sheet = Image.new("RGB", (_COLUMNS * width, -(-len(pictures) // _COLUMNS) * height))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % _COLUMNS * width, number // _COLUMNS * height))
    return sheet


def _overlays(real: list[Thumbnail], points: list[KeyPoints]) -> Iterator[Image.Image]:
    for one, found in zip(real, points, strict=True):
        picture = Image.open(one.file).convert("RGB")
        picture = picture.resize((_ENLARGED * picture.width, _ENLARGED * picture.height))
        drawing = ImageDraw.Draw(picture)
        for key_points, colour in ((one.key_points, "white"), (found, "yellow")):
            for start, end in key_points.xy.reshape(3, 2, 2):
                drawing.line([*((start + 0.5) * _ENLARGED), *((end + 0.5) * _ENLARGED)], fill=colour)
        drawing.text((2, 2), f"{one.vhs:.1f} {measure(found).vhs:.1f}", fill="yellow")
        yield picture


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Teaches a network by phantoms alone, and judges it on real dogs."
    )
    parser.add_argument("--seeds", type=int, default=1, help="networks, each by phantoms of its own (default 1)")
    parser.add_argument("--sheet", type=Path, help="where to draw the points on the thumbnails")
    parser.add_argument("--leave-one-out", action="store_true", help="what each part's variety contributes")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        sys.exit("There is no ../shared/radiographs: nothing to judge by.")
    real = thumbnails()
    networks = []
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        if arguments.leave_one_out:
            return leave_one_out(real, workers)
        for network in workers.map(taught, repeat({}), range(arguments.seeds), repeat(PHANTOMS)):
            print(f"Seed {len(networks)}:")
            networks.append(network)
            show([network], real, arguments.sheet)
    if len(networks) > 1:
        print("All together:")
        show(networks, real, arguments.sheet)


if __name__ == "__main__":
    main()
