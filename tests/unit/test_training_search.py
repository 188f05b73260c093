"""What a trial may choose, what becomes of a choice that can't be learnt with, and what is told of all of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import FixedTrial

from canicor.bundle import ModelKind
from canicor.errors import InvalidArgument
from tests.unit.test_training_evaluation import images as labelled
from tests.unit.test_training_fitting import bright_corners
from training.augmentation import Strength
from training.fitting import Augmentation, Recipe
from training.run import Plan, input_spec
from training.tuning.cluster import require_reach
from training.tuning.report import write_report
from training.tuning.search import LOWER, UPPER, Objective, Search, parameters
from training.tuning.study import SharedStudy
from training.zoo import Backbone

CHOSEN = {"epochs": 4, "learning_rate": 0.0012345678, "batch_size": 8, "augmentation_strength": 0.5}
HEAD = {"dropout": 0.15000000000000002, "hidden_layers": 2}


def search(kind: ModelKind, backbone: Backbone | None = None, size: int = 64) -> Search:
    return Search(Plan(kind, "", input_spec(size), Recipe(20), backbone=backbone), most_epochs=8)


def test_a_choice_becomes_what_its_options_would() -> None:
    recipe = Recipe(4, learning_rate=0.00123457, batch_size=8, strength=Strength().times(0.5))
    key_points = search(ModelKind.KEYPOINTS).suggest(FixedTrial(CHOSEN))
    assert key_points.recipe == recipe
    own = search(ModelKind.CLASSIFIER).suggest(FixedTrial(CHOSEN | HEAD))
    assert (own.recipe, own.dropout) == (recipe, 0.15)
    of_zoo = search(ModelKind.CLASSIFIER, Backbone("resnet50")).suggest(FixedTrial(CHOSEN | HEAD))
    assert of_zoo.recipe == recipe
    assert of_zoo.backbone == Backbone("resnet50", hidden_layers=2, dropout=0.15)


def test_each_kind_chooses_what_it_has() -> None:
    trial = FixedTrial(CHOSEN | HEAD)
    search(ModelKind.CLASSIFIER).suggest(trial)
    assert parameters(trial) == CHOSEN | {"learning_rate": 0.00123457, "dropout": 0.15}


def test_another_augmentation_has_no_strength_to_choose() -> None:
    plan = search(ModelKind.CLASSIFIER).plan
    randomly = replace(plan, recipe=replace(plan.recipe, augmentation=Augmentation.RAND_AUGMENT))
    trial = FixedTrial(CHOSEN | HEAD)
    Search(randomly, most_epochs=8).suggest(trial)
    assert "augmentation_strength" not in trial.params


def test_whatever_changes_the_figures_is_another_subject() -> None:
    rows = labelled([7.0, 9.0]).rows
    one = search(ModelKind.CLASSIFIER).subject(rows)
    others = [
        search(ModelKind.CLASSIFIER).subject(rows[:1]),
        search(ModelKind.KEYPOINTS).subject(rows),
        search(ModelKind.CLASSIFIER, size=96).subject(rows),
        search(ModelKind.CLASSIFIER, Backbone("resnet50")).subject(rows),
    ]
    assert search(ModelKind.CLASSIFIER).subject(rows) == one
    assert all(other != one for other in others)


def test_a_choice_that_ends_in_no_number_is_pruned_not_fatal() -> None:
    train = bright_corners(16)
    train.points[0] = np.nan
    objective = Objective(search(ModelKind.KEYPOINTS), train, labelled([7.0, 9.0, 11.0]))
    with pytest.raises(optuna.TrialPruned, match="no longer a number"):
        objective(FixedTrial(CHOSEN))


def study(trials: int) -> optuna.Study:
    """Figures that depend on the learning rate alone."""
    made = optuna.create_study(study_name="wards", sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        search(ModelKind.KEYPOINTS).suggest(trial)
        if trial.number == 1:
            raise optuna.TrialPruned
        value = trial.params["learning_rate"] * 100
        trial.set_user_attr(LOWER, value - 0.25)
        trial.set_user_attr(UPPER, value + 0.25)
        return value

    made.optimize(objective, n_trials=trials)
    return made


def test_the_report_says_what_was_found(tmp_path: Path) -> None:
    found, file = study(12), tmp_path / "reports" / "wards.html"
    write_report(
        file, found, ModelKind.KEYPOINTS, {"origins": "phantom", "model": ""}, "canicor train <keypoints>"
    )
    html = file.read_text()
    assert "Of 12 trials, 1 stopped early" in html
    assert f"interval {found.best_value - 0.25:.3f} to {found.best_value + 0.25:.3f}" in html
    assert "canicor train &lt;keypoints&gt;" in html
    assert "Tuned on phantoms" in html
    assert html.count('class="plotly-graph-div"') == 3


def test_the_importance_of_parameters_is_left_out_where_trials_are_few(tmp_path: Path) -> None:
    write_report(tmp_path / "wards.html", study(4), ModelKind.KEYPOINTS, {"origins": "real"}, "")
    html = (tmp_path / "wards.html").read_text()
    assert "What the figure depends on" not in html
    assert "Tuned on phantoms" not in html


def test_a_study_in_a_file_stays_on_one_machine() -> None:
    local, shared = (SharedStudy(url, "wards", 4, 0) for url in ("sqlite:///tuning.db", "postgresql://host/name"))
    require_reach(local, 1)
    require_reach(shared, 3)
    with pytest.raises(InvalidArgument, match="Ray has 3 machines and the study is a file on one"):
        require_reach(local, 3)
