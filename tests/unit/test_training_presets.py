"""Recipes do what they are named after, and presets give way to what is stated."""

import math
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from canicor.errors import InvalidArgument
from canicor.model_input import ResizeRule
from tests.unit.test_training_fitting import bright_corners, silent
from training.checkpoint import Checkpoint
from training.fitting import Augmentation, Recipe, Schedule, class_loss, fit
from training.network import ClassNetwork
from training.presets import PRESETS, preset
from training.rand_augment import rand_augment
from training.zoo import BACKBONES, Backbone

MODERN = Recipe(epochs=4, schedule=Schedule.COSINE, averaging=0.9, augmentation=Augmentation.RAND_AUGMENT)


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([one.flatten().float() for one in network.state_dict().values()])


def rates(recipe: Recipe, steps: int, losses: list[float]) -> list[float]:
    """The learning rate before each step; a plateau is told a loss for each."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], recipe.learning_rate)
    schedule = recipe.scheduled(optimizer, steps)
    seen = []
    for step in range(recipe.epochs * steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*losses[step : step + 1])
    return seen


def test_the_cosine_rises_for_a_twentieth_and_ends_at_nothing() -> None:
    seen = rates(Recipe(epochs=10, learning_rate=1.0, schedule=Schedule.COSINE), 10, [])
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert seen == [*sorted(seen[:5]), *sorted(seen[5:], reverse=True)]
    assert seen[52] == pytest.approx(0.5 + 0.5 * math.cos(math.pi * 47 / 95))
    assert seen[-1] < 0.001


@pytest.mark.parametrize("steps", range(2, 12))
def test_one_cycle_rises_and_falls_however_few_its_steps(steps: int) -> None:
    seen = rates(Recipe(epochs=1, learning_rate=1.0), steps, [])
    assert max(seen) <= 1.0
    assert 0 <= seen[-1] < 0.001


def test_the_plateau_is_the_notebooks() -> None:
    # It falls by 1e-4 at most after the third: five epochs are borne, the sixth is not.
    losses = [1.0, 0.9, 0.8, *[0.79995] * 9]
    seen = rates(Recipe(epochs=12, learning_rate=1.0, schedule=Schedule.PLATEAU), 1, losses)
    assert seen == pytest.approx([1.0] * 9 + [0.1] * 3)


def test_the_plateau_is_told_the_mean_loss_of_each_epoch(tmp_path: Path) -> None:
    left, losses = Checkpoint(tmp_path / "one.pt", "run"), []
    recipe = Recipe(epochs=3, schedule=Schedule.PLATEAU)
    fit(ClassNetwork, class_loss, bright_corners(20), recipe, 0, lambda _, loss: losses.append(loss), left)
    assert torch.load(left.file, weights_only=True)["schedule"]["best"] == min(losses)


def test_the_average_lies_between_first_and_last_weights_and_has_buffers() -> None:
    images = bright_corners(16)
    last = fit(ClassNetwork, class_loss, images, Recipe(epochs=6), 0, silent)
    mean = fit(ClassNetwork, class_loss, images, Recipe(epochs=6, averaging=0.9), 0, silent)
    moved = dict(mean.named_buffers())
    for name, one in last.named_buffers():
        if name.endswith("running_mean"):
            # From 0 towards what the images are like, and behind.
            assert moved[name].norm() < one.norm()
    assert not torch.equal(weights(last), weights(mean))


RESUMED = """
import os, sys
from pathlib import Path
from tests.unit.test_training_fitting import bright_corners
from tests.unit.test_training_presets import MODERN
from training.checkpoint import Checkpoint
from training.fitting import class_loss, fit
from training.network import ClassNetwork

def killed(epoch, loss):
    if epoch == 2:
        os.kill(os.getpid(), 9)

