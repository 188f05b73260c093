"""What may be asked of a phantom, and what is drawn where nothing is."""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import TypedDict, TypeVar

from canicor.errors import InvalidArgument
from canicor.phantom.breeds import SHARES, BreedType
from canicor.phantom.heart import BANDS, HIGHEST_VHS, LOWEST_VHS, draw_vhs
from canicor.vhs import HeartSize

Choice = TypeVar("Choice", bound=StrEnum)


class LateralView(StrEnum):
    """Which side lies on the table, as DICOM's View Position (0018,5101) calls it."""

    LEFT = "LL"
    RIGHT = "RL"


class Wishes(TypedDict, total=False):
    """What is not to be drawn; None is no wish. At most one of the first three.

    Attributes:
        vhs: The VHS, 4 to 20 vertebrae.
        heart_size: The class: VHS from the study population within it.
        vhs_range: The lowest and highest VHS, drawn evenly between.
        breed: How the dog is built.
        view: Which side lies on the table.
        fixed: Values of parameters, by the names that `Phantom.parameters` has.
    """

    vhs: float | None
    heart_size: HeartSize | None
    vhs_range: tuple[float, float] | None
    breed: BreedType | None
    view: LateralView | None
    fixed: Mapping[str, float] | None


def wished_vhs(wishes: Wishes, probability: float) -> float:
    """The VHS asked for, or at this probability in (0, 1) of what the wishes leave open.

    Raises:
        InvalidArgument: It is out of range, or there is more than one wish.
    """
    given = [name for name in ("vhs", "heart_size", "vhs_range") if wishes.get(name) is not None]
    if len(given) > 1:
        raise InvalidArgument(
            f"Give at most one of vhs, heart_size and vhs_range, not {' and '.join(given)}.",
            reason="CONFLICTING_VHS",
            field=given[1],
        )
    vhs, heart_size, vhs_range = wishes.get("vhs"), wishes.get("heart_size"), wishes.get("vhs_range")
    if vhs is not None:
        return _checked_vhs("vhs", vhs)
    if heart_size is not None:
        return draw_vhs(probability, *BANDS[_checked(HeartSize, "heart_size", heart_size)])
    if vhs_range is None:
        return draw_vhs(probability)
    low, high = (_checked_vhs("vhs_range", end) for end in vhs_range)
    if low >= high:
        raise InvalidArgument(
            f"A VHS range runs from low to high, not {low} to {high}.", reason="EMPTY_VHS_RANGE", field="vhs_range"
        )
    return low + probability * (high - low)


def wished_breed(wishes: Wishes, probability: float) -> BreedType:
    """The breed type asked for, or at this probability in (0, 1) of how often each comes.

    Raises:
        InvalidArgument: There is no such type.
    """
    breed = wishes.get("breed")
    if breed is not None:
        return _checked(BreedType, "breed", breed)
    for one, share in SHARES.items():
        probability -= share
        if probability < 0.0:
            return one
    return BreedType.AVERAGE


def wished_parameters(wishes: Wishes, known: set[str]) -> dict[str, float]:
    """The parameters that are not to be drawn, the view among them.

    Raises:
        InvalidArgument: One is not known, or no finite number; there is no such view.
    """
    fixed = dict(wishes.get("fixed") or {})
    for name, value in fixed.items():
        if name not in known:
            raise InvalidArgument(f"A phantom has no parameter {name}.", reason="UNKNOWN_PARAMETER", field="fixed")
        if not math.isfinite(value):
            raise InvalidArgument(
                f"The parameter {name} is a finite number, not {value}.", reason="NOT_FINITE", field="fixed"
            )
    view = wishes.get("view")
    if view is not None:
        fixed["right_lateral"] = _checked(LateralView, "view", view) is LateralView.RIGHT
    return {name: float(value) for name, value in fixed.items()}


def _checked_vhs(field: str, vhs: float) -> float:
    if not (math.isfinite(vhs) and LOWEST_VHS <= vhs <= HIGHEST_VHS):
        raise InvalidArgument(
            f"A VHS lies between {LOWEST_VHS:g} and {HIGHEST_VHS:g} vertebrae, not at {vhs}.",
            reason="VHS_OUT_OF_RANGE",
            field=field,
        )
    return float(vhs)


def _checked(kind: type[Choice], field: str, value: str) -> Choice:
    try:
        return kind(value)
    except ValueError as error:
        raise InvalidArgument(
            f"The {field} is one of {', '.join(kind)}, not {value}.",
            reason=f"UNKNOWN_{field.upper()}",
            field=field,
        ) from error
