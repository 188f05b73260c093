"""What a key-point model is worth on 50 real radiographs: `python benchmarks/real_thumbnails.py [NAME[/VERSION]]`.

The thumbnails lie outside the repository, in ../shared/radiographs. Their labels are good to about 0.3 vertebrae
and the measurement lines on them were painted over: this shows whether a model carries over, not how exact it is.
"""

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from canicor.bundle import INPUT, Bundle, ModelKind
from canicor.model_input import read
from canicor.model_repository import Alias, ModelRepository
from canicor.onnx_runtime import open_session
from canicor.settings import Settings
from canicor.vhs import KEY_POINT_NAMES, KeyPoints, heart_size, measure

FOLDER = Path(__file__).parents[2] / "shared" / "radiographs"
RESAMPLES = 2000


def bundle(name: str, version: str) -> Bundle:
    repository = ModelRepository.of(Settings())
    version = version or repository.aliases(name).aliases.get(Alias.PRODUCTION, "")
    if not version:
        sys.exit(f"There is no {name} in production: `canicor demo` makes one.")
    found = repository.read(name, version)
    if found.info.kind is not ModelKind.KEYPOINTS:
        sys.exit(f"{name} is no key-point model.")
    return found


def measured_by(model: Bundle, files: list[Path]) -> NDArray[np.float64]:
    """Returns the VHS of each file."""
    session = open_session(model.model)
    spec = model.info.input
    found = []
    for file in files:
        radiograph = read(file.read_bytes(), spec.height, spec.width, spec.resize)
        (points,) = session.run(["key_points"], {INPUT: radiograph.pixels[np.newaxis]})
        key_points = KeyPoints.from_array(radiograph.placement.to_radiograph(points[0]))
        found.append(measure(key_points, radiograph.pixel_aspect).vhs)
    return np.array(found)


def line(what: str, statistic: Callable[[NDArray[np.intp]], float], count: int) -> str:
    """Returns a figure of some of the images, given by their indices, with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = [statistic(rng.integers(count, size=count)) for _ in range(RESAMPLES)]
    lower, upper = np.quantile(draws, (0.025, 0.975))
    return f"{what}: {statistic(np.arange(count)):.3f} ({lower:.3f} to {upper:.3f}), {count} images"


@dataclass(frozen=True)
class Thumbnail:
    """A real radiograph of about 155 x 122 pixels, and what was measured on it."""

    file: Path
    key_points: KeyPoints
    vhs: float
    heart_size: str
    """"ambiguous" where the VHS lies near a threshold."""


def thumbnails() -> list[Thumbnail]:
    """Returns those that could be measured: all but one."""
    with (FOLDER / "thumbnails.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["vhs"]]
    return [
        Thumbnail(
            FOLDER / row["file"],
            KeyPoints.from_array([[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in KEY_POINT_NAMES]),
            float(row["vhs"]),
            row["class"],
        )
        for row in rows
    ]


def figures(real: list[Thumbnail], found: NDArray[np.float64]) -> list[str]:
    """Compares the VHS found with that measured, each figure with its 95 % bootstrap interval."""
    stated = np.array([one.vhs for one in real])
    errors, guesses = found - stated, np.abs(stated - np.median(stated))
    clear = [i for i, one in enumerate(real) if one.heart_size != "ambiguous"]
    right = np.array([heart_size(found[i]) == real[i].heart_size for i in clear])
    return [
        line("mean absolute VHS error", lambda some: float(np.abs(errors[some]).mean()), len(real)),
        line("the same, always guessing the median", lambda some: float(guesses[some].mean()), len(real)),
        line("bias", lambda some: float(errors[some].mean()), len(real)),
        line("correlation", lambda some: float(np.corrcoef(found[some], stated[some])[0, 1]), len(real)),
        line("class accuracy, ambiguous left out", lambda some: float(right[some].mean()), len(clear)),
    ]


def main() -> None:
    if not FOLDER.is_dir():
        print("There is no ../shared/radiographs: nothing to measure.")
        return
    name, _, version = (sys.argv[1] if len(sys.argv) > 1 else "vhs-keypoints").partition("/")
    model = bundle(name, version)
    real = thumbnails()
    print(f"{model.name}/{model.version}, trained on {', '.join(model.info.training_origins)}")
    for figure in figures(real, measured_by(model, [one.file for one in real])):
        print(figure)


if __name__ == "__main__":
    main()
