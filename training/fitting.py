"""The loop that fits any of the networks, and what each of them is fitted on."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from canicor.errors import FailedPrecondition
from canicor.vhs import VERTEBRAE_SPANNED
from training.augmentation import Strength, augment
from training.checkpoint import Checkpoint, State
from training.dataset import Images
from training.network import KeyPointNetwork, along_spine, decode, targets

Network = TypeVar("Network", bound=nn.Module)
Loss = Callable[[Network, Tensor, Tensor, Tensor], Tensor]
"""Network, images float32 [N, height, width], points [N, 6, 2] and classes [N] -> one number."""

# Of the coordinates' and the lengths' terms beside the heat maps': set by hand so that each ends at some tenths.
_POINTS_WEIGHT = 0.1
_VHS_WEIGHT = 10.0


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted: AdamW and one cycle of the learning rate, which ends at none.

    Attributes:
        epochs: Passes over the training images.
        learning_rate: At the cycle's height.
        batch_size: Images a step.
        weight_decay: Of AdamW.
        strength: Of the augmentation.
    """

    epochs: int
    learning_rate: float = 3e-3
    batch_size: int = 16
    weight_decay: float = 0.01
    strength: Strength = field(default_factory=Strength)


def fit(
    build: Callable[[], Network],
    loss_of: Loss[Network],
    images: Images,
    recipe: Recipe,
    seed: int,
    epoch_done: Callable[[int, float], None],
    checkpoint: Checkpoint | None = None,
) -> Network:
    """Fits a new network; on one CPU the same arguments give the same weights, with or without a crash between.

    Args:
        build: Makes the network.
        loss_of: What is minimised.
        images: To train on.
        recipe: How.
        seed: Of the weights, the order and the augmentation.
        epoch_done: Told the number of epochs done and the last one's mean loss.
        checkpoint: Where the run takes up what an earlier one left, and what it leaves after each epoch.

    Returns:
        The network, ready for inference.

    Raises:
        FailedPrecondition: The loss is no longer a number.
        DataLoss, InvalidArgument, ResourceExhausted: As `Checkpoint`.
    """
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    network = build().to(memory_format=torch.channels_last).train()
    steps = math.ceil(len(images) / recipe.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, epochs=recipe.epochs, steps_per_epoch=steps, pct_start=0.2
    )
    pixels, points, classes = (torch.from_numpy(one) for one in (images.pixels, images.points, images.classes))
    state = State(network, optimizer, schedule, generator)
    done = checkpoint.resume(state) if checkpoint else 0
    for epoch in range(done + 1, recipe.epochs + 1):
        losses = []
        # Parts of nearly equal size: batch normalisation cannot work on a rest of one.
        for batch in torch.randperm(len(images), generator=generator).tensor_split(steps):
            changed, moved = augment(pixels[batch], points[batch], recipe.strength, generator)
            loss = loss_of(network, changed, moved, classes[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if not math.isfinite(sum(losses)):
            raise FailedPrecondition("The loss is no longer a number: train with another seed.", reason="DIVERGED")
        if checkpoint:
            checkpoint.save(state, epoch)
        epoch_done(epoch, float(np.mean(losses)))
    return network.eval()


def key_point_loss(network: KeyPointNetwork, images: Tensor, points: Tensor, _classes: Tensor) -> Tensor:
    """Heat maps against their targets, points against points, and the lengths that make VHS against theirs.

    The ruler's is asked for twice: between E and F as found, and from each cell along the spine, where the
    negative logarithm of a Laplace distribution lets the network say how sure it is there.
    """
    logits, length, spread = network.read(network.encoder(images))
    wanted = targets(points, *logits.shape[-2:])
    heat = -(wanted * logits.flatten(-2).log_softmax(-1).reshape(logits.shape)).sum((-1, -2)).mean()
    found, lengths = decode(logits), _log_lengths(points)
    distance = F.smooth_l1_loss(found, points)
    between = F.l1_loss(_log_lengths(found), lengths)
    vertebra = lengths[:, 2, None, None] - math.log(VERTEBRAE_SPANNED)
    spine = along_spine(points, *length.shape[-2:], reach=2.0)
    ruler = (((length - vertebra).abs() * torch.exp(-spread) + spread) * spine).sum() / spine.sum()
    return heat + _POINTS_WEIGHT * distance + _VHS_WEIGHT * between + ruler


def class_loss(network: nn.Module, images: Tensor, _points: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy with a little label smoothing: a label near a threshold is a matter of the reader."""
    return F.cross_entropy(network(images), classes, label_smoothing=0.05)


def _log_lengths(points: Tensor) -> Tensor:
    """Returns the logarithms [N, 3] of the long axis, the short axis and the ruler of points [N, 6, 2]."""
    lines = points[:, 1::2] - points[:, 0::2]
    return 0.5 * torch.log(lines.square().sum(-1) + 1.0)
