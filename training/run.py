"""One training run: a manifest's rows -> a bundle, ready to be pushed."""

import hashlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python

from canicor.bundle import (
    CARD_FILE,
    DISTANCE,
    INFO_FILE,
    BundleInfo,
    InputSpec,
    Limits,
    Metric,
    ModelKind,
    NumberFormat,
    Predictions,
)
from canicor.errors import InvalidArgument
from canicor.manifest import Origin, Row, digest
from canicor.model_input import ResizeRule
from canicor.monitoring import output_features
from canicor.vhs import HEART_SIZES, class_probabilities, heart_size
from training import calibration, evaluation, export, fitting, tracking
from training.checkpoint import Checkpoint
from training.checks import refuse
from training.dataset import SPLITS, Dataset, Progress, counting, split
from training.distance import FeatureDistance
from training.impostors import KINDS, Impostors
from training.network import STRIDE, ClassNetwork, KeyPointNetwork
from training.number_formats import variants
from training.processes import is_main, take_over_cores
from training.pseudo_labels import is_pseudo
from training.reference import reference
from training.served import Served, ServedClasses, ServedKeyPoints

if TYPE_CHECKING:
    from training.zoo import Backbone, ZooNetwork

KEY_POINT_EPOCHS = 20
"""About five minutes for 900 images on two cores."""

_SMALLEST_SIZE = 64

# Lateral chests are wider than high: 512 x 400 in the study's images, 1612 x 1300 on a detector.
_HEIGHT_OF_WIDTH = 0.8

# Of each kind, for the limit and again for the card, and drawn in seconds. `benchmarks/out_of_distribution.py`
# draws more.
_IMPOSTORS = 4

# A run's figures depend on them.
_PACKAGES = ("canicor", "numpy", "onnxruntime", "scikit-learn", "timm", "torch")

_TEST, _ALL_IMPOSTORS = "test", "impostors"


@dataclass(frozen=True)
class Candidate:
    """A trained model that is in no repository yet.

    Attributes:
        name: As it will be pushed.
        info: `bundle.json`.
        model: `model.onnx`, the bytes.
        card: `card.md`.
        predictions: What the model says of some validation images.
        variants: The model in other number formats, by file.
        rows: Of all images that it was trained, fitted and tested on, with their splits.
        checkpoint: From which the same run would end here at once; None without one.
    """

    name: str
    info: BundleInfo
    model: bytes
    card: str
    predictions: Predictions
    variants: Mapping[str, bytes]
    rows: Sequence[Row]
    checkpoint: Checkpoint | None

    @property
    def test_rows(self) -> list[Row]:
        """Of the images that it was tested on."""
        return [row for row in self.rows if row.split == _TEST]

    def discard(self) -> None:
        """Removes what would let the same run end here at once."""
        if self.checkpoint:
            self.checkpoint.remove()


@dataclass(frozen=True)
class Plan:
    """What to train.

    Attributes:
        kind: Of model.
        name: As it will be pushed.
        spec: The input.
        recipe: Of the fitting.
        seed: The same seed, rows and machine give the same model.
        formats: Number formats to make beside 32-bit floats; kept where they do no worse.
        backbone: Of the network; the project's own small one where None.
        dropout: Before the head of the own small one.
        checkpoints: The folder from which a run that was stopped goes on; None where it can't.
        tracking: URI of the MLflow store that the run is written down in; None for nowhere.
    """

    kind: ModelKind
    name: str
    spec: InputSpec
    recipe: fitting.Recipe
    seed: int = 0
    formats: Sequence[NumberFormat] = ()
    backbone: "Backbone | None" = None
    dropout: float = 0.2
    checkpoints: Path | None = None
    tracking: str | None = None

    def record(self) -> dict[str, Any]:
        """Returns what a bundle keeps as its `training_plan`."""
        fields = ("recipe", "seed", "formats", "backbone", "dropout")
        record: dict[str, Any] = to_jsonable_python({name: getattr(self, name) for name in fields})
        return record

    def checkpoint(self, rows: Sequence[Row]) -> Checkpoint | None:
        """Returns where a run on these rows stands."""
        if self.checkpoints is None:
            return None
        plan = replace(self, checkpoints=None, tracking=None)
        made_by = repr((digest(rows), plan, torch.__version__))
        run = hashlib.sha256(made_by.encode()).hexdigest()
        return Checkpoint(self.checkpoints / f"{self.name}-{run[:12]}.pt", run)


