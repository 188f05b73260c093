"""The study's Table 3: sixteen networks, each cross-validated, then trained once and tested."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from canicor.bundle import Metric, ModelKind
from canicor.errors import InvalidArgument
from canicor.manifest import Row
from canicor.model_repository import ModelRepository
from training.dataset import Dataset, split
from training.evaluation import ask, class_metrics
from training.experiments import charts
from training.experiments.conditions import Answered, Conditions, accuracy
from training.experiments.report import Chart, Report, Table, in_percent, percent, surest_errors
from training.presets import Preset
from training.run import Plan, train
from training.zoo import STUDY_HIDDEN_LAYERS, TABLE_3, Backbone

CUSTOM = "custom"
"""EfficientNetB7 with the study's head."""

# Table 3 of the study: validation and test accuracy in percent.
_PAPER = {
    CUSTOM: (81.0, 80.25),
    "tf_efficientnet_b7": (74.5, 71.0),
    "inception_resnet_v2": (73.0, 34.0),
    "resnet50": (80.0, 41.0),
    "resnet101": (81.0, 43.0),
    "resnet152": (82.0, 44.0),
    "densenet121": (74.3, 31.0),
    "googlenet": (75.8, 34.4),
    "vgg16": (72.0, 38.0),
    "vgg19": (73.5, 39.0),
    "mobilenetv1_100": (75.0, 40.0),
    "mobilenetv2_100": (76.2, 41.5),
    "mobilenetv3_large_100": (77.0, 42.0),
    "alexnet": (69.0, 36.0),
    "squeezenet1_0": (70.5, 35.0),
    "legacy_xception": (78.0, 43.0),
}

ROWS = tuple(_PAPER)
"""The names of the table's rows."""


@dataclass(frozen=True)
class _Row:
    """A row of the table.

    Attributes:
        name: One of `ROWS`.
        validation: None where there were no folds.
        metrics: On the test split.
        test: What was said of each of its images.
        version: Of the model in the repository; empty where it was not pushed.
    """

    name: str
    validation: Metric | None
    metrics: dict[str, Metric]
    test: Answered
    version: str

    @property
    def label(self) -> str:
        return f"EfficientNetB7, {STUDY_HIDDEN_LAYERS} layers" if self.name == CUSTOM else TABLE_3[self.name]


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the rows of these names, all where there are none.

    Raises:
        InvalidArgument: There is no such row.
    """
    for name in names:
        if name not in ROWS:
            raise InvalidArgument(f"Table 3 has no {name!r}: give {', '.join(ROWS)}.", reason="UNKNOWN_BACKBONE")
    return tuple(names) or ROWS


def zoo(
    rows: Sequence[Row], conditions: Conditions, names: Sequence[str], repository: ModelRepository | None
) -> tuple[Report, Dataset]:
    """Fills in the table.

    Args:
        rows: Of a manifest.
        conditions: The network of the preset gives way to each row's.
        names: Of the rows, see `checked`.
        repository: Takes every model as `zoo-NAME`, under no alias; None where they are not kept.
    """
    filled = split(rows, conditions.seed)
    dataset = Dataset.load(filled, conditions.preset.spec, conditions.progress)
    table = [_row(name, filled, dataset, conditions, repository) for name in names]
    return _report(table, dataset, conditions), dataset


def _row(
    name: str,
    rows: Sequence[Row],
    dataset: Dataset,
    conditions: Conditions,
    repository: ModelRepository | None,
) -> _Row:
    own = replace(conditions, preset=_preset(name, conditions.preset))
    folded = dataset.train.joined(dataset.validation)
    validation = None
    if own.folds:
        held_out = own.cross_validate(name, folded, own.network)
        validation = accuracy(folded, held_out.classes, own.seed)
    found = own.journal.within(name).once("test", lambda: _trained(name, rows, dataset, own, repository))
    test = Answered.of(found)
    metrics = class_metrics(dataset.test, test.classes, test.confidence, own.seed)
    return _Row(name, validation, metrics, test, found["version"])


def _preset(name: str, preset: Preset) -> Preset:
    """Returns the preset with a row's network, frozen where the preset freezes and the network has stages."""
    model, layers = ("tf_efficientnet_b7", STUDY_HIDDEN_LAYERS) if name == CUSTOM else (name, 0)
    frozen = preset.frozen and Backbone(model).has_stages
    return replace(preset, model=model, hidden_layers=layers, frozen=frozen)


