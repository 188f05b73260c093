"""What a trial may choose, and how good its choice turns out on the validation split."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from scipy.special import log_softmax
from torch import nn

from canicor.bundle import ModelKind
from canicor.errors import FailedPrecondition
from canicor.manifest import Row, digest
from canicor.vhs import DegenerateKeyPoints
from training import calibration, evaluation, fitting
from training.dataset import Images, Progress
from training.network import KeyPointNetwork, mirrored
from training.run import Plan, class_network, load

FIGURES = {ModelKind.KEYPOINTS: "VHS error", ModelKind.CLASSIFIER: "log loss"}
"""What is measured on the validation split: vertebrae, and nats at the temperature that a bundle would have."""

STEPS = 10
"""Trials of different length are told apart after the same tenth of their runs: the learning rate stands alike."""

LOWER, UPPER = "lower", "upper"
"""User attributes of a trial: the 95 % interval of its figure."""

# About the defaults, which were set by hand, a decade and a half; the study's 1e-3 lies between.
_LEARNING_RATES = (3e-4, 1e-2)
_BATCH_SIZES = (8, 16, 32)
_MOST_AUGMENTATION = 1.5
_MOST_DROPOUT = 0.6
_MOST_HIDDEN_LAYERS = 7
"""The study's head."""


@dataclass(frozen=True)
class Search:
    """A model, and how far its hyper-parameters may go.

    Attributes:
        plan: The model; what a trial does not choose is as it is here.
        most_epochs: Passes that a trial may make.
        preset: The name of what the plan was made from; empty for key points.
    """

    plan: Plan
    most_epochs: int
    preset: str = ""

    def suggest(self, trial: optuna.Trial) -> Plan:
        """Returns the plan of a trial; each parameter bears the name of an option of `canicor train`."""
        trial.suggest_int("epochs", math.ceil(self.most_epochs / 4), self.most_epochs)
        trial.suggest_float("learning_rate", *_LEARNING_RATES, log=True)
        trial.suggest_categorical("batch_size", _BATCH_SIZES)
        plan = self.plan
        if plan.recipe.augmentation is fitting.Augmentation.ANATOMICAL:
            trial.suggest_float("augmentation_strength", 0.0, _MOST_AUGMENTATION, step=0.05)
        if plan.kind is ModelKind.CLASSIFIER:
            trial.suggest_float("dropout", 0.0, _MOST_DROPOUT, step=0.05)
            if plan.backbone:
                trial.suggest_int("hidden_layers", 0, _MOST_HIDDEN_LAYERS)
        chosen = parameters(trial)
        head = {name: chosen.pop(name) for name in ("dropout", "hidden_layers") if name in chosen}
        recipe = plan.recipe.tuned(**chosen)
        if plan.backbone:
            return replace(plan, recipe=recipe, backbone=replace(plan.backbone, **head))
        return replace(plan, recipe=recipe, **head)

    def subject(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Returns what makes figures comparable, by name: trials of another dataset or size belong elsewhere."""
        spec, backbone = self.plan.spec, self.plan.backbone
        return {
            "dataset": digest(rows),
            "origins": ", ".join(sorted({row.origin for row in rows})),
            "kind": self.plan.kind.value,
            "preset": self.preset,
            "model": backbone.name if backbone else "",
            "pretrained": backbone is not None and backbone.pretrained,
            "frozen": backbone is not None and backbone.frozen,
            "size": spec.width,
            "resize": spec.resize.value,
            "seed": self.plan.seed,
            "epochs": self.most_epochs,
        }


def parameters(trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
    """Returns what a trial chose, by the names of options, numbers with six digits: they are to be typed again."""
    return {name: float(f"{one:.6g}") if isinstance(one, float) else one for name, one in trial.params.items()}


@dataclass(frozen=True)
class Objective:
    """Fits what a trial chose on the training split and measures it on the validation split.

    Attributes:
        search: What a trial may choose.
        train: To learn from.
        validation: To be measured on.
    """

    search: Search
    train: Images
    validation: Images

    @classmethod
    def load(cls, rows: Sequence[Row], search: Search, progress: Progress) -> Self:
        """Loads a manifest's images; those of the test split are checked and left.

        Raises:
            CanicorError: The rows or an image are not fit to train on.
        """
        dataset = load(rows, search.plan, progress)
        return cls(search, dataset.train, dataset.validation)

    def __call__(self, trial: optuna.Trial) -> float:
        """Returns the figure, the lower the better.

        Raises:
            optuna.TrialPruned: It does worse than others did, or what it chose can't be learnt with.
        """
        plan = self.search.suggest(trial)
        try:
            values = self._values(self._fit(plan, trial))
        except (FailedPrecondition, DegenerateKeyPoints) as error:
            raise optuna.TrialPruned(error.message) from error
        metric = evaluation.mean_with_interval(values, evaluation.subjects_of(self.validation), plan.seed)
        trial.set_user_attr(LOWER, metric.lower)
        trial.set_user_attr(UPPER, metric.upper)
        return metric.value

    def _fit(self, plan: Plan, trial: optuna.Trial) -> nn.Module:
        network = _network(plan)
        # The loop makes its network itself, and tells of an epoch without it.
        made: list[nn.Module] = []

        def build() -> nn.Module:
            made.append(network())
            return made[-1]

        def epoch_done(epoch: int, _loss: float) -> None:
            step, before = (STEPS * one // plan.recipe.epochs for one in (epoch, epoch - 1))
            if step == before or epoch == plan.recipe.epochs:
                return
            # Of a copy, since batch normalisation would go on learning, or stop.
            trial.report(float(self._values(copy.deepcopy(made[-1]).cpu().eval()).mean()), step)
            if trial.should_prune():
                raise optuna.TrialPruned

        loss_of = _LOSSES[plan.kind]
        fitted: nn.Module = fitting.fit(build, loss_of, self.train, plan.recipe, plan.seed, epoch_done)
        return fitted

    def _values(self, network: nn.Module) -> NDArray[np.float64]:
        return _VALUES[self.search.plan.kind](network, self.validation)


def _network(plan: Plan) -> Callable[[], nn.Module]:
    return KeyPointNetwork if plan.kind is ModelKind.KEYPOINTS else partial(class_network, plan)


def _vhs_errors(network: nn.Module, images: Images) -> NDArray[np.float64]:
    """As served: by the mean of a radiograph and its mirror image."""
    points, _ = evaluation.predict(network, images.pixels)
    turned, _ = evaluation.predict(network, np.ascontiguousarray(images.pixels[..., ::-1]))
    back = mirrored(torch.from_numpy(turned), images.pixels.shape[-1]).numpy()
    return np.abs(images.vhs_of(0.5 * (points + back)) - evaluation.stated_vhs(images))


def _log_losses(network: nn.Module, images: Images) -> NDArray[np.float64]:
    (logits,) = evaluation.predict(network, images.pixels)
    temperature = calibration.fit_temperature(logits, images.classes)
    logarithms = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return np.asarray(-logarithms[np.arange(len(images)), images.classes])


_LOSSES: dict[ModelKind, fitting.Loss[Any]] = {
    ModelKind.KEYPOINTS: fitting.key_point_loss,
    ModelKind.CLASSIFIER: fitting.class_loss,
}
_VALUES = {ModelKind.KEYPOINTS: _vhs_errors, ModelKind.CLASSIFIER: _log_losses}
