"""The loop that fits any of the networks, and what each of them is fitted on."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from canicor.errors import FailedPrecondition
from canicor.vhs import VERTEBRAE_SPANNED
from training.augmentation import Chance, Strength, augment
from training.checkpoint import Checkpoint, State
from training.dataset import Images
from training.network import (
    HEART_POINTS,
    KeyPointNetwork,
    Reading,
    along_spine,
    decode,
    half_detail,
    in_half_detail,
    targets,
)
from training.patches import SPINE, Patches
from training.processes import Precision, accelerator, agree, reproducible, share
from training.rand_augment import rand_augment

Network = TypeVar("Network", bound=nn.Module)
Loss = Callable[[Network, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Network, images float32 [N, height, width], points [N, 6, 2], classes [N], seeds [N] -> one number.

By the seeds, which stay on the CPU, it draws what it draws for each image.
"""

# Of the coordinates' and the lengths' terms beside the heat maps': set by hand so that each ends at some tenths.
_POINTS_WEIGHT = 0.1
_VHS_WEIGHT = 10.0


# Of all steps, those in which the learning rate rises.
_RISE, _WARM_UP = 0.2, 0.05


class Schedule(StrEnum):
    """How the learning rate runs.

    `one-cycle` rises for a fifth of all steps and falls to none (Smith & Topin 2019). `cosine` rises for a
    twentieth and falls by half a cosine (Loshchilov & Hutter 2017). `plateau` is the notebook's: a tenth
    of what it was when the training loss has not fallen by 1e-4 for more than five epochs.
    """

    ONE_CYCLE = "one-cycle"
    COSINE = "cosine"
    PLATEAU = "plateau"


