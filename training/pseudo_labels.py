"""Labels for radiographs that nobody has labelled, from a key-point model that agrees with itself.

Data distillation: Radosavovic et al., *Data Distillation: Towards Omni-Supervised Learning* (CVPR 2018). Each
radiograph is shown to the model several times, turned, enlarged, mirrored and exposed otherwise; the points are
carried back, and where they lie together their mean is the label. The graph is the one that is served, so its
normalisation is frozen and nothing of it is drawn anew. A manifest holds the labels of one model: that of a better
model takes its place, and is not added to it.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from canicor import store
from canicor.bundle import DISTANCE, INPUT, Bundle, ModelKind
from canicor.errors import CanicorError, InvalidArgument
from canicor.manifest import Origin, Row
from canicor.model_input import Prepared, read
from canicor.onnx_runtime import InferenceSession, open_session
from canicor.vhs import VERTEBRAE_SPANNED, DegenerateKeyPoints, KeyPoints, heart_size, measure
from training.augmentation import Strength, augment

PASSES = 8
"""Times that a radiograph is shown."""

AGREEMENT = 0.3
"""In vertebrae: how well a reader's label is known (benchmarks/real_thumbnails.py)."""

_LABELLER = "model "


@dataclass(frozen=True)
class PseudoLabelled:
    """What a model made of some radiographs.

    Attributes:
        rows: Of a manifest, all to train on; without those that were left out.
        left_out: A line for each, which says why.
    """

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]


def is_pseudo(row: Row) -> bool:
    """Tells whether a model labelled the image, so that it knows no more than what the model was taught by."""
    return row.labeller.startswith(_LABELLER)


def pseudo_label(
    model: Bundle, files: Sequence[Path], agreement: float, seed: int, labelled: Callable[[], None]
) -> PseudoLabelled:
    """Labels radiographs.

    Args:
        model: Gives key points.
        files: Radiographs of any format.
        agreement: Largest standard deviation over all passes, in vertebrae, of VHS and of the place of each point.
        seed: Of the changes; the same seed, model and file give the same label.
        labelled: Called after each.

    Raises:
        InvalidArgument: The model gives no key points.
    """
    if model.info.kind is not ModelKind.KEYPOINTS:
        raise InvalidArgument(f"{model.name}/{model.version} gives no key points.", reason="NO_KEY_POINTS")
    session = open_session(model.model)
    rows, left_out = [], []
    for file in files:
        try:
            rows.append(_row(model, session, file, agreement, seed))
        except CanicorError as error:
            left_out.append(f"{file}: {error.message}")
        labelled()
    return PseudoLabelled(tuple(rows), tuple(left_out))


def _row(model: Bundle, session: InferenceSession, file: Path, agreement: float, seed: int) -> Row:
    spec, content = model.info.input, file.read_bytes()
    prepared = read(content, spec.height, spec.width, spec.resize)
    sha256 = hashlib.sha256(content).hexdigest()
    points = _agreed(model, session, prepared, agreement, int(sha256[:8], 16) ^ seed)
    measurement = measure(points, prepared.pixel_aspect)
    row, column = prepared.pixel_aspect
    return Row(
        image_url=store.url_of(str(file)),
        image_sha256=sha256,
        origin=Origin.REAL,
        batch_id="",
        batch_index=0,
        batch_seed=0,
        subject_id="",
        split="train",
        key_points=points,
        pixel_aspect=row / column,
        vhs=measurement.vhs,
        heart_size=heart_size(measurement.vhs),
        labeller=f"{_LABELLER}{model.name}/{model.version}",
        review_state="pending",
    )


def _agreed(
    model: Bundle, session: InferenceSession, prepared: Prepared, agreement: float, seed: int
) -> KeyPoints:
    """Returns the mean of all passes' points, in pixels of the radiograph.

    Raises:
        DegenerateKeyPoints: A pass gives points that measure nothing.
        InvalidArgument: The passes differ, or the model does not know such pictures.
    """
    limits = model.info.limits
    names = ["key_points", "peaks", *([DISTANCE] if limits.max_distance else [])]
    first, peaks, *distance = (one[0] for one in session.run(names, {INPUT: prepared.pixels[np.newaxis]}))
    if peaks.min() < limits.min_peak or any(one > limits.max_distance for one in distance):
        raise InvalidArgument("it is unlike what the model knows.", reason="UNFAMILIAR")
    pixels, start = (torch.from_numpy(one).expand(PASSES, *one.shape) for one in (prepared.pixels, first))
    changed, moved = augment(pixels, start, Strength(), seed + torch.arange(PASSES))
    (found,) = session.run(["key_points"], {INPUT: changed.round().to(torch.uint8).numpy()})
    back = [_carried_back(one, where, first) for one, where in zip(found, moved.numpy(), strict=True)]
    passes = [KeyPoints.from_array(prepared.placement.to_radiograph(one)) for one in (first, *back)]
    vhs = np.std([measure(one, prepared.pixel_aspect).vhs for one in passes])
    xy = np.stack([one.xy for one in passes])
    middle = KeyPoints.from_array(xy.mean(axis=0))
    apart = np.sqrt(np.square(xy - middle.xy).sum(-1).mean(0)).max()
    vertebra = np.linalg.norm(middle.xy[5] - middle.xy[4]) / VERTEBRAE_SPANNED
    if not max(vhs, apart / vertebra) <= agreement:
        raise InvalidArgument(
            f"its passes differ by {vhs:.2f} in VHS, and by {apart / vertebra:.2f} vertebrae in a point.",
            reason="NO_AGREEMENT",
        )
    return middle


def _carried_back(
    found: NDArray[np.float32], moved: NDArray[np.float32], start: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Returns points [6, 2] of a changed picture in the unchanged one, given where points of the one came to lie.

    Raises:
        DegenerateKeyPoints: Those points lie in one line.
    """
    known, asked = (
        np.pad(one.astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0) for one in (moved, found)
    )
    motion, _, rank, _ = np.linalg.lstsq(known, start.astype(np.float64))
    if rank < known.shape[1]:
        raise DegenerateKeyPoints("Key points in one line measure nothing.")
    back: NDArray[np.float64] = asked @ motion
    return back
