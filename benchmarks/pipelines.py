"""What a text-to-image pipeline's images are worth: `python benchmarks/pipelines.py NAME[/VERSION]`.

Images are asked for by VHS where the pipeline's prompt gives it, from the smallest to the largest that it was
taught, else by class, a third of each. The model that ships reads what they show: how far that is what was asked
for, how often the class is, and how many it would refer as unlike what it knows. The same reading of phantoms of
that size, on films like those that the small base model is taught by, whose VHS is known, is what no pipeline can
go beyond. KID (see `realism.py`) is taken to such phantoms, or to the test images of a manifest (`--against`), and
of these to each other. Intervals, at 95 %, are by bootstrap, those of shares by Wilson.
"""

import argparse
import io
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from answers import answers, referred, share
from numpy.typing import NDArray
from PIL import Image
from real_thumbnails import bundle, line
from realism import feature_extractor

from canicor import phantom, store
from canicor.bundle import InputSpec
from canicor.manifest import read
from canicor.model_input import ResizeRule
from canicor.phantom.heart import BANDS, draw_vhs
from canicor.pipeline import VHS, PipelineInfo
from canicor.pipeline_repository import Pipelines
from canicor.settings import Settings
from canicor.text_to_image import Asked, Sampling, TextToImage
from canicor.vhs import HEART_SIZES, heart_size
from services.generator.curation.fidelity import kid
from training.dataset import Images
from training.generator.base import FILM

SEED = 20_261_128
"""Of images and phantoms; no training uses it."""
BATCH = 10

Pictures = Sequence[NDArray[np.uint8]]


def wanted(info: PipelineInfo, count: int) -> NDArray[np.float64]:
    """Returns the VHS to ask for, [count]."""
    if VHS in info.prompt:
        return np.linspace(info.lowest_vhs, info.highest_vhs, count)
    chances = np.random.default_rng(SEED).random(count)
    return np.array(
        [
            draw_vhs(chance, *np.clip(BANDS[HEART_SIZES[index % 3]], info.lowest_vhs, info.highest_vhs))
            for index, chance in enumerate(chances)
        ]
    )


def made(pipelines: Pipelines, name: str, version: str, info: PipelineInfo, vhs: NDArray[np.float64]) -> Pictures:
    model = TextToImage.load(pipelines.fetch(name, version), info.scheduler)
    sampling = Sampling(info.width, info.height, info.steps, info.guidance_scale)
    asked = [Asked(info.prompts(float(one)), info.negative_prompt, SEED, index) for index, one in enumerate(vhs)]
    parts = [asked[start : start + BATCH] for start in range(0, len(asked), BATCH)]
    return [np.asarray(image) for part in parts for image in model.make(part, sampling)]


def drawn(width: int, height: int, seed: int, vhs: float, index: int) -> NDArray[np.uint8]:
    return np.asarray(phantom.draw(seed, index, width=width, height=height, vhs=vhs, fixed=FILM).pixels)


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def tell(what: str, pictures: Pictures, vhs: NDArray[np.float64]) -> None:
    """Prints what the shipped model reads in pictures that show, or shall show, these VHS."""
    said = list(answers(bundle("vhs-keypoints", "0"), [png(one) for one in pictures]))
    pairs = [(one.measurement.vhs, asked) for one, asked in zip(said, vhs, strict=True) if one.measurement]
    found, asked = np.array(pairs).T
    print(f"{what}: VHS measured in {len(pairs)} of {len(pictures)}")
    print(" ", line("correlation", lambda some: float(np.corrcoef(found[some], asked[some])[0, 1]), len(pairs)))
    print(
        " ", line("mean absolute difference", lambda some: float(np.abs(found - asked)[some].mean()), len(pairs))
    )
    print(" ", line("measured less asked for", lambda some: float((found - asked)[some].mean()), len(pairs)))
    print(" ", share("class as asked for", [heart_size(one) == heart_size(other) for one, other in pairs]))
    print(*(f"  {one}" for one in referred(said)), sep="\n")


def sheet(pictures: Pictures, columns: int = 8, rows: int = 6) -> Image.Image:
    """Returns a contact sheet of pictures spread evenly over all."""
    chosen = np.linspace(0, len(pictures) - 1, columns * rows).round().astype(int).reshape(rows, columns)
    return Image.fromarray(np.block([[pictures[index] for index in row] for row in chosen]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what a pipeline's images show.")
    parser.add_argument("pipeline", help="NAME[/VERSION] of the store")
    parser.add_argument("--images", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--against", help="a manifest, whose test images KID is taken to, instead of phantoms")
    parser.add_argument("--sheet", type=Path, help="where to write a contact sheet")
    arguments = parser.parse_args()
    pipelines = Pipelines.of(Settings())
    name, _, version = arguments.pipeline.partition("/")
    version, info = pipelines.read(name, version)
    vhs = wanted(info, arguments.images)
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        draw = partial(drawn, info.width, info.height)
        phantoms, others = (
            list(workers.map(partial(draw, SEED + half), vhs, range(len(vhs)), chunksize=10)) for half in range(2)
        )
    pictures = made(pipelines, name, version, info, vhs)
    if arguments.sheet:
        sheet(pictures).save(arguments.sheet)
    print(f"{name}/{version}, taught by {', '.join(info.training_origins)}; {info.steps} steps")
    tell("its images", pictures, vhs)
    tell("phantoms", phantoms, vhs)
    features = feature_extractor()
    if arguments.against:
        rows = [row for row in read(store.read(store.url_of(arguments.against))) if row.split == "test"]
        spec = InputSpec(height=info.height, width=info.width, resize=ResizeRule.LETTERBOX)
        held_out = list(Images.load(rows, spec, lambda: None).pixels)
        phantoms, others = held_out[::2], held_out[1::2]
    reference = features(phantoms)
    print(f"KID of its images: {kid(features(pictures), reference):.4f}")
    print(f"KID of others like the reference: {kid(features(others), reference):.4f}")


if __name__ == "__main__":
    main()
