"""DreamBooth for real, in small: `python benchmarks/clinic_dreambooth.py [FOLDER]`.

The small base model is fine-tuned on the films of a clinic whose appearance it has never seen (phantoms, framed
as its own, exposed and shown as in `training.experiments.clinic`): 140 to learn from, of three classes, by the
study's prompts and its settings but for the size of the images and those of `SETTINGS`. Before and after, it is
asked for 300 images by the same prompts, a third of each class. Printed are their KID to 300 films of the clinic
that nobody has seen, beside that of 300 more, and what the model that ships reads in them (see `pipelines.py`).
Contact sheets of both and of the clinic go into FOLDER, by default the current one: two rows each of small, normal
and large hearts.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pipelines import SEED, Pictures, made, sheet, tell, wanted
from realism import feature_extractor

from canicor import phantom
from canicor.phantom.folder import MANIFEST, Order, write
from canicor.phantom.wishes import Wishes
from canicor.pipeline import PAPER_PROMPT
from canicor.pipeline_repository import Pipelines
from canicor.settings import Settings
from canicor.vhs import HeartSize
from services.generator.curation.fidelity import kid
from training.experiments.clinic import APPEARANCE, DOGS
from training.generator.base import FILM

BASE, TUNED = "phantom-base", "clinic"
IMAGES = 300
SETTINGS = {
    "pipeline": BASE,
    "steps": 1000,
    "learning_rate": 5e-5,
    "prompt_dropout": 0.2,
    "precision": "no",
    "validation_steps": 0,
}
"""What is not the study's. The base was taught at a rate a hundred times that at which the study fine-tunes; and
where every image is shown with words, guidance leads away from the base's look, far beyond the clinic's."""


CLINIC = FILM | APPEARANCE


def film(width: int, height: int, vhs: float, index: int) -> NDArray[np.uint8]:
    one = phantom.draw(SEED, index, width=width, height=height, vhs=vhs, fixed=CLINIC)
    return np.asarray(one.pixels)


def fine_tune(manifest: Path, settings: dict[str, object]) -> None:
    assignments = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "canicor.cli", "train", "generator", str(manifest), "--name", TUNED]
    subprocess.run([*command, *assignments], check=True)


def by_size(pictures: Pictures, vhs: NDArray[np.float64]) -> Sequence[NDArray[np.uint8]]:
    return [pictures[index] for index in np.argsort(vhs)]


def main() -> None:
    folder = Path(*sys.argv[1:2])
    # What is fine-tuned here is of no use to anybody else.
    with tempfile.TemporaryDirectory() as home:
        os.environ["CANICOR_HOME"] = home
        pipelines = Pipelines.of(Settings())
        version, base = pipelines.read(BASE)
        base = base.model_copy(update={"prompt": PAPER_PROMPT, "tokens": {size: size.value for size in HeartSize}})
        order = Order(SEED, size=(base.width, base.height), wishes=Wishes(fixed=CLINIC))
        write(Path(home) / "films", DOGS, order, lambda: None)
        began = time.monotonic()
        fine_tune(Path(home) / "films" / MANIFEST, {**SETTINGS, "width": base.width, "height": base.height})
        print(f"fine-tuned within {(time.monotonic() - began) / 60:.0f} min")
        tuned_version, tuned = pipelines.read(TUNED)

        vhs = wanted(base, IMAGES)
        before = made(pipelines, BASE, version, base, vhs)
        after = made(pipelines, TUNED, tuned_version, tuned, vhs)
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        draw = partial(film, base.width, base.height)
        # The first DOGS are those that it learnt from.
        held_out, others = (
            list(workers.map(draw, vhs, range(start, start + IMAGES))) for start in (DOGS, DOGS + IMAGES)
        )
    features = feature_extractor()
    reference = features(held_out)
    for name, pictures in (("clinic", others), ("before", before), ("after", after)):
        tell(name, pictures, vhs)
        print(f"  KID to the clinic's held-out films: {kid(features(pictures), reference):.4f}")
        sheet(by_size(pictures, vhs)).save(folder / f"dreambooth-{name}.png")


if __name__ == "__main__":
    main()
