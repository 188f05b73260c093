"""What a model takes for a lateral thorax: `python benchmarks/out_of_distribution.py [NAME[/VERSION] ...]`.

Held-out phantoms against pictures that are none: the area under the ROC curve of the distance (the probability
that a picture that is none lies further away than one that is), and the share beyond the bundle's limit. 95 %
intervals: of the area by bootstrap over pictures, of a share by Wilson. The pictures of a kind are alike, and
there are two photographs and four scans in all, so the intervals say less than they seem to about others.

Harmless changes to the phantoms and real radiographs outside the repository, in ../shared/radiographs, are printed
for information: whether a model that never saw a real radiograph should take one is another question.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from canicor import phantom
from canicor.bundle import DISTANCE, INPUT, Bundle, InputSpec
from canicor.model_input import fit, read
from canicor.model_repository import Alias, ModelRepository
from canicor.onnx_runtime import open_session
from canicor.radiograph import Radiograph, View
from canicor.settings import Settings
from training.augmentation import Strength, augment
from training.evaluation import share_with_interval
from training.impostors import HEIGHT, KINDS, WIDTH, draw

FOLDER = Path(__file__).parents[2] / "shared" / "radiographs"
HELD_OUT, OF_EACH_KIND = 400, 40
SEED = 424_242
"""Of everything that is drawn; no training uses it."""
RESAMPLES = 1000

Pictures = NDArray[np.uint8]


def bundles(names: list[str]) -> Iterator[Bundle]:
    repository = ModelRepository.of(Settings())
    for one in names or repository.names():
        name, _, version = one.partition("/")
        version = version or repository.aliases(name).aliases.get(Alias.PRODUCTION, "")
        if not version:
            sys.exit(f"There is no {name} in production: `canicor demo` makes one.")
        bundle = repository.read(name, version)
        if bundle.info.limits.max_distance is None:
            sys.exit(f"{name}/{version} has no limit of distance.")
        yield bundle


def fitted(pixels: NDArray[np.uint8], spec: InputSpec) -> Pictures:
    return fit(Radiograph(pixels, None, "PNG", View.UNKNOWN), spec.height, spec.width, spec.resize).pixels


def thoraxes(spec: InputSpec) -> tuple[Pictures, Pictures, Pictures]:
    """Held-out phantoms; the same turned, scaled, shifted, darkened and blurred as in training; and mirrored."""
    plain, points = [], []
    for index in range(HELD_OUT):
        drawn = phantom.draw(SEED, index, width=WIDTH, height=HEIGHT)
        film = Radiograph(drawn.pixels, None, "PNG", View.UNKNOWN)
        prepared = fit(film, spec.height, spec.width, spec.resize)
        plain.append(prepared.pixels)
        points.append(prepared.placement.to_input(drawn.key_points.xy))
    pictures = np.stack(plain)
    seeds = torch.arange(HELD_OUT)
    changed, _ = augment(
        torch.from_numpy(pictures), torch.tensor(np.array(points), dtype=torch.float32), Strength(), seeds
    )
    return pictures, changed.numpy().round().astype(np.uint8), np.ascontiguousarray(pictures[:, :, ::-1])


def real_radiographs(spec: InputSpec) -> Iterator[tuple[str, Pictures]]:
    if not FOLDER.is_dir():
        return
    with (FOLDER / "thumbnails.csv").open() as file:
        thumbnails = [FOLDER / row["file"] for row in csv.DictReader(file)]
    for what, files in (("real thumbnails", thumbnails), ("real radiographs", sorted(FOLDER.glob("canine-*")))):
        prepared = (read(one.read_bytes(), spec.height, spec.width, spec.resize) for one in files)
        yield what, np.stack([one.pixels for one in prepared])


def distances(bundle: Bundle, pictures: Pictures) -> NDArray[np.float32]:
    session = open_session(bundle.model)
    parts = np.array_split(pictures, -(-len(pictures) // 32))
    return np.concatenate([session.run([DISTANCE], {INPUT: part})[0] for part in parts])


def area(familiar: NDArray[np.float32], strange: NDArray[np.float32]) -> float:
    return float(roc_auc_score([0] * len(familiar) + [1] * len(strange), np.concatenate([familiar, strange])))


def line(what: str, familiar: NDArray[np.float32], found: NDArray[np.float32], limit: float) -> str:
    rng = np.random.default_rng(0)
    draws = [area(rng.choice(familiar, len(familiar)), rng.choice(found, len(found))) for _ in range(RESAMPLES)]
    lower, upper = np.quantile(draws, (0.025, 0.975))
    share = share_with_interval(found > limit)
    roc = f"{area(familiar, found):.3f} ({lower:.3f} to {upper:.3f})"
    beyond = f"{share.value:.3f} ({share.lower:.3f} to {share.upper:.3f})"
    return f"{what:24}{roc:26}{beyond:26}{np.median(found):8.1f}{len(found):6}"


def main() -> None:
    for bundle in bundles(sys.argv[1:]):
        limit, spec = bundle.info.limits.max_distance, bundle.info.input
        assert limit is not None
        familiar, changed, mirrored = (distances(bundle, some) for some in thoraxes(spec))
        strange = {
            kind: distances(
                bundle, np.stack([fitted(draw(kind, SEED, index), spec) for index in range(OF_EACH_KIND)])
            )
            for kind in KINDS
        }
        print(f"{bundle.name}/{bundle.version}, limit {limit:.2f}")
        print(f"{'':24}{'area under ROC':26}{'beyond the limit':26}{'median':>8}{'of':>6}")
        print(line("held-out phantoms", familiar, familiar, limit))
        for kind, found in strange.items():
            print(line(kind, familiar, found, limit))
        print(line("all that are no thorax", familiar, np.concatenate(list(strange.values())), limit))
        print("for information:")
        print(line("phantoms, changed", familiar, changed, limit))
        print(line("phantoms, mirrored", familiar, mirrored, limit))
        for what, pictures in real_radiographs(spec):
            print(line(what, familiar, distances(bundle, pictures), limit))


if __name__ == "__main__":
    main()