fit(ClassNetwork, class_loss, bright_corners(20), MODERN, 3, killed, Checkpoint(Path(sys.argv[1]), "run"))
"""


def test_a_killed_run_goes_on_with_its_average_and_its_augmentation(tmp_path: Path) -> None:
    left, images = Checkpoint(tmp_path / "one.pt", "run"), bright_corners(20)
    done = subprocess.run([sys.executable, "-c", RESUMED, str(left.file)], check=False)
    assert done.returncode == -signal.SIGKILL
    epochs: list[int] = []
    resumed = fit(ClassNetwork, class_loss, images, MODERN, 3, lambda epoch, _: epochs.append(epoch), left)
    assert epochs == [3, 4]
    assert torch.equal(weights(resumed), weights(fit(ClassNetwork, class_loss, images, MODERN, 3, silent)))


def test_rand_augment_draws_from_its_seeds_alone() -> None:
    images = torch.from_numpy(bright_corners(32).pixels)

    def drawn(seed: int) -> torch.Tensor:
        return rand_augment(images, seed + torch.arange(32))

    random.seed(1)
    np.random.seed(1)
    expected = random.getrandbits(32), np.random.random()
    random.seed(1)
    np.random.seed(1)
    first = drawn(0)
    assert (random.getrandbits(32), np.random.random()) == expected
    assert torch.equal(first, drawn(0))
    assert not torch.equal(first, drawn(1))
    assert (first.dtype, first.shape) == (torch.float32, images.shape)
    assert first.amin() >= 0
    assert first.amax() <= 255
    same = (first == images).flatten(1).all(1)
    assert not same.all()


def test_rand_augment_bears_every_magnitude() -> None:
    # Among so many, some draw a posterisation that would leave no bit.
    images = torch.zeros(3000, 8, 8, dtype=torch.uint8)
    assert rand_augment(images, torch.arange(3000)).shape == images.shape


def learning(backbone: Backbone) -> set[str]:
    return {name for name, one in backbone.build(64, 64).named_parameters() if one.requires_grad}


def test_a_frozen_backbone_learns_in_its_last_three_stages_conv_head_and_head() -> None:
    names = learning(Backbone("mobilenetv2_100", frozen=True))
    parts = {
        name.split(".")[2] if "blocks" not in name else name.split(".")[3]
        for name in names
        if "head.1" not in name
    }
    assert parts == {"4", "5", "6", "conv_head"}
    assert {"head.1.weight", "head.1.bias"} < names
    names = learning(Backbone("resnet50", frozen=True))
    assert {name.split(".")[2] for name in names if name.startswith("encoder")} == {"layer2", "layer3", "layer4"}


def test_frozen_weights_stay_and_the_others_learn() -> None:
    backbone, images = Backbone("tf_efficientnet_lite0", frozen=True), bright_corners(4)
    torch.manual_seed(0)
    before = backbone.build(64, 64)
    after = fit(lambda: backbone.build(64, 64), class_loss, images, Recipe(epochs=3), 0, silent)
    changed = {
        name
        for (name, one), other in zip(after.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed <= {name for name, one in after.named_parameters() if one.requires_grad}
    assert {"head.1.weight", "encoder.backbone.conv_head.weight"} < changed


@pytest.mark.parametrize("name", ["googlenet", "vgg16", "densenet121", "vit_small_patch16_224"])
def test_a_backbone_without_stages_is_not_frozen(name: str) -> None:
    with pytest.raises(
        InvalidArgument, match=f"{name} has no stages to freeze: give --no-frozen, or one of tf_eff"
    ):
        Backbone(name, frozen=True)


def test_every_preset_is_whole() -> None:
    assert set(PRESETS) == {"standard", "smoke", "notebook", "modern"}
    for one in PRESETS.values():
        assert one.spec.width == one.size
        assert one.backbone is None or one.backbone.name in BACKBONES
    notebook = preset("notebook")
    assert notebook.backbone == Backbone("tf_efficientnet_b7", 7, 0.5, pretrained=True, frozen=True)
    assert (notebook.spec.height, notebook.spec.width, notebook.spec.resize) == (600, 600, ResizeRule.STRETCH)
    assert preset("modern").spec.resize is ResizeRule.LETTERBOX
    assert preset("standard").recipe == Recipe(epochs=30)


def test_what_is_stated_wins_over_the_preset() -> None:
    changed = preset("notebook").changed(epochs=2, hidden_layers=0, pretrained=False, size=96, model=None)
    assert (changed.recipe.epochs, changed.hidden_layers, changed.pretrained, changed.size) == (2, 0, False, 96)
    assert changed.recipe.schedule is Schedule.PLATEAU
    assert changed.model == "tf_efficientnet_b7"


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="no preset 'best': give standard, smoke, notebook, modern"):
        preset("best")


@pytest.mark.parametrize("given", [{"hidden_layers": 7}, {"pretrained": True}, {"frozen": True}])
def test_what_is_a_backbones_is_not_dropped_for_want_of_one(given: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match="give --model too"):
        _ = preset("standard").changed(**given).backbone
