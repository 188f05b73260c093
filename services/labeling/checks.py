"""The API's limits, each in one place: what passes here may be worked on."""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from canicor.errors import InvalidArgument, ResourceExhausted
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.measurement.v1 import measurement_pb2 as measurement
from canicor.messages import key_points_from
from canicor.vhs import KeyPoints
from services.labeling.tasks import MOST_LEASES
from services.runtime.requests import LONGEST_ID

MOST_IMAGES = 1000
MOST_BYTES = 64 * 2**20
LONGEST_COMMENT = 2000
SHORTEST_LEASE = timedelta(seconds=10)
LONGEST_LEASE = timedelta(hours=24)

LONGEST_GUIDELINES = 20_000
MOST_LABELS = 10
LARGEST_VHS = 20.0
MOST_GOLD = 0.5

_PROJECT = re.compile(r"[a-z0-9_-]{1,64}")

# google.protobuf.Duration's own range: 10,000 years.
_MOST_SECONDS = 315_576_000_000


def project(name: str) -> str:
    """Returns the name of a project."""
    if not _PROJECT.fullmatch(name):
        raise InvalidArgument(
            "A project's name must be 1 to 64 of a-z, 0-9, - and _.", reason="PROJECT_NAME", field="project"
        )
    return name


def deleted(request: pb.DeleteImagesRequest) -> tuple[Sequence[str], str]:
    """Returns the ids of images that are to be deleted, and the subject all of whose are."""
    if not request.image_ids and not request.subject_id:
        raise InvalidArgument("Name image_ids or a subject_id.", reason="NOTHING_NAMED", field="image_ids")
    if len(request.image_ids) > MOST_IMAGES:
        raise InvalidArgument(
            f"At most {MOST_IMAGES} images are deleted at once.", reason="TOO_MANY_IMAGES", field="image_ids"
        )
    for index, image_id in enumerate(request.image_ids):
        identifier(image_id, f"image_ids[{index}]")
    return request.image_ids, _storable(request.subject_id, "subject_id")


def whole_project(message: pb.Project) -> pb.Project:
    """Returns a project that may be kept."""
    project(message.name)
    if not 0 <= message.labels_per_image <= MOST_LABELS:
        raise InvalidArgument(
            f"labels_per_image must be 1 to {MOST_LABELS}, or 0 for 1.",
            reason="LABELS_PER_IMAGE",
            field="project.labels_per_image",
        )
    # Written so that a NaN is refused too.
    if not 0 <= message.max_disagreement <= LARGEST_VHS:
        raise InvalidArgument(
            f"max_disagreement must be above 0 and at most {LARGEST_VHS:g} vertebrae, or 0 for the usual.",
            reason="MAX_DISAGREEMENT",
            field="project.max_disagreement",
        )
    if not 0 <= message.gold_share <= MOST_GOLD:
        raise InvalidArgument(
            f"gold_share must be 0 to {MOST_GOLD:g}.", reason="GOLD_SHARE", field="project.gold_share"
        )
    _known(message.order, pb.QueueOrder, "project.order", unspecified=True)
    if len(message.guidelines) > LONGEST_GUIDELINES:
        raise InvalidArgument(
            f"Guidelines must have at most {LONGEST_GUIDELINES} characters, not {len(message.guidelines)}.",
            reason="GUIDELINES_TOO_LONG",
            field="project.guidelines",
        )
    _storable(message.guidelines, "project.guidelines")
    return message


def identifier(text: str, field: str) -> str:
    """Returns an id that may be looked up; whether it names anything shows later."""
    return _storable(text, field)


def images(batch: Sequence[pb.ImportImage]) -> Sequence[pb.ImportImage]:
    """Returns images that may be imported at once; whether they can be read shows later."""
    if not 1 <= len(batch) <= MOST_IMAGES:
        raise InvalidArgument(
            f"Import 1 to {MOST_IMAGES} images at once, not {len(batch)}.", reason="IMAGE_COUNT", field="images"
        )
    if sum(len(image.content) for image in batch) > MOST_BYTES:
        raise ResourceExhausted(
            "Images imported at once must hold at most 64 MiB together: send fewer.",
            reason="TOO_LARGE",
            field="images",
        )
    for index, image in enumerate(batch):
        _known(image.origin, pb.Origin, f"images[{index}].origin", unspecified=True)
        _subject(image.subject_id, f"images[{index}].subject_id")
        if image.HasField("label"):
            _labeller(image.label.labeller, f"images[{index}].label.labeller")
    return batch