def input_spec(width: int, *, square: bool = False) -> InputSpec:
    """Returns a model's input.

    Args:
        width: In pixels, a multiple of `STRIDE`; of a square, any.
        square: Whether the radiograph is stretched to a square, as in the study, instead of keeping its aspect:
            VHS compares lengths of different directions, so only a class model can bear it.

    Raises:
        InvalidArgument: The networks can't take this width.
    """
    if width < _SMALLEST_SIZE or (width % STRIDE and not square):
        raise InvalidArgument(
            f"The size is a multiple of {STRIDE} from {_SMALLEST_SIZE}, not {width}.", reason="BAD_SIZE"
        )
    if square:
        return InputSpec(height=width, width=width, resize=ResizeRule.STRETCH)
    height = STRIDE * round(_HEIGHT_OF_WIDTH * width / STRIDE)
    return InputSpec(height=height, width=width, resize=ResizeRule.LETTERBOX)


@dataclass(frozen=True)
class _Material:
    """What a model is made and tested with."""

    plan: Plan
    dataset: Dataset
    checkpoint: Checkpoint | None
    run: tracking.Run


def train(rows: Sequence[Row], plan: Plan, progress: Progress) -> Candidate:
    """Trains, evaluates and exports what the plan says; writes no model.

    Of several processes the main one alone does more than fit; the others end here.

    Args:
        rows: Of a manifest; those without a split are split here.
        plan: What to train.
        progress: Told how far it is.

    Raises:
        SystemExit: This process only helped to fit the model, and has nothing left to do.
        CanicorError: The rows or an image are not fit to train on, the run can't be written down, or a model does
            not survive its export.
    """
    dataset = load(rows, plan, progress)
    checkpoint = plan.checkpoint(dataset.train.rows)
    with _logged(plan, dataset, checkpoint) as run:
        material = _Material(plan, dataset, checkpoint, run)
        if plan.kind is ModelKind.KEYPOINTS:
            key_points = _fit(material, partial(key_point_network, plan), fitting.key_point_loss, progress)
            finish = partial(_key_point_model, material, key_points)
        else:
            classes = _fit(material, partial(class_network, plan), fitting.class_loss, progress)
            finish = partial(_class_model, material, classes)
        if not is_main():
            raise SystemExit
        take_over_cores()
        candidate = finish(progress)
        run.result(
            candidate.info.metrics,
            {INFO_FILE: candidate.info.model_dump_json(indent=2), CARD_FILE: candidate.card},
        )
    return candidate


def _logged(plan: Plan, dataset: Dataset, checkpoint: Checkpoint | None) -> AbstractContextManager[tracking.Run]:
    """Returns the run, written down as the plan says."""
    trained_on = digest(dataset.train.rows)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{trained_on[:8]}-seed-{plan.seed}"
    identity = tracking.Identity(checkpoint.run, checkpoint.file.exists()) if checkpoint else None
    uri = plan.tracking if is_main() else None
    return tracking.logged(uri, plan.name, name, _parameters(plan, dataset), identity)


def _parameters(plan: Plan, dataset: Dataset) -> dict[str, object]:
    """Returns all that makes a run, nested by name."""
    parameters: dict[str, object] = {"kind": plan.kind, "input": plan.spec.model_dump(), **plan.record()}
    for one in SPLITS:
        rows = getattr(dataset, one).rows
        parameters |= {f"{one}_images": len(rows), f"{one}_digest": digest(rows)}
    versions = {"python": platform.python_version()} | {package: version(package) for package in _PACKAGES}
    return parameters | {"version": versions}


