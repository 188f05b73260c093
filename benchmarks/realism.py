"""How unlike real radiographs phantoms look: `python benchmarks/realism.py [--phantoms N]`.

Phantoms are brought to the size and the compression of the 50 thumbnails of ../shared/radiographs, and both are
compared by
- KID, the squared maximum mean discrepancy of features by the kernel (x.y / d + 1)^3, unbiased (Binkowski et al.,
  ICLR 2018): features are the 1,280 of an EfficientNet-Lite0 taught on ImageNet, which PyPI has,
- the distance of the mean logarithmic power spectra, and that of the mean distributions of grey values
  (Wasserstein-1, grey levels of 255),
- the accuracy with which logistic regression tells features of the two apart, from folds that it has not seen: 0.5
  where it can't.
The last line compares one half of the thumbnails with the other: what no phantom can go below. Takes 3 minutes.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from real_thumbnails import FOLDER

from canicor.phantom import draw
from services.generator.curation.fidelity import kid

SEED = 40
QUALITY = 85
"""Of JPEG: the figure that the thumbnails were cut from was one."""

_SIDE = 224
_LARGER = 2
_BANDS = 40
_FOLDS = 5
_HALVES = 200

Pictures = Sequence[NDArray[np.uint8]]


def real() -> Pictures:
    return [np.asarray(Image.open(file).convert("L")) for file in sorted((FOLDER / "thumbnails").glob("*.png"))]


def phantom(sizes: Sequence[tuple[int, int]], index: int) -> NDArray[np.uint8]:
    """Returns a phantom of the (height, width) of one of the thumbnails, compressed."""
    height, width = sizes[index % len(sizes)]
    drawn = draw(SEED, index, width=_LARGER * width, height=_LARGER * height)
    small = Image.fromarray(drawn.pixels).resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file))


def feature_extractor() -> Callable[[Pictures], NDArray[np.float64]]:
    """Returns what gives features float64 [N, 1280]."""
    import torch

    from training.zoo import taught_lite0

    network = taught_lite0()
    network.reset_classifier(0)
    network.eval()

    def features(pictures: Pictures) -> NDArray[np.float64]:
        found = []
        with torch.inference_mode():
            for picture in pictures:
                resized = np.array(Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
                # Mean and standard deviation 0.5, as it was taught.
                grey = torch.from_numpy(resized).float() / 127.5 - 1
                found.append(network(grey.expand(1, 3, -1, -1))[0].double().numpy())
        return np.stack(found)

    return features


def spectrum(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the logarithm of the power in bands of spatial frequency, from the slowest to the finest."""
    window = np.outer(*(np.hanning(side) for side in picture.shape))
    grey = picture / 255.0
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    y, x = (np.fft.fftfreq(side) for side in picture.shape)
    frequency = np.hypot(y[:, None], x[None, :])
    band = np.minimum((frequency / 0.5 * _BANDS).astype(int), _BANDS)
    total, count = (
        np.bincount(band.ravel(), part.ravel(), _BANDS + 1)[:_BANDS] for part in (power, power * 0 + 1)
    )
    return np.log10(total / count / picture.size + 1e-9)


def cumulative(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the share of pixels up to each grey value."""
    return np.cumsum(np.bincount(picture.ravel(), minlength=256)) / picture.size


def mean_of(
    describe: Callable[[NDArray[np.uint8]], NDArray[np.float64]], pictures: Pictures
) -> NDArray[np.float64]:
    return np.mean([describe(picture) for picture in pictures], axis=0)


def told_apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Returns the balanced accuracy of a linear two-sample test over folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values, labels = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    test = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return float(cross_val_score(test, values, labels, cv=folds, scoring="balanced_accuracy").mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares phantoms with real thumbnails.")
    parser.add_argument("--phantoms", type=int, default=500, help="default: %(default)s")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        sys.exit("There is no ../shared/radiographs: nothing to compare with.")
    thumbnails = real()
    sizes = [(one.shape[0], one.shape[1]) for one in thumbnails]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        phantoms = list(workers.map(partial(phantom, sizes), range(arguments.phantoms), chunksize=10))
    features = feature_extractor()
    of_real, of_phantoms = features(thumbnails), features(phantoms)
    rng = np.random.default_rng(0)
    without = [kid(np.delete(of_real, index, axis=0), of_phantoms) for index in range(len(of_real))]
    error = np.std(without) * np.sqrt(len(of_real) - 1)
    spectra = mean_of(spectrum, thumbnails) - mean_of(spectrum, phantoms)
    greys = mean_of(cumulative, thumbnails) - mean_of(cumulative, phantoms)
    halves = [rng.permutation(len(of_real)) for _ in range(_HALVES)]
    middle = len(of_real) // 2
    floor = np.mean([kid(of_real[half[:middle]], of_real[half[middle:]]) for half in halves])
    print(f"{len(phantoms)} phantoms, {len(thumbnails)} thumbnails")
    print(f"KID: {kid(of_real, of_phantoms):.4f} (standard error {error:.4f}, jackknife over thumbnails)")
    print(f"power spectrum, root mean square of decades: {np.sqrt((spectra**2).mean()):.4f}")
    print(f"grey levels, Wasserstein-1: {np.abs(greys).sum():.2f}")
    print(f"told apart by a linear test: {told_apart(of_real, of_phantoms):.3f}")
    print(f"KID of one half of the thumbnails to the other: {floor:.4f}")


if __name__ == "__main__":
    main()
