"""One training run: a manifest's rows -> bundles, ready to be pushed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from canicor.bundle import Alias, BundleInfo, InputSpec, Limits, ModelKind, ModelRepository
from canicor.errors import InvalidArgument
from canicor.manifest import Row, digest
from training import calibration, evaluation, export, fitting
from training.dataset import RESIZE, SPLITS, Dataset, Progress, split
from training.network import STRIDE, ClassNetwork, KeyPointNetwork

EPOCHS = {ModelKind.KEYPOINTS: 20, ModelKind.CLASSIFIER: 30}
"""By default: about two minutes each for 900 images on two cores."""

_SMALLEST_SIZE = 64

# Lateral chests are wider than high: 512 x 400 in the study's images, 1612 x 1300 on a detector.
_HEIGHT_OF_WIDTH = 0.8


@dataclass(frozen=True)
class Candidate:
    """A trained model that is in no repository yet.

    Attributes:
        name: As it will be pushed.
        info: `bundle.json`.
        model: `model.onnx`, the bytes.
        card: `card.md`.
    """

    name: str
    info: BundleInfo
    model: bytes
    card: str

    def push(self, repository: ModelRepository) -> str:
        """Writes it, puts it into production, and returns its version."""
        version = repository.push(self.name, self.info, self.model, self.card)
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
    """

    kinds: Sequence[ModelKind]
    seed: int
    size: int
    epochs: int | None
    prefix: str

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
    dataset = Dataset.load(split(rows, plan.seed), spec.height, spec.width, progress)
    return [_TRAINERS[kind](dataset, plan, spec, progress) for kind in plan.kinds]


def _train_key_points(dataset: Dataset, plan: Plan, spec: InputSpec, progress: Progress) -> Candidate:
    kind = ModelKind.KEYPOINTS
    recipe = fitting.Recipe(plan.epochs or EPOCHS[kind])
    network = fitting.fit(
        KeyPointNetwork, fitting.key_point_loss, dataset.train, recipe, plan.seed, _telling(kind, recipe, progress)
    )
    model = export.to_onnx(network, kind, spec.height, spec.width)
    difference = export.check_parity(model, network, kind, dataset.validation)
    points, peaks = evaluation.predict(network, dataset.validation)
    errors = dataset.validation.vhs_of(points) - [row.vhs for row in dataset.validation.rows]
    info = _info(kind, dataset, plan, spec).model_copy(
        update={
            "vhs_sigma": float(np.std(errors)),
            "vhs_half_width": calibration.conformal_quantile(np.abs(errors)),
            "limits": Limits(
                min_probability=calibration.MIN_PROBABILITY, min_peak=calibration.smallest_peak(peaks)
            ),
            "metrics": evaluation.key_point_metrics(
                dataset.test, evaluation.predict(network, dataset.test)[0], plan.seed
            ),
        }
    )
    return _candidate(plan, dataset, info, model, difference)


def _train_classes(dataset: Dataset, plan: Plan, spec: InputSpec, progress: Progress) -> Candidate:
    kind = ModelKind.CLASSIFIER
    recipe = fitting.Recipe(plan.epochs or EPOCHS[kind])
    network = fitting.fit(
        ClassNetwork, fitting.class_loss, dataset.train, recipe, plan.seed, _telling(kind, recipe, progress)
    )
    (logits,) = evaluation.predict(network, dataset.validation)
    temperature = calibration.fit_temperature(logits, dataset.validation.classes)
    served = export.Probabilities(network, temperature).eval()
    model = export.to_onnx(served, kind, spec.height, spec.width)
    difference = export.check_parity(model, served, kind, dataset.validation)
    (probabilities,) = evaluation.predict(served, dataset.validation)
    (tested,) = evaluation.predict(served, dataset.test)
    info = _info(kind, dataset, plan, spec).model_copy(
        update={
            "temperature": temperature,
            "set_probability": calibration.set_probability(probabilities, dataset.validation.classes),
            "limits": Limits(min_probability=calibration.MIN_PROBABILITY),
            "metrics": evaluation.class_metrics(dataset.test, tested.argmax(axis=1), plan.seed),
        }
    )
    return _candidate(plan, dataset, info, model, difference)


_TRAINERS = {ModelKind.KEYPOINTS: _train_key_points, ModelKind.CLASSIFIER: _train_classes}


def _info(kind: ModelKind, dataset: Dataset, plan: Plan, spec: InputSpec) -> BundleInfo:
    now = datetime.now(UTC)
    trained_on = digest(dataset.train.rows)
    return BundleInfo(
        kind=kind,
        input=spec,
        coverage=calibration.COVERAGE,
        training_dataset_digest=trained_on,
        test_dataset_digest=digest(dataset.test.rows),
        training_origins=tuple(sorted({row.origin for row in dataset.train.rows})),
        training_run=f"{now:%Y%m%dT%H%M%SZ}-{trained_on[:8]}-seed-{plan.seed}",
        create_time=now,
    )


def _candidate(plan: Plan, dataset: Dataset, info: BundleInfo, model: bytes, difference: float) -> Candidate:
    name = plan.name_of(info.kind)
    counts = {one: len(getattr(dataset, one)) for one in SPLITS}
    return Candidate(name, info, model, export.card(name, info, counts, difference))


def _telling(kind: ModelKind, recipe: fitting.Recipe, progress: Progress) -> Callable[[int, float], None]:
    def epoch_done(epoch: int, loss: float) -> None:
        progress(f"Fitting {kind}, loss {loss:.3f}", epoch, recipe.epochs)

    return epoch_done
