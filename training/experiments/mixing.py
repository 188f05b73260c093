"""What generated images add to real ones: the study's Table 4, and in which share and order they are best used."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from canicor.errors import InvalidArgument
from canicor.manifest import Origin, Row
from canicor.vhs import HEART_SIZES
from training.checks import refuse
from training.comparison import Answers, Comparison, compare
from training.cross_validation import HeldOut
from training.dataset import Dataset, Images, split, subject
from training.evaluation import class_metrics
from training.experiments import charts
from training.experiments.conditions import Answered, Conditions, accuracy, taught
from training.experiments.report import Chart, Report, Table, in_percent, percent, points, surest_errors
from training.fitting import class_loss, fit

PER_REAL = (1, 2, 5)
"""Generated images per real one."""

SIGNIFICANT = 0.05

Classes = NDArray[np.int64]
"""Of images [N], as indices into `HEART_SIZES`."""

# Table 4 of the study, test accuracy in percent.
_PAPER_WITHOUT, _PAPER_WITH = 71.0, 80.25


@dataclass(frozen=True)
class Material:
    """Images of the kind that is to be recognised, and others to learn from.

    Attributes:
        real: In three splits; the only ones that a network is judged by.
        added: Generated images or phantoms.
        kind: What those to be recognised are called.
        note: What a reader must know of both; may be empty.
    """

    real: Dataset
    added: Images
    kind: str = "real"
    note: str = ""

    @property
    def folded(self) -> Images:
        """Those that cross-validation is done on: of the training and the validation split."""
        return self.real.train.joined(self.real.validation)


def by_origin(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Returns the real rows of a manifest, and the generated ones and phantoms that are free to learn from.

    Raises:
        InvalidArgument: There are none of either.
    """
    real = [row for row in rows if row.origin is Origin.REAL]
    added = [row for row in rows if row.origin is not Origin.REAL and row.split in {"", "train"}]
    refuse([] if real else ["there is no real image: only they can tell what generated ones are worth"])
    refuse([] if added else ["there is no generated image to train on"])
    return real, added


def load(
    real: Sequence[Row], added: Sequence[Row], conditions: Conditions, kind: str = "real", note: str = ""
) -> Material:
    """Reads all images, those of both kinds checked against each other; the rest as `Material` has it.

    Raises:
        InvalidArgument: As `training.dataset.split` and `Dataset.load`; or a dog is among both kinds.
    """
    dogs = {subject(row) for row in real}
    refuse([f"{row.image_url}: its dog is also among the {kind} images" for row in added if subject(row) in dogs])
    whole = [*split(real, conditions.seed), *(replace(row, split="train") for row in added)]
    dataset = Dataset.load(whole, conditions.preset.spec, conditions.progress)
    learnt = len(dataset.train) - len(added)
    train, others = dataset.train.at(range(learnt)), dataset.train.at(range(learnt, len(dataset.train)))
    return Material(replace(dataset, train=train), others, kind, note)


def matching(material: Material, per_real: int, seed: int) -> Images:
    """Returns so many added images of each class per real one to train on; larger numbers hold the smaller ones'.

    Raises:
        InvalidArgument: There are too few.
    """
    chosen: list[int] = []
    for index, name in enumerate(HEART_SIZES):
        wanted = per_real * int((material.real.train.classes == index).sum())
        members = np.flatnonzero(material.added.classes == index)
        if len(members) < wanted:
            raise InvalidArgument(
                f"There are {len(members)} generated {name} hearts: {per_real} per real one takes {wanted}.",
                reason="TOO_FEW_GENERATED",
            )
        order = np.random.default_rng([seed, index]).permutation(members)
        chosen += order[:wanted].tolist()
    return material.added.at(sorted(chosen))