class Augmentation(StrEnum):
    """`training.augmentation`, or `training.rand_augment`, which is for class models alone."""

    ANATOMICAL = "anatomical"
    RAND_AUGMENT = "rand-augment"


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted: AdamW, and what the learning rate, the images and the weights go through.

    Attributes:
        epochs: Passes over the training images.
        learning_rate: The highest.
        batch_size: Images a step, of all processes together.
        weight_decay: Of AdamW.
        schedule: Of the learning rate.
        augmentation: Of the images.
        strength: Of the anatomical augmentation.
        averaging: What the moving average of the weights keeps of itself at a step, 0 to 1, once there were enough
            steps; without it, at 0, the last step's weights are those of the network.
        precision: What the network computes in.
    """

    epochs: int
    learning_rate: float = 3e-3
    batch_size: int = 16
    weight_decay: float = 0.01
    schedule: Schedule = Schedule.ONE_CYCLE
    augmentation: Augmentation = Augmentation.ANATOMICAL
    strength: Strength = field(default_factory=Strength)
    averaging: float = 0.0
    precision: Precision = Precision.NO

    def tuned(
        self,
        *,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        augmentation_strength: float | None = None,
    ) -> "Recipe":
        """Returns the same recipe but for what is given; the augmentation's strength as a factor of what it is."""
        given: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
        if augmentation_strength is not None:
            given["strength"] = self.strength.times(augmentation_strength)
        return replace(self, **{name: one for name, one in given.items() if one is not None})

    def changed(self, images: Tensor, points: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Augments each of uint8 images [N, height, width] by its own seed, int64 [N].

        Returns float32 images, and points, which are NaN where the augmentation loses them.
        """
        if self.augmentation is Augmentation.RAND_AUGMENT:
            return rand_augment(images, seeds), torch.full_like(points, math.nan)
        return augment(images, points, self.strength, seeds)

    def scheduled(self, optimizer: AdamW, steps: int) -> LRScheduler:
        """Returns the schedule, for so many steps an epoch."""
        if self.schedule is Schedule.PLATEAU:
            return ReduceLROnPlateau(optimizer, factor=0.1, patience=5, threshold=1e-4, threshold_mode="abs")
        if self.schedule is Schedule.COSINE:
            total = self.epochs * steps
            warm_up = max(1, round(_WARM_UP * total))
            return LambdaLR(
                optimizer,
                lambda step: min(
                    (step + 1) / warm_up,
                    0.5 + 0.5 * math.cos(math.pi * max(step - warm_up, 0) / max(total - warm_up, 1)),
                ),
            )
        total = self.epochs * steps
        # PyTorch divides by nothing where the rise is one step.
        rise = _RISE if _RISE * total != 1 else 2 / total
        return OneCycleLR(optimizer, self.learning_rate, total_steps=total, pct_start=rise)

    def averaged(self, network: nn.Module) -> AveragedModel | None:
        """Returns the moving average of weights and buffers, where there is to be one."""
        return moving_average(network, self.averaging) if self.averaging else None


def moving_average(network: nn.Module, averaging: float) -> AveragedModel:
    """Returns a moving average of weights and buffers that keeps `averaging` of itself at a step.

    At first it keeps less, (1 + n) / (10 + n) after n steps, as TensorFlow's ExponentialMovingAverage does: or a
    short run would end near the weights it began with.
    """

    def mean(kept: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        share = min(averaging, (1 + int(count)) / (10 + int(count)))
        return share * kept + (1 - share) * new

    return AveragedModel(network, avg_fn=mean, use_buffers=True)


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

    Each of several processes takes its part of every batch. All draw the seeds of the whole of it, so that chance
    goes the same way in each, however many there are.

    Args:
        build: Makes the network; parameters that ask for no gradient stay as they are.
        loss_of: What is minimised.
        images: To train on.
        recipe: How.
        seed: Of the weights, the order and the augmentation.
        epoch_done: Told the number of epochs done and the last one's mean loss.
        checkpoint: Where the run takes up what an earlier one left, and what it leaves after each epoch.

    Returns:
        The network, ready for inference, on the CPU.

    Raises:
        FailedPrecondition: The loss is no longer a number, or processes see different checkpoints.
        InvalidArgument: This machine can't compute in the recipe's precision, or has too many processes.
        DataLoss, InvalidArgument, ResourceExhausted: As `Checkpoint`.
    """
    ours = accelerator(recipe.precision)
    # CUDA has no such algorithm for some of the layers.
    reproducible(on_cpu=ours.device.type == "cpu")
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    network = build().to(memory_format=torch.channels_last).train()
    steps = math.ceil(len(images) / recipe.batch_size)
    learning = [one for one in network.parameters() if one.requires_grad]
    optimizer = AdamW(learning, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    objective, stepper = ours.prepare(_Objective(network, loss_of), optimizer)
    schedule, average = recipe.scheduled(optimizer, steps), recipe.averaged(network)
    pixels, points, classes = (torch.from_numpy(one) for one in (images.pixels, images.points, images.classes))
    state = State(network, optimizer, schedule, generator, average)
    done = checkpoint.resume(state) if checkpoint else 0
    agree(done, ours)
    for epoch in range(done + 1, recipe.epochs + 1):
        losses = []
        # Parts of nearly equal size: batch normalisation cannot work on a rest of one.
        for batch in torch.randperm(len(images), generator=generator).tensor_split(steps):
            seeds = torch.randint(2**62, (len(batch),), generator=generator)
            part, own_seeds = share(batch, ours), share(seeds, ours)
            changed, moved = recipe.changed(pixels[part], points[part], own_seeds)
            # Other seeds than the augmentation's: what the loss draws would follow from what that drew.
            loss = objective(*(one.to(ours.device) for one in (changed, moved, classes[part])), own_seeds + 1)
            stepper.zero_grad()
            ours.backward(loss)
            ours.clip_grad_norm_(learning, 5.0)
            stepper.step()
            if average:
                average.update_parameters(network)
            if not isinstance(schedule, ReduceLROnPlateau):
                schedule.step()
            losses.append(ours.reduce(loss.detach(), "mean").item())
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(float(np.mean(losses)))
        if not math.isfinite(sum(losses)):
            raise FailedPrecondition("The loss is no longer a number: train with another seed.", reason="DIVERGED")
        if checkpoint and ours.is_main_process:
            checkpoint.save(state, epoch)
        epoch_done(epoch, float(np.mean(losses)))
    if average:
        network.load_state_dict(average.module.state_dict())
    return network.cpu().eval()


class _Objective(nn.Module):
    """The loss as a module: what is shared between processes, and computed in fewer bits, is its `forward`."""

    def __init__(self, network: Network, loss_of: Loss[Network]) -> None:
        super().__init__()
        self.network = network
        self.loss_of = loss_of

    def forward(self, images: Tensor, points: Tensor, classes: Tensor, seeds: Tensor) -> Tensor:
        return self.loss_of(self.network, images, points, classes, seeds)


def key_point_loss(
    network: KeyPointNetwork, images: Tensor, points: Tensor, _classes: Tensor, seeds: Tensor
) -> Tensor:
    """Of the first look and of both closer ones, on patches that the true E and F lay out, somewhat askew."""
    patches = Patches.about(points[:, HEART_POINTS:]).askew(Chance(seeds))
    cut, inside = patches.cut(images), patches.to_patches(points)
    return (
        _spine_loss(network.first(half_detail(images)), in_half_detail(points))
        + _points_loss(network.heart(cut), inside[:, :HEART_POINTS])
        + _spine_loss(network.spine(cut[:, :SPINE]), inside[:, HEART_POINTS:])
    )


def _points_loss(logits: Tensor, points: Tensor) -> Tensor:
    """Heat maps against their targets, points against points, and the lengths that make VHS against theirs.

    A length is measured along the true line, so that a line found the wrong way round is as wrong as it is long:
    by its own length it would be right, and the way back would be barred.
    """
    wanted = targets(points, *logits.shape[-2:])
    heat = -(wanted * logits.flatten(-2).log_softmax(-1).reshape(logits.shape)).sum((-1, -2)).mean()
    found = decode(logits)
    line, found_line = (one[:, 1::2] - one[:, 0::2] for one in (points, found))
    length = (found_line * line).sum(-1) / line.square().sum(-1).clamp(min=1.0)
    distance = F.smooth_l1_loss(found, points)
    return heat + _POINTS_WEIGHT * distance + _VHS_WEIGHT * F.l1_loss(length, torch.ones_like(length))


def _spine_loss(reading: Reading, points: Tensor) -> Tensor:
    """As `_points_loss`, and the ruler from each cell along the spine.

    There the negative logarithm of a Laplace distribution lets the network say how sure it is.
    """
    logits, length, spread = reading
    ends = points[:, -2:]
    vertebra = (ends[:, 1] - ends[:, 0]).norm(dim=-1).clamp(min=1.0) / VERTEBRAE_SPANNED
    seen = along_spine(ends, *length.shape[-2:], reach=2.0)
    off = (length - vertebra.log()[:, None, None]).abs() * torch.exp(-spread) + spread
    ruler: Tensor = (off * seen).sum() / seen.sum().clamp(min=1.0)
    return _points_loss(logits, points) + ruler


def class_loss(network: nn.Module, images: Tensor, _points: Tensor, classes: Tensor, _seeds: Tensor) -> Tensor:
    """Cross-entropy with a little label smoothing: a label near a threshold is a matter of the reader."""
    return F.cross_entropy(network(images).float(), classes, label_smoothing=0.05)
