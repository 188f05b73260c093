"""Parameters as fields of a frozen dataclass, each declared with the distribution it is drawn from."""

from collections.abc import Callable, Mapping
from dataclasses import field, fields
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

Part = TypeVar("Part")

Quantile = Callable[[float], float]
"""Maps a probability in (0, 1) to a value."""

_STANDARD = NormalDist()
_LEAST = 1e-9


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
        absent = 1.0 - share
        return low + (probability - absent) / share * (high - low) if probability > absent else 0.0

    return field(metadata={"quantile": quantile})


def asked_for() -> Any:  # noqa: ANN401
    """A field that is 0 unless a request fixes it."""
    return field(metadata={"quantile": lambda _: 0.0})


def names_of(kind: type[Any]) -> list[str]:
    """The fields of `kind` that declare a distribution."""
    return [item.name for item in fields(kind) if "quantile" in item.metadata]


def medians(kind: type[Any]) -> dict[str, float]:
    """The middle of the distribution of each field of `kind` that declares one, by name."""
    declared = (item for item in fields(kind) if "quantile" in item.metadata)
    return {item.name: float(item.metadata["quantile"](0.5)) for item in declared}


def drawn(
    kind: type[Part],
    rng: np.random.Generator,
    shifts: Mapping[str, float] = MappingProxyType({}),
    fixed: Mapping[str, float] = MappingProxyType({}),
) -> Part:
    """Draws a `kind` all of whose fields declare a distribution; see `draw_fields`."""
    return kind(**draw_fields(kind, rng, shifts, fixed))


def draw_fields(
    kind: type[Any], rng: np.random.Generator, shifts: Mapping[str, float], fixed: Mapping[str, float]
) -> dict[str, float]:
    """Draws each field of `kind` that declares a distribution: one uniform number a field, in their order.

    Args:
        kind: A dataclass.
        rng: Gives the numbers.
        shifts: By how many standard deviations of a normal quantile a field's draws are moved.
        fixed: Values that stand instead of what is drawn.
    """
    declared = [item for item in fields(kind) if "quantile" in item.metadata]
    drawn = {}
    for item, probability in zip(declared, rng.random(len(declared)), strict=True):
        score = _STANDARD.inv_cdf(min(max(float(probability), _LEAST), 1.0 - _LEAST))
        shifted = _STANDARD.cdf(score + shifts.get(item.name, 0.0))
        drawn[item.name] = float(fixed.get(item.name, item.metadata["quantile"](shifted)))
    return drawn
