"""One training run: a manifest's rows -> bundles, ready to be pushed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from canicor.bundle import DISTANCE, BundleInfo, InputSpec, Limits, Metric, ModelKind, NumberFormat, Predictions
from canicor.errors import InvalidArgument
from canicor.manifest import Row, digest
from canicor.model_repository import Alias, ModelRepository
from canicor.monitoring import output_features
from canicor.vhs import HEART_SIZES, class_probabilities, heart_size
from training import calibration, evaluation, export, fitting
from training.checks import refuse
from training.dataset import RESIZE, SPLITS, Dataset, Progress, split
from training.distance import FeatureDistance
from training.impostors import KINDS, Impostors
from training.network import STRIDE, ClassNetwork, KeyPointNetwork
from training.number_formats import variants
from training.reference import reference
from training.served import NAMES, ServedClasses, ServedKeyPoints

EPOCHS = {ModelKind.KEYPOINTS: 20, ModelKind.CLASSIFIER: 30}
"""By default: about two minutes each for 900 images on two cores."""

_SMALLEST_SIZE = 64

# Lateral chests are wider than high: 512 x 400 in the study's images, 1612 x 1300 on a detector.
_HEIGHT_OF_WIDTH = 0.8

# Of each kind: enough for the card, and drawn in seconds. `benchmarks/out_of_distribution.py` draws more.
_IMPOSTORS = 4

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
    """

    name: str
    info: BundleInfo
    model: bytes
    card: str
    predictions: Predictions
    variants: Mapping[str, bytes]

    def push(self, repository: ModelRepository) -> str:
        """Writes it, puts it into production, and returns its version."""
        version = repository.push(
            self.name,
            self.info,
            self.model,
            self.card,
            variants=self.variants,
            predictions=self.predictions,
        )
        repository.set_alias(self.name, Alias.PRODUCTION, version)
        return version


@dataclass(frozen=True)
class Plan:
    """What to train.

    Attributes:
        kinds: Of models, one each.
        seed: The same seed, rows and machine give the same models.
        size: Width of the input in pixels, a multiple of `STRIDE`.
        epochs: Of every model; `EPOCHS` where None.
        prefix: Start of the models' names.
        formats: Number formats to make beside 32-bit floats; kept where they do no worse.
    """

    kinds: Sequence[ModelKind]
    seed: int
    size: int
    epochs: int | None
    prefix: str
    formats: Sequence[NumberFormat] = ()

    def name_of(self, kind: ModelKind) -> str:
        """Returns the name of the model of a kind."""
        return f"{self.prefix}-{kind}"

    def input_spec(self) -> InputSpec:
        """Returns the input's size.

        Raises:
            InvalidArgument: The networks can't take this width.
        """
        if self.size < _SMALLEST_SIZE or self.size % STRIDE:
            raise InvalidArgument(
                f"The size is a multiple of {STRIDE} from {_SMALLEST_SIZE}, not {self.size}.", reason="BAD_SIZE"
            )
        height = STRIDE * round(_HEIGHT_OF_WIDTH * self.size / STRIDE)
        return InputSpec(height=height, width=self.size, resize=RESIZE)


@dataclass(frozen=True)
class _Material:
    """What every model of a run is made and tested with."""

    plan: Plan
    spec: InputSpec
    dataset: Dataset
    impostors: Impostors


def train(rows: Sequence[Row], plan: Plan, progress: Progress) -> list[Candidate]:
    """Trains, evaluates and exports what the plan says; writes nothing.

    Args:
        rows: Of a manifest; those without a split are split here.
        plan: What to train.
        progress: Told how far it is.

    Raises:
        CanicorError: The rows or an image are not fit to train on, or a model does not survive its export.
    """
    spec = plan.input_spec()
    if ModelKind.KEYPOINTS in plan.kinds:
        refuse([f"{row.image_url}: it has a class and no key points" for row in rows if not row.key_points])
    dataset = Dataset.load(split(rows, plan.seed), spec.height, spec.width, progress)
    material = _Material(plan, spec, dataset, _impostors(plan, spec, progress))
    return [_TRAINERS[kind](material, progress) for kind in plan.kinds]


def _impostors(plan: Plan, spec: InputSpec, progress: Progress) -> Impostors:
    done = 0

    def drawn() -> None:
        nonlocal done
        done += 1
        progress("Drawing what is no thorax", done, _IMPOSTORS * len(KINDS))

    return Impostors.draw(_IMPOSTORS, plan.seed, spec, drawn)


def _train_key_points(material: _Material, progress: Progress) -> Candidate:
    kind, dataset, plan = ModelKind.KEYPOINTS, material.dataset, material.plan
    recipe = fitting.Recipe(plan.epochs or EPOCHS[kind])
    network = fitting.fit(
        KeyPointNetwork, fitting.key_point_loss, dataset.train, recipe, plan.seed, _telling(kind, recipe, progress)
    )
    distance = FeatureDistance.fit(network.encoder, dataset.train, recipe.strength, plan.seed)
    served = ServedKeyPoints(network, distance).eval()
    points, peaks, distances, _ = evaluation.predict(served, dataset.validation.pixels)
    vhs = dataset.validation.vhs_of(points)
    errors = vhs - [row.vhs for row in dataset.validation.rows]
    sigma = calibration.vhs_sigma(errors)
    sizes = [heart_size(one) for one in vhs]
    probabilities = [
        class_probabilities(one, sigma)[HEART_SIZES.index(size)] for one, size in zip(vhs, sizes, strict=True)
    ]
    tested = evaluation.predict(served, dataset.test.pixels)
    fitted = {
        "vhs_sigma": sigma,
        "vhs_half_width": calibration.vhs_half_width(errors),
        "limits": Limits(
            min_probability=calibration.MIN_PROBABILITY,
            min_peak=calibration.smallest_peak(peaks),
            max_distance=calibration.largest_distance(distances),
        ),
        "reference": reference(
            dataset.validation,
            map(output_features, sizes, probabilities, vhs, peaks.min(axis=1), distances),
        ),
        "metrics": evaluation.key_point_metrics(dataset.test, tested[0], plan.seed),
    }
    return _candidate(material, kind, served, fitted, tested[NAMES[kind].index(DISTANCE)])