@dataclass(frozen=True)
class Arm:
    """One way to use the added images.

    Attributes:
        name: In journal and report.
        build: Makes the network, pretrained where it is to be.
        generated: How many of the added images it learns from.
        added: Those that are mixed in with the real ones.
    """

    name: str
    build: Callable[[], nn.Module]
    generated: int = 0
    added: Images | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of an arm: on the test split, and in cross-validation where there were folds."""

    arm: Arm
    test: Answered
    held_out: HeldOut | None


def table_4(material: Material, conditions: Conditions) -> Report:
    """The study's Table 4: the same network without generated images and with them all."""
    arms = [
        Arm("without generated images", conditions.network),
        Arm("with generated images", conditions.network, len(material.added), material.added),
    ]
    paper = {arms[0].name: _PAPER_WITHOUT, arms[1].name: _PAPER_WITH}
    report = _report("Table 4", _outcomes(material, conditions, arms), material, conditions, paper)
    stated = (
        f"The study's Table 4 states {_PAPER_WITHOUT:g} % without and {_PAPER_WITH:g} % with generated images, "
        "and no intervals: on 400 test images they are about 4 points either way."
    )
    return replace(report, explanation=[*report.explanation, stated])


def generated_vs_real(material: Material, conditions: Conditions, per_real: Sequence[int]) -> Report:
    """No added images, and so many for each real one: mixed in, and learnt from before the real ones.

    Raises:
        InvalidArgument: There are too few.
    """
    arms = [Arm(f"{material.kind} alone", conditions.network)]
    for count in per_real:
        added = matching(material, count, conditions.seed)
        arms.append(Arm(f"{count} to 1, mixed in", conditions.network, len(added), added))
        arms.append(Arm(f"{count} to 1, before", partial(_pretrained, conditions, added), len(added)))
    outcomes = _outcomes(material, conditions, arms)
    return _report("Generated images against real ones", outcomes, material, conditions, {})


def _pretrained(conditions: Conditions, added: Images) -> nn.Module:
    told = conditions.told(f"Learning from {len(added)} generated images first")
    return fit(conditions.network, class_loss, added, conditions.preset.recipe, conditions.seed, told)


def _outcomes(material: Material, conditions: Conditions, arms: Sequence[Arm]) -> list[Outcome]:
    outcomes = []
    for arm in arms:
        held_out = None
        if conditions.folds:
            held_out = conditions.cross_validate(arm.name, material.folded, arm.build, arm.added)
        train = material.real.train
        learnt = train.joined(arm.added) if arm.added else train
        outcomes.append(
            Outcome(arm, taught(conditions, arm.name, learnt, material.real.test, arm.build), held_out)
        )
    return outcomes


