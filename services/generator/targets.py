"""What one image shall show."""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import TypeAlias

import numpy as np

from canicor.generator.v1 import generator_pb2 as pb
from canicor.measurement.v1.measurement_pb2 import VhsRange
from canicor.messages import heart_size_from, heart_size_message
from canicor.phantom.heart import BANDS, HIGHEST_VHS, LOWEST_VHS, draw_vhs
from canicor.vhs import HeartSize

Target: TypeAlias = HeartSize | tuple[float, float] | None
"""A class; the lowest and highest VHS in vertebrae; or None for the population's own spread."""

TargetJson: TypeAlias = str | list[float] | None
"""A target as JSON: a class's name, a pair of numbers, or null."""


class Targets:
    """The target of each image of a batch: portion after portion, in the order they were asked for.

    Args:
        portions: Checked ones (`services.generator.plan`).
    """

    def __init__(self, portions: Iterable[pb.Portion]) -> None:
        portions = list(portions)
        self._ends = list(accumulate(portion.count for portion in portions))
        self._targets = [target_from(portion) for portion in portions]

    def of(self, index: int) -> Target:
        """Returns the target of the image at an index from 0 to the count of images - 1."""
        return self._targets[bisect_right(self._ends, index)]


def target_from(portion: pb.Portion) -> Target:
    """Reads the target of a checked portion."""
    match portion.WhichOneof("target"):
        case "heart_size":
            return heart_size_from(portion.heart_size)
        case "vhs_range":
            return portion.vhs_range.lower, portion.vhs_range.upper
    return None


def drawn_vhs(target: Target, seed: int, index: int, lowest: float, highest: float) -> float:
    """Returns the VHS of one image: evenly drawn from a range, else from the study's population.

    Args:
        target: What the image shall show; a range lies between the limits.
        seed: Of the batch.
        index: Of the image.
        lowest: The least that may be drawn, in vertebrae.
        highest: The most.
    """
    probability = float(np.random.default_rng([seed, index]).random())
    if isinstance(target, tuple):
        return target[0] + probability * (target[1] - target[0])
    low, high = BANDS[target] if target else (LOWEST_VHS, HIGHEST_VHS)
    return draw_vhs(probability, max(low, lowest), min(high, highest))


def show_target(image: pb.Image, target: Target) -> None:
    """Sets the target of an image's message."""
    if isinstance(target, HeartSize):
        image.heart_size = heart_size_message(target)
    elif target is not None:
        lower, upper = target
        image.vhs_range.CopyFrom(VhsRange(lower=lower, upper=upper))


def target_json(target: Target) -> TargetJson:
    """Returns a target as it is stored."""
    return list(target) if isinstance(target, tuple) else target


def target_from_json(stored: TargetJson) -> Target:
    """Reads a target as `target_json` gave it."""
    if isinstance(stored, list):
        lower, upper = stored
        return lower, upper
    return None if stored is None else HeartSize(stored)
