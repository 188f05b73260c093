"""Every rule of what may be asked for. A checked request holds no default that could change later."""

import math
from collections.abc import Iterable

from canicor.errors import InvalidArgument, NotFound
from canicor.generator.v1 import generator_pb2 as pb
from canicor.messages import heart_size_from
from canicor.pipeline_repository import Pipelines
from services.generator import backends
from services.generator.targets import target_from
from services.runtime.requests import checked_request_id

MOST_IMAGES = 1_000_000
"""Images in one batch."""

MOST_AT_ONCE = 16
"""Images in one `Generate`."""

MOST_PORTIONS = 1000
"""Portions of one batch: each answer about the batch repeats them all."""

LOWEST_VHS, HIGHEST_VHS = 4.0, 20.0
"""In vertebrae; hearts outside are not dogs'."""

SHORTEST_SIDE, LONGEST_SIDE = 64, 2048
"""Of an image, in pixels."""

HIGHEST_PRIORITY = 100
LONGEST_NAME = 200


def checked_batch(
    request: pb.CreateBatchRequest, default_backend: str, pipelines: Pipelines
) -> pb.CreateBatchRequest:
    """Returns a request for a batch with its defaults filled in.

    Args:
        request: As it came.
        default_backend: Where it names none.
        pipelines: What it may name.

    Raises:
        InvalidArgument: It can't be done as it stands; names the field.
    """
    checked_request_id(request.request_id)
    name = request.display_name
    if len(name) > LONGEST_NAME or not name.isprintable():
        message = f"A display_name has at most {LONGEST_NAME} characters, all printable."
        raise _wrong("display_name", message, "DISPLAY_NAME")
    if abs(request.priority) > HIGHEST_PRIORITY:
        raise _wrong(
            "priority",
            f"A priority lies between -{HIGHEST_PRIORITY} and {HIGHEST_PRIORITY}, not at {request.priority}.",
            "PRIORITY_OUT_OF_RANGE",
        )
    _check_portions(request)
    checked = pb.CreateBatchRequest()
    checked.CopyFrom(request)
    checked.options.CopyFrom(_checked_options(request.options, default_backend, pipelines, request.portions))
    return checked


def checked_few(request: pb.GenerateRequest, default_backend: str, pipelines: Pipelines) -> pb.GenerateRequest:
    """Returns a request for a few images with its defaults filled in. Arguments as of `checked_batch`.

    Raises:
        InvalidArgument: It can't be done as it stands; names the field.
    """
    _check_portion("portion", request.portion)
    if request.portion.count > MOST_AT_ONCE:
        raise _wrong(
            "portion.count",
            f"Generate makes 1 to {MOST_AT_ONCE} images, not {request.portion.count}: create a batch.",
            "TOO_MANY_IMAGES",
        )
    checked = pb.GenerateRequest()
    checked.CopyFrom(request)
    checked.options.CopyFrom(_checked_options(request.options, default_backend, pipelines, [request.portion]))
    return checked


def image_count(request: pb.CreateBatchRequest) -> int:
    """Returns how many images all portions ask for."""
    return sum(portion.count for portion in request.portions)


def checked_batch_id(batch_id: str) -> str:
    """Returns an id that a batch may have.

    Raises:
        NotFound: No batch has such an id.
    """
    if not (batch_id.isascii() and batch_id.isalnum()):
        raise no_such_batch()
    return batch_id


def no_such_batch() -> NotFound:
    """The error of an id that no batch has."""
    return NotFound("There is no batch with this id: ListBatches names them.", reason="NO_SUCH_BATCH")


def _check_portions(request: pb.CreateBatchRequest) -> None:
    if not request.portions:
        raise _wrong("portions", "A batch needs at least one portion with a count of 1 or more.", "NO_IMAGES")
    if len(request.portions) > MOST_PORTIONS:
        raise _wrong("portions", f"A batch has at most {MOST_PORTIONS} portions.", "TOO_MANY_PORTIONS")
    for place, portion in enumerate(request.portions):
        _check_portion(f"portions[{place}]", portion)
    if image_count(request) > MOST_IMAGES:
        raise _wrong(
            "portions",
            f"A batch has at most {MOST_IMAGES} images over all portions, not {image_count(request)}.",
            "TOO_MANY_IMAGES",
        )


def _check_portion(field: str, portion: pb.Portion) -> None:
    if portion.count < 1:
        raise _wrong(f"{field}.count", f"A count is 1 or more, not {portion.count}.", "NO_IMAGES")
    if portion.HasField("heart_size"):
        heart_size_from(portion.heart_size, f"{field}.heart_size")
    if not portion.HasField("vhs_range"):
        return
    lower, upper = portion.vhs_range.lower, portion.vhs_range.upper
    for name, vhs in (("lower", lower), ("upper", upper)):
        if math.isnan(vhs) or not LOWEST_VHS <= vhs <= HIGHEST_VHS:
            raise _wrong(
                f"{field}.vhs_range.{name}",
                f"A VHS lies between {LOWEST_VHS:g} and {HIGHEST_VHS:g} vertebrae, not at {vhs:g}.",
                "VHS_OUT_OF_RANGE",
            )
    if lower > upper:
        raise _wrong(
            f"{field}.vhs_range",
            f"A VHS range runs from lower to upper, not {lower:g} to {upper:g}.",
            "EMPTY_VHS_RANGE",
        )


def _checked_options(
    options: pb.GenerationOptions, default_backend: str, pipelines: Pipelines, portions: Iterable[pb.Portion]
) -> pb.GenerationOptions:
    checked = pb.GenerationOptions()
    checked.CopyFrom(options)
    checked.backend = options.backend or default_backend
    for field, side in (("width", options.width), ("height", options.height)):
        if side and not SHORTEST_SIDE <= side <= LONGEST_SIDE:
            raise _wrong(
                f"options.{field}",
                f"The {field} is {SHORTEST_SIDE} to {LONGEST_SIDE} pixels, or 0 for the default; not {side}.",
                "SIZE_OUT_OF_RANGE",
            )
    targets = [target_from(portion) for portion in portions]
    return backends.named(checked.backend, pipelines).checked(checked, targets)


def _wrong(field: str, message: str, reason: str) -> InvalidArgument:
    return InvalidArgument(message, reason=reason, field=field)