def load(rows: Sequence[Row], plan: Plan, progress: Progress) -> Dataset:
    """Splits a manifest's rows and loads their images, as far as the plan's kind of model can learn from them.

    Raises:
        CanicorError: The rows or an image are not fit to train on.
    """
    if plan.kind is ModelKind.KEYPOINTS:
        refuse([f"{row.image_url}: it has a class and no key points" for row in rows if not row.key_points])
    shared_out = split(rows, plan.seed)
    if not origins(row for row in shared_out if row.split == "train"):
        refuse(["every image to train on was labelled by a model: give some that people labelled, or phantoms"])
    return Dataset.load(shared_out, plan.spec, progress)


def _strange(served: Served, plan: Plan, seed: int, progress: Progress) -> NDArray[np.float32]:
    """Returns the distances of pictures that are no thorax: `_IMPOSTORS` of each kind, kind by kind."""
    drawn = counting(progress, "Drawing what is no thorax", _IMPOSTORS * len(KINDS))
    impostors = Impostors.draw(_IMPOSTORS, seed, plan.spec, drawn)
    return evaluation.predict(served, impostors.pixels)[served.outputs.index(DISTANCE)]


def _key_point_model(material: _Material, network: KeyPointNetwork, progress: Progress) -> Candidate:
    dataset, plan = material.dataset, material.plan
    distance = FeatureDistance.fit(network.maps, dataset.train, plan.recipe.strength, plan.seed)
    served = ServedKeyPoints(network, distance).eval()
    points, peaks, distances, *_ = evaluation.predict(served, dataset.validation.pixels)
    vhs = dataset.validation.vhs_of(points)
    errors = vhs - [row.vhs for row in dataset.validation.rows]
    sigma = calibration.vhs_sigma(errors)
    sizes = [heart_size(one) for one in vhs]
    probabilities = np.array([class_probabilities(one, sigma) for one in vhs])
    tested = evaluation.predict(served, dataset.test.pixels)
    strange = _strange(served, plan, plan.seed, progress)
    fitted = {
        "vhs_sigma": sigma,
        "vhs_half_width": calibration.vhs_half_width(errors),
        "set_probability": calibration.set_probability(probabilities, dataset.validation.classes),
        "limits": Limits(
            min_probability=calibration.MIN_PROBABILITY,
            min_peak=calibration.smallest_peak(peaks),
            max_distance=calibration.largest_distance(distances, strange),
        ),
        "reference": reference(
            dataset.validation,
            map(output_features, sizes, probabilities.max(axis=1), vhs, peaks.min(axis=1), distances),
        ),
        "metrics": evaluation.key_point_metrics(dataset.test, tested[0], sigma, plan.seed),
    }
    return _candidate(material, served, fitted, tested[served.outputs.index(DISTANCE)], progress)


def _class_model(material: _Material, network: "ClassNetwork | ZooNetwork", progress: Progress) -> Candidate:
    dataset, plan = material.dataset, material.plan
    (logits,) = evaluation.predict(network, dataset.validation.pixels)
    temperature = calibration.fit_temperature(logits, dataset.validation.classes)
    distance = FeatureDistance.fit(network.encoder, dataset.train, plan.recipe.strength, plan.seed)
    served = ServedClasses(network, temperature, distance).eval()
    probabilities, distances, *_ = evaluation.predict(served, dataset.validation.pixels)
    sizes = [HEART_SIZES[index] for index in probabilities.argmax(axis=1)]
    tested = evaluation.predict(served, dataset.test.pixels)
    strange = _strange(served, plan, plan.seed, progress)
    nothing = [None] * len(sizes)
    fitted = {
        "temperature": temperature,
        "set_probability": calibration.set_probability(probabilities, dataset.validation.classes),
        "limits": Limits(
            min_probability=calibration.MIN_PROBABILITY,
            max_distance=calibration.largest_distance(distances, strange),
        ),
        "reference": reference(
            dataset.validation,
            map(output_features, sizes, probabilities.max(axis=1), nothing, nothing, distances),
        ),
        "metrics": evaluation.class_metrics(
            dataset.test, tested[0].argmax(axis=1), tested[0].max(axis=1), plan.seed
        ),
    }
    return _candidate(material, served, fitted, tested[served.outputs.index(DISTANCE)], progress)