def _report(
    title: str,
    outcomes: Sequence[Outcome],
    material: Material,
    conditions: Conditions,
    paper: dict[str, float],
) -> Report:
    first, *others = outcomes
    test, folded, seed = material.real.test, material.folded, conditions.seed
    on_test = {one.arm.name: _held_to(one.test.classes, first.test.classes, test, seed) for one in others}
    in_folds = {
        one.arm.name: _held_to(one.held_out.classes, first.held_out.classes, folded, seed)
        for one in others
        if one.held_out and first.held_out
    }
    rows, dots, results = [], [], {}
    for one in outcomes:
        name = one.arm.name
        right = accuracy(test, one.test.classes, seed)
        dots.append(charts.Dot(name, in_percent(right), paper.get(name)))
        validated = accuracy(folded, one.held_out.classes, seed) if one.held_out else None
        found: dict[str, Any] = {
            "generated_images": one.arm.generated,
            "test": class_metrics(test, one.test.classes, one.test.confidence, seed),
            "validation_accuracy": validated,
        }
        row = [name, percent(right), *_difference(on_test.get(name))]
        if validated:
            row += [percent(validated), *_difference(in_folds.get(name))]
        rows.append(row + ([f"{paper[name]:g}"] if paper else []))
        if name in on_test:
            found["difference_on_test"] = asdict(on_test[name])
            found["difference_in_folds"] = asdict(in_folds[name]) if in_folds else None
        results[name] = found
    columns = ["trained on", "test %", "difference", "p"]
    if conditions.folds:
        columns += ["validation %", "difference", "p"]
    comparisons = charts.intervals(
        [charts.Dot(name, in_percent(one.accuracy)) for name, one in on_test.items()],
        f"difference to {first.arm.name} on the test split, percentage points",
        at=0.0,
    )
    last = outcomes[-1].test
    shown = [
        Chart("Difference", comparisons, "Paired over the same test images; right of the line is better."),
        Chart(
            "Test accuracy", charts.intervals(dots, "test accuracy, %"), "Diamonds: the paper." if paper else ""
        ),
        Chart(
            "Training loss",
            charts.curves({one.arm.name: one.test.losses for one in outcomes}, "loss", "epoch"),
            "Of the networks that were tested.",
        ),
    ]
    for one in (first, outcomes[-1]):
        drawn = charts.confusion(test.classes, one.test.classes)
        shown.append(Chart(f"Confusion, {one.arm.name}", drawn, "Labels down, answers across, on the test split."))
        right_ones = one.test.classes == test.classes
        drawn = charts.reliability(one.test.confidence, right_ones)
        shown.append(Chart(f"Reliability, {one.arm.name}", drawn, "Over each bar, its images."))
    return Report(
        title,
        _conclusion(on_test, len(test)),
        _explanation(material, conditions, len(on_test)),
        results,
        [
            Table(
                "Accuracy on images that are not generated",
                [*columns, "paper, test %"] if paper else columns,
                rows,
                "95 % intervals: percentile bootstrap over dogs. Differences in percentage points to the first "
                "row, on the same images; p of McNemar's exact test.",
            )
        ],
        shown,
        surest_errors(test, last.classes, last.confidence),
    )


def _held_to(one: Classes, other: Classes, images: Images, seed: int) -> Comparison:
    nothing = np.full(len(images), np.nan)
    return compare(
        Answers(one == images.classes, nothing), Answers(other == images.classes, nothing), images, seed
    )


def _difference(found: Comparison | None) -> list[str]:
    return [points(found.accuracy), f"{found.p:.3g}"] if found else ["", ""]


def _conclusion(found: dict[str, Comparison], images: int) -> str:
    """Says what is beyond chance, each p held to its share of `SIGNIFICANT` (Bonferroni)."""
    limit = SIGNIFICANT / len(found)
    telling = {name: one for name, one in found.items() if one.p < limit}
    if not telling:
        name, one = max(found.items(), key=lambda item: item[1].accuracy.value)
        return (
            f"Generated images changed nothing that {images} test images could show: at best, {name}, "
            f"{points(one.accuracy)} percentage points."
        )
    name, one = max(telling.items(), key=lambda item: abs(item[1].accuracy.value))
    way = "better" if one.accuracy.value > 0 else "worse"
    gained = points(one.accuracy)
    return f"Generated images made the model {way}, {name}: {gained} percentage points on the test split."


def _explanation(material: Material, conditions: Conditions, comparisons: int) -> list[str]:
    real = material.real
    return [
        *([material.note] if material.note else []),
        f"The same network, recipe, seed and folds each time. {len(real.train)} images to train on, "
        f"{len(real.validation)} to validate and {len(real.test)} to test; up to {len(material.added)} generated "
        "ones to train on beside. Generated images are never tested on. Epochs are the same, so more images are "
        "more steps: part of a difference may be longer training.",
        (
            f"Validation is {conditions.folds}-fold cross-validation over training and validation split, dogs "
            "undivided, a new network for each fold. A generator that was trained on these images has seen "
            "those of every fold: then the test split alone can be believed."
            if conditions.folds
            else "There was no cross-validation."
        ),
        f"With {comparisons} comparisons, a p below {SIGNIFICANT / comparisons:.3g} is called more than chance "
        "(Bonferroni). One seed says nothing of how far another would lie.",
    ]
