"""Parameters as fields of a frozen dataclass, each declared with the distribution it is drawn from."""

from collections.abc import Callable
from dataclasses import field, fields
from statistics import NormalDist
from typing import Any

import numpy as np

Quantile = Callable[[float], float]
"""Maps a probability in [0, 1) to a value."""


def truncated_normal(mean: float, sd: float, low: float, high: float) -> Quantile:
    """The quantile function of a normal distribution cut to [low, high]."""
    normal = NormalDist(mean, sd)
    below, above = normal.cdf(low), normal.cdf(high)
    return lambda probability: min(max(normal.inv_cdf(below + probability * (above - below)), low), high)


def normal(mean: float, sd: float, low: float, high: float) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A field drawn from a normal distribution cut to [low, high]."""
    return field(metadata={"quantile": truncated_normal(mean, sd, low, high)})


def uniform(low: float, high: float) -> Any:  # noqa: ANN401
    """A field drawn evenly from [low, high]."""
    return field(metadata={"quantile": lambda probability: low + probability * (high - low)})


def sometimes(share: float, low: float, high: float) -> Any:  # noqa: ANN401
    """A field that is 0 (absent) but in a share of draws, and then drawn evenly from [low, high]."""

    def quantile(probability: float) -> float:
        return low + probability / share * (high - low) if probability < share else 0.0

    return field(metadata={"quantile": quantile})


def draw_fields(kind: type[Any], rng: np.random.Generator) -> dict[str, float]:
    """Draws each field of `kind` that declares a distribution: one uniform number a field, in their order."""
    declared = [item for item in fields(kind) if "quantile" in item.metadata]
    return {
        item.name: float(item.metadata["quantile"](float(probability)))
        for item, probability in zip(declared, rng.random(len(declared)), strict=True)
    }