def lease_duration(request: pb.LeaseTaskRequest, default_seconds: float) -> timedelta:
    """Returns how long a lease lasts."""
    if not request.HasField("duration"):
        return timedelta(seconds=default_seconds)
    asked = timedelta(microseconds=_microseconds(request.duration, "duration"))
    if not SHORTEST_LEASE <= asked <= LONGEST_LEASE:
        raise InvalidArgument(
            "A lease must last 10 seconds to 24 hours.", reason="LEASE_DURATION", field="duration"
        )
    return asked


def held_leases(ids: Sequence[str]) -> frozenset[str]:
    """Returns the leases that a caller has in hand; whether they are his does not matter."""
    if len(ids) >= MOST_LEASES:
        raise InvalidArgument(
            f"At most {MOST_LEASES - 1} leases may be held while another is asked for.",
            reason="HELD_LEASES",
            field="held_lease_ids",
        )
    return frozenset(identifier(one, "held_lease_ids") for one in ids)


def time_spent(request: pb.SubmitLabelRequest) -> int | None:
    """Returns the microseconds that a label took; None where the request does not tell."""
    return _microseconds(request.time_spent, "time_spent") if request.HasField("time_spent") else None


def since(request: pb.GetProgressRequest) -> datetime:
    """Returns from when on labels are counted."""
    try:
        if request.HasField("since"):
            return request.since.ToDatetime(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidArgument("since must be a point in time: it is needed.", reason="SINCE", field="since")


def comment(text: str, field: str = "comment") -> str:
    """Returns a remark."""
    if len(text) > LONGEST_COMMENT:
        raise InvalidArgument(
            f"A remark must have at most {LONGEST_COMMENT} characters, not {len(text)}.",
            reason="COMMENT_TOO_LONG",
            field=field,
        )
    return _storable(text, field)


def reject_reason(request: pb.RejectImageRequest) -> pb.RejectReason.ValueType:
    """Returns why an image is rejected; OTHER needs a comment that says what."""
    _known(request.reason, pb.RejectReason, "reason", unspecified=False)
    if request.reason == pb.REJECT_REASON_OTHER and not request.comment.strip():
        raise InvalidArgument(
            "REJECT_REASON_OTHER needs a comment that says what is wrong with the image.",
            reason="COMMENT_MISSING",
            field="comment",
        )
    return request.reason


def review_state(state: pb.ReviewState.ValueType) -> pb.ReviewState.ValueType:
    """Returns the state to list; unspecified for all."""
    _known(state, pb.ReviewState, "review_state", unspecified=True)
    return state


def export_format(value: pb.ExportFormat.ValueType) -> pb.ExportFormat.ValueType:
    """Returns the format of an export, the default filled in."""
    _known(value, pb.ExportFormat, "format", unspecified=True)
    return value or pb.EXPORT_FORMAT_MANIFEST


def key_points(message: measurement.KeyPoints, field: str) -> KeyPoints:
    """Returns six finite points."""
    try:
        return key_points_from(message)
    except InvalidArgument as error:
        error.field = field
        raise


def inside(points: KeyPoints, width: int, height: int, field: str) -> KeyPoints:
    """Returns points that lie inside an image of this size in pixels."""
    if outside := points.outside(width, height):
        raise InvalidArgument(
            f"Key points {', '.join(outside)} lie outside the image of {width} x {height} pixels.",
            reason="OUTSIDE_IMAGE",
            field=field,
        )
    return points


def _subject(text: str, field: str) -> str:
    if len(text) > LONGEST_ID:
        raise InvalidArgument(
            f"A subject_id must have at most {LONGEST_ID} characters.", reason="SUBJECT_ID", field=field
        )
    return _storable(text, field)


def _labeller(text: str, field: str) -> str:
    if not 1 <= len(text) <= LONGEST_ID:
        raise InvalidArgument(f"{field} must have 1 to {LONGEST_ID} characters.", reason="LABELLER", field=field)
    return _storable(text, field)


def _known(value: int, enumeration: Any, field: str, *, unspecified: bool) -> None:  # noqa: ANN401
    allowed: Collection[int] = enumeration.values() if unspecified else enumeration.values()[1:]
    if value not in allowed:
        names = ", ".join(enumeration.Name(number) for number in allowed)
        raise InvalidArgument(f"{field} must be one of {names}.", reason="UNKNOWN_VALUE", field=field)


def _microseconds(duration: Duration, field: str) -> int:
    if not (0 <= duration.seconds <= _MOST_SECONDS and 0 <= duration.nanos < 10**9):
        raise InvalidArgument(f"{field} must be a duration of 0 or more.", reason="DURATION", field=field)
    return duration.ToMicroseconds()


def _storable(text: str, field: str) -> str:
    # PostgreSQL keeps no NUL in a text.
    if "\0" in text:
        raise InvalidArgument(f"{field} must not hold NUL characters.", reason="NUL_CHARACTER", field=field)
    return text