def _fit(
    material: _Material,
    build: Callable[[], fitting.Network],
    loss_of: fitting.Loss[fitting.Network],
    progress: Progress,
) -> fitting.Network:
    plan, recipe = material.plan, material.plan.recipe

    def epoch_done(epoch: int, loss: float) -> None:
        material.run.loss(epoch, loss)
        progress(f"Fitting {plan.kind}, loss {loss:.3f}", epoch, recipe.epochs)

    train = material.dataset.train
    return fitting.fit(build, loss_of, train, recipe, plan.seed, epoch_done, material.checkpoint)


def origins(rows: Iterable[Row]) -> tuple[Origin, ...]:
    """Returns where the images came from that taught something new: a model's own labels teach what it knew."""
    return tuple(sorted({row.origin for row in rows if not is_pseudo(row)}))


def key_point_network(plan: Plan) -> KeyPointNetwork:
    """Returns a new network of a key-point model."""
    return plan.backbone.build_key_points() if plan.backbone else KeyPointNetwork()


def class_network(plan: Plan) -> "ClassNetwork | ZooNetwork":
    """Returns a new network of a class model."""
    if plan.backbone:
        return plan.backbone.build(plan.spec.height, plan.spec.width)
    return ClassNetwork(plan.dropout)


def _candidate(
    material: _Material,
    served: Served,
    fitted: dict[str, Any],
    distances: NDArray[np.float32],
    progress: Progress,
) -> Candidate:
    """Exports a model.

    Args:
        material: It was made with.
        served: The network with all its outputs.
        fitted: Fields of its `BundleInfo` that were fitted or measured.
        distances: [N], of the test images.
        progress: Told how far it is.
    """
    dataset, plan, kind, spec = material.dataset, material.plan, served.kind, material.plan.spec
    model = export.to_onnx(served, served.outputs, spec.height, spec.width)
    difference = export.check_parity(model, served, dataset.validation)
    # Others than those that the limit was fitted on.
    strange = _strange(served, plan, plan.seed + 1, progress)
    refused = _refused(distances, strange, fitted["limits"].max_distance)
    shares = {f"{what}_refused": refused[what] for what in (_TEST, _ALL_IMPOSTORS)}
    info = BundleInfo(
        kind=kind,
        input=spec,
        coverage=calibration.COVERAGE,
        training_dataset_digest=digest(dataset.train.rows),
        test_dataset_digest=digest(dataset.test.rows),
        training_origins=origins(dataset.train.rows),
        training_run=material.run.name,
        training_plan=plan.record(),
        create_time=datetime.now(UTC),
        **{**fitted, "metrics": fitted["metrics"] | shares},
    )
    counts = {one: len(getattr(dataset, one)) for one in SPLITS}
    card = export.card(plan.name, info, counts, difference, refused)
    predictions = export.predictions(model, kind, dataset.validation)
    others = variants(model, kind, plan.formats, dataset, plan.seed)
    rows = [row for one in SPLITS for row in getattr(dataset, one).rows]
    return Candidate(plan.name, info, model, card, predictions, others, rows, material.checkpoint)


def _refused(familiar: NDArray[np.float32], strange: NDArray[np.float32], limit: float) -> dict[str, Metric]:
    """Returns the shares of distances beyond the limit: of the test images, of all impostors, of each kind."""
    shown = np.repeat(list(KINDS), _IMPOSTORS)
    beyond = {_TEST: familiar > limit, _ALL_IMPOSTORS: strange > limit}
    beyond |= {kind: strange[shown == kind] > limit for kind in KINDS}
    return {what: evaluation.share_with_interval(hits) for what, hits in beyond.items()}