def _train_classes(material: _Material, progress: Progress) -> Candidate:
    kind, dataset, plan = ModelKind.CLASSIFIER, material.dataset, material.plan
    recipe = fitting.Recipe(plan.epochs or EPOCHS[kind])
    network = fitting.fit(
        ClassNetwork, fitting.class_loss, dataset.train, recipe, plan.seed, _telling(kind, recipe, progress)
    )
    (logits,) = evaluation.predict(network, dataset.validation.pixels)
    temperature = calibration.fit_temperature(logits, dataset.validation.classes)
    distance = FeatureDistance.fit(network.encoder, dataset.train, recipe.strength, plan.seed)
    served = ServedClasses(network, temperature, distance).eval()
    probabilities, distances, _ = evaluation.predict(served, dataset.validation.pixels)
    sizes = [HEART_SIZES[index] for index in probabilities.argmax(axis=1)]
    tested = evaluation.predict(served, dataset.test.pixels)
    nothing = [None] * len(sizes)
    fitted = {
        "temperature": temperature,
        "set_probability": calibration.set_probability(probabilities, dataset.validation.classes),
        "limits": Limits(
            min_probability=calibration.MIN_PROBABILITY, max_distance=calibration.largest_distance(distances)
        ),
        "reference": reference(
            dataset.validation,
            map(output_features, sizes, probabilities.max(axis=1), nothing, nothing, distances),
        ),
        "metrics": evaluation.class_metrics(dataset.test, tested[0].argmax(axis=1), plan.seed),
    }
    return _candidate(material, kind, served, fitted, tested[NAMES[kind].index(DISTANCE)])


_TRAINERS = {ModelKind.KEYPOINTS: _train_key_points, ModelKind.CLASSIFIER: _train_classes}


def _candidate(
    material: _Material,
    kind: ModelKind,
    served: nn.Module,
    fitted: dict[str, Any],
    distances: NDArray[np.float32],
) -> Candidate:
    """Exports a model.

    Args:
        material: It was made with.
        kind: It is of.
        served: The network with all its outputs.
        fitted: Fields of its `BundleInfo` that were fitted or measured.
        distances: [N], of the test images.
    """
    spec, dataset, plan = material.spec, material.dataset, material.plan
    model = export.to_onnx(served, NAMES[kind], spec.height, spec.width)
    difference = export.check_parity(model, served, kind, dataset.validation)
    strange = evaluation.predict(served, material.impostors.pixels)[NAMES[kind].index(DISTANCE)]
    refused = _refused(distances, strange, material.impostors.kinds, fitted["limits"].max_distance)
    shares = {f"{what}_refused": refused[what] for what in (_TEST, _ALL_IMPOSTORS)}
    trained_on = digest(dataset.train.rows)
    now = datetime.now(UTC)
    info = BundleInfo(
        kind=kind,
        input=spec,
        coverage=calibration.COVERAGE,
        training_dataset_digest=trained_on,
        test_dataset_digest=digest(dataset.test.rows),
        training_origins=tuple(sorted({row.origin for row in dataset.train.rows})),
        training_run=f"{now:%Y%m%dT%H%M%SZ}-{trained_on[:8]}-seed-{plan.seed}",
        create_time=now,
        **{**fitted, "metrics": fitted["metrics"] | shares},
    )
    name = plan.name_of(kind)
    counts = {one: len(getattr(dataset, one)) for one in SPLITS}
    card = export.card(name, info, counts, difference, refused)
    predictions = export.predictions(model, kind, dataset.validation)
    return Candidate(name, info, model, card, predictions, variants(model, kind, plan.formats, dataset, plan.seed))


def _refused(
    familiar: NDArray[np.float32], strange: NDArray[np.float32], kinds: Sequence[str], limit: float
) -> dict[str, Metric]:
    """Returns the shares of distances beyond the limit: of the test images, of all impostors, of each kind."""
    shown = np.array(kinds)
    beyond = {_TEST: familiar > limit, _ALL_IMPOSTORS: strange > limit}
    beyond |= {kind: strange[shown == kind] > limit for kind in dict.fromkeys(kinds)}
    return {what: evaluation.share_with_interval(hits) for what, hits in beyond.items()}


def _telling(kind: ModelKind, recipe: fitting.Recipe, progress: Progress) -> Callable[[int, float], None]:
    def epoch_done(epoch: int, loss: float) -> None:
        progress(f"Fitting {kind}, loss {loss:.3f}", epoch, recipe.epochs)

    return epoch_done