def _trained(
    name: str, rows: Sequence[Row], dataset: Dataset, conditions: Conditions, repository: ModelRepository | None
) -> dict[str, Any]:
    preset = conditions.preset
    plan = Plan(
        ModelKind.CLASSIFIER,
        f"zoo-{name}",
        preset.spec,
        preset.recipe,
        conditions.seed,
        backbone=preset.backbone,
    )
    candidate = train(rows, plan, conditions.progress)
    version = ""
    if repository:
        version = repository.push(
            plan.name, candidate.info, candidate.model, candidate.card, predictions=candidate.predictions
        )
    (answers,) = ask(candidate.model, ["probabilities"], dataset.test.pixels)
    answered = Answered(answers.argmax(axis=1), answers.max(axis=1).astype(np.float64))
    return answered.record() | {"version": version}


def _report(table: Sequence[_Row], dataset: Dataset, conditions: Conditions) -> Report:
    ranked = sorted(table, key=lambda row: row.validation.value if row.validation else 0.0, reverse=True)
    best, test = ranked[0], dataset.test
    lines = []
    for row in table:
        paper = _PAPER[row.name]
        validation = percent(row.validation) if row.validation else "none"
        lines.append([row.label, validation, percent(row.metrics["accuracy"]), *(f"{one:g}" for one in paper)])
    tested = [charts.Dot(row.label, in_percent(row.metrics["accuracy"]), _PAPER[row.name][1]) for row in table]
    shown = [Chart("Test accuracy", charts.intervals(tested, "test accuracy, %"), "Diamonds: the paper.")]
    validated = [
        charts.Dot(row.label, in_percent(row.validation), _PAPER[row.name][0]) for row in table if row.validation
    ]
    if validated:
        drawn = charts.intervals(validated, "validation accuracy, %")
        shown.append(Chart("Validation accuracy", drawn, "Diamonds: the paper."))
    right = best.test.classes == test.classes
    shown += [
        Chart(f"Confusion, {best.label}", charts.confusion(test.classes, best.test.classes), "Test split."),
        Chart(f"Reliability, {best.label}", charts.reliability(best.test.confidence, right), "Test split."),
    ]
    return Report(
        "Table 3: the zoo",
        _conclusion(best),
        [
            f"{len(table)} networks on {len(dataset.train)} images to train on, {len(dataset.validation)} to "
            f"validate and {len(test)} to test.",
            (
                f"Validation is {conditions.folds}-fold cross-validation over training and validation split, "
                "stratified by class, dogs undivided, with a new network for each fold; the test is of one "
                "network more, trained on the training split. The best is chosen by validation; it is the best of "
                f"{len(table)}, so its validation figure flatters it, and its test figure does not."
                if conditions.folds
                else "There was no cross-validation, so nothing chooses among them: the charts show the first row."
            ),
            "Of the paper's rows all but the first two lose 33 to 43 points from validation to test: that is what "
            "a leak between folds looks like. The paper gives no intervals; on 400 test images they are about 4 "
            "to 5 points either way.",
        ],
        {
            row.name: {
                "validation_accuracy": row.validation,
                "test": row.metrics,
                "paper": dict(zip(("validation", "test"), _PAPER[row.name], strict=True)),
                "version": row.version,
            }
            for row in table
        },
        [
            Table(
                "Accuracy in percent",
                ["network", "validation %", "test %", "paper, validation", "paper, test"],
                lines,
                "95 % intervals: percentile bootstrap over dogs.",
            )
        ],
        shown,
        surest_errors(test, best.test.classes, best.test.confidence),
    )


def _conclusion(best: _Row) -> str:
    tested = best.metrics["accuracy"]
    said = f"{100 * tested.value:.1f} % on the test split ({100 * tested.lower:.1f} to {100 * tested.upper:.1f})"
    if best.validation is None:
        return f"{best.label} reaches {said}; without folds, nothing was compared."
    drop = 100 * (best.validation.value - tested.value)
    return f"Chosen by validation, {best.label} reaches {said}, {drop:+.1f} points below its validation figure."
