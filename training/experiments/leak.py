"""Whether cross-validation leaks: with labels that mean nothing, whatever it finds beyond chance is a leak.

The study's notebook carried one network from fold to fold, so later folds were validated on images that it had
learnt. Here both ways are tried on the same images.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from canicor.bundle import Metric
from canicor.manifest import Row
from canicor.vhs import HEART_SIZES
from training.augmentation import Strength
from training.cross_validation import HeldOut, cross_validate
from training.dataset import Images, counting, split, subject
from training.experiments import charts
from training.experiments.conditions import Conditions, accuracy
from training.experiments.report import Chart, Report, Table, in_percent, percent
from training.fitting import Augmentation, Recipe, Schedule, class_loss

EPOCHS = 20
"""Enough for the small network to learn some hundred images by heart."""

CHANCE = 1 / len(HEART_SIZES)

_STILL = Strength(rotation=0, scale=1, shift=0, gamma=1, contrast=0, brightness=0, noise=0, blur=0)


def by_heart(recipe: Recipe, epochs: int) -> Recipe:
    """Returns a recipe by which labels without meaning are learnt: unchanged images, and a rate that stays.

    A rate that falls to none and rises again for the next fold would make the network forget the last one.
    """
    return replace(
        recipe,
        epochs=epochs,
        learning_rate=1e-3,
        schedule=Schedule.PLATEAU,
        augmentation=Augmentation.ANATOMICAL,
        strength=_STILL,
        averaging=0.0,
    )


def load(rows: Sequence[Row], conditions: Conditions) -> Images:
    """Reads the images of training and validation split and deals them labels at random, in equal parts.

    A dog's images have one label. Key points are left out, or they would tell.
    """
    known = [row for row in split(rows, conditions.seed) if row.split != "test"]
    loaded = counting(conditions.progress, "Reading images", len(known))
    images = Images.load(known, conditions.preset.spec, loaded)
    dogs, dog = np.unique([subject(row) for row in known], return_inverse=True)
    dealt = np.random.default_rng(conditions.seed).permutation(np.arange(len(dogs)) % len(HEART_SIZES))
    return replace(images, classes=dealt[dog], points=np.full_like(images.points, np.nan))


def leak(images: Images, conditions: Conditions) -> Report:
    """Cross-validates with a network of its own for each fold, and with one carried from fold to fold.

    Args:
        images: With labels that mean nothing.
        conditions: With two folds at least.
    """
    fresh = conditions.cross_validate("a new network for each fold", images, conditions.network)
    carried = _carried(images, conditions)
    ways = {"a new network for each fold": fresh, "one network carried on": carried}
    rows, dots = [], []
    results: dict[str, Any] = {}
    for name, held_out in ways.items():
        right = accuracy(images, held_out.classes, conditions.seed)
        by_fold = [
            float((held_out.classes == images.classes)[held_out.fold == fold].mean())
            for fold in range(conditions.folds)
        ]
        rows.append([name, percent(right), *(f"{100 * one:.0f}" for one in by_fold)])
        dots.append(charts.Dot(name, in_percent(right)))
        results[name] = {"accuracy": right, "by_fold": by_fold, "losses": held_out.losses}
    losses = {f"carried, fold {number + 1}": one for number, one in enumerate(carried.losses[: charts.SERIES])}
    return Report(
        "Does cross-validation leak?",
        _conclusion(*(results[name]["accuracy"] for name in ways)),
        [
            f"{len(images)} images were dealt the labels {', '.join(HEART_SIZES)} at random, in equal parts. "
            "There is nothing to learn but by heart, so an honest cross-validation is right once in three times.",
            "The study's notebook carries one network object from fold to fold: from the second fold on it is "
            "asked about images whose labels it has learnt. Only the network differs between the two rows; folds, "
            "order and seed are the same.",
            "A score that a leak lifts in validation falls again on a test split that was never learnt, as in "
            "fourteen of the sixteen rows of the study's Table 3.",
        ],
        results,
        [
            Table(
                "Share said right, %",
                ["validated with", "all folds", *(f"fold {number + 1}" for number in range(conditions.folds))],
                rows,
                "95 % interval: percentile bootstrap over dogs. Chance is 33.3.",
            )
        ],
        [
            Chart("Both ways", charts.intervals(dots, "share right, %", at=100 * CHANCE), "The line is chance."),
            Chart(
                "Training loss",
                charts.curves(losses, "loss", "epoch"),
                "Of the network carried on: what it knows of a fold, it keeps.",
            ),
        ],
    )


def _carried(images: Images, conditions: Conditions) -> HeldOut:
    """Does it the notebook's way, from the first fold to the last at once: each hangs on the one before."""

    def work() -> dict[str, Any]:
        network = conditions.network()

        def epoch_done(fold: int, epoch: int, loss: float) -> None:
            conditions.told(f"carried on, fold {fold + 1} of {conditions.folds}")(epoch, loss)

        found = cross_validate(
            images,
            lambda: network,
            class_loss,
            conditions.preset.recipe,
            conditions.seed,
            epoch_done,
            conditions.folds,
        )
        return {
            "fold": found.fold.tolist(),
            "classes": found.classes.tolist(),
            "confidence": found.confidence.tolist(),
            "losses": found.losses,
        }

    kept = conditions.journal.once("carried", work)
    losses = tuple(map(tuple, kept["losses"]))
    return HeldOut(np.array(kept["fold"]), np.array(kept["classes"]), np.array(kept["confidence"]), losses)


def _conclusion(fresh: Metric, carried: Metric) -> str:
    honest = fresh.lower <= CHANCE <= fresh.upper
    leaks = carried.lower > CHANCE
    if honest and leaks:
        return (
            f"One network carried from fold to fold seems right {carried.value:.0%} of the time on labels that "
            f"mean nothing; a new network for each fold is right {fresh.value:.0%}, which is chance."
        )
    if not honest:
        return (
            f"A new network for each fold is right {fresh.value:.0%}, which is not chance: look for a leak here."
        )
    return (
        f"One network carried on is right {carried.value:.0%}, a new one for each fold {fresh.value:.0%}: too few "
        "epochs to learn by heart, so neither shows a leak."
    )
