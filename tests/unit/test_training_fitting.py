"""The loop learns, is repeatable, and stops where there is nothing left to learn with."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from canicor.errors import DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted
from training.augmentation import Chance, Strength
from training.checkpoint import Checkpoint
from training.dataset import Images
from training.fitting import Recipe, class_loss, fit, key_point_loss
from training.network import ClassNetwork, KeyPointNetwork


def silent(_epoch: int, _loss: float) -> None:
    pass


def bright_corners(count: int) -> Images:
    """Images [64, 64] of one bright square each, whose outline holds the six points."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((count, 64, 64), dtype=np.uint8)
    points = np.empty((count, 6, 2), dtype=np.float32)
    for image, six in zip(pixels, points, strict=True):
        left, top = rng.integers(8, 28, 2)
        image[top : top + 25, left : left + 25] = 200
        six[:] = np.add([[0, 0], [24, 24], [24, 0], [0, 24], [0, 12], [24, 12]], [left, top])
    return Images((), pixels, (), points, np.zeros(count, dtype=np.int64), np.zeros((count, 6)))


def test_points_are_found_on_images_never_seen() -> None:
    images = bright_corners(96)
    train = Images((), images.pixels[:80], (), images.points[:80], images.classes[:80], images.features[:80])
    losses: list[float] = []
    # 80 steps do not suffice for larger changes of size or for mirror images; lines would cover these squares.
    recipe = Recipe(epochs=16, strength=Strength(scale=1.2, mirrored=0, painted_over=0))
    network = fit(KeyPointNetwork, key_point_loss, train, recipe, 0, lambda _, loss: losses.append(loss))
    with torch.inference_mode():
        found = network(torch.from_numpy(images.pixels[80:])).key_points
    distance = np.linalg.norm(found.numpy() - images.points[80:], axis=-1).mean()
    # The mean position is 8 pixels off.
    assert distance < 3
    assert losses[-1] < 0.6 * losses[0]
    assert len(losses) == 16


def test_what_the_loss_draws_follows_nothing_that_the_augmentation_drew() -> None:
    """Where a patch lies would tell a network how far its image had been enlarged."""
    images = bright_corners(64)
    told: list[torch.Tensor] = []

    def seen(network: ClassNetwork, *batch: torch.Tensor) -> torch.Tensor:
        _, points, _, seeds = batch
        enlarged = (points[:, 1] - points[:, 0]).norm(dim=-1).log()
        chance = Chance(seeds)
        told.append(torch.stack((enlarged, *(chance.either_way(1.0) for _ in range(4)))))
        return class_loss(network, *batch)

    fit(ClassNetwork, seen, images, Recipe(epochs=6), 0, silent)
    enlarged, *drawn = torch.cat(told, dim=1)
    # Of 384, 0.2 is four standard deviations.
    assert all(abs(torch.corrcoef(torch.stack((enlarged, one)))[0, 1]) < 0.2 for one in drawn)


def test_the_seed_alone_decides() -> None:
    images = bright_corners(16)

    def weights(seed: int) -> torch.Tensor:
        network = fit(KeyPointNetwork, key_point_loss, images, Recipe(epochs=1), seed, silent)
        return torch.cat([one.flatten() for one in network.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


RESUMED = """
import os, sys
from pathlib import Path
from tests.unit.test_training_fitting import bright_corners
from training.checkpoint import Checkpoint
from training.fitting import Recipe, class_loss, fit
from training.network import ClassNetwork

def killed(epoch, loss):
    if epoch == 2:
        os.kill(os.getpid(), 9)

left = Checkpoint(Path(sys.argv[1]), "run")
fit(ClassNetwork, class_loss, bright_corners(40), Recipe(epochs=4), 3, killed, left)
"""


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    """The class network has dropout: torch's own random numbers go on, too."""
    left, images, recipe = Checkpoint(tmp_path / "runs" / "one.pt", "run"), bright_corners(40), Recipe(epochs=4)
    done = subprocess.run([sys.executable, "-c", RESUMED, str(left.file)], check=False)
    assert done.returncode == -signal.SIGKILL
    epochs: list[int] = []

    def run(checkpoint: Checkpoint | None) -> torch.Tensor:
        network = fit(
            ClassNetwork, class_loss, images, recipe, 3, lambda epoch, _: epochs.append(epoch), checkpoint
        )
        return torch.cat([one.flatten().float() for one in network.state_dict().values()])

    resumed, finished, whole = run(left), run(left), run(None)
    assert epochs == [3, 4, 1, 2, 3, 4]
    assert torch.equal(resumed, whole)
    assert torch.equal(finished, whole)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    images, recipe = bright_corners(16), Recipe(epochs=1)
    fit(ClassNetwork, class_loss, images, recipe, 0, silent, Checkpoint(tmp_path / "one.pt", "one"))
    with pytest.raises(InvalidArgument, match="another run"):
        fit(ClassNetwork, class_loss, images, recipe, 0, silent, Checkpoint(tmp_path / "one.pt", "other"))
    whole = (tmp_path / "one.pt").read_bytes()
    for content in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(DataLoss, match="can't be read"):
            fit(ClassNetwork, class_loss, images, recipe, 0, silent, Checkpoint(tmp_path / "bad.pt", "one"))


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    full = tmp_path / "full.pt"
    full.with_suffix(".part").symlink_to("/dev/full")
    with pytest.raises(ResourceExhausted, match=r"full\.pt can't be written"):
        fit(ClassNetwork, class_loss, bright_corners(16), Recipe(epochs=1), 0, silent, Checkpoint(full, "one"))
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    images = bright_corners(16)
    images.points[0] = np.nan
    with pytest.raises(FailedPrecondition, match="no longer a number"):
        fit(KeyPointNetwork, key_point_loss, images, Recipe(epochs=2), 0, silent)
