"""Between the generator's own types and its API's messages."""

from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from canicor.errors import InvalidArgument
from canicor.generator.v1 import generator_pb2 as pb
from canicor.messages import key_points_message
from canicor.store import Store
from canicor.vhs import KeyPoints
from services.generator.curation import Verdict
from services.generator.rows import Batch
from services.generator.targets import Target, show_target
from services.generator.worker import ImageRecord


def batch_message(batch: Batch, store: Store) -> pb.Batch:
    """Returns a batch as a message; its report lies in the store."""
    request = batch.request
    message = pb.Batch(
        id=batch.id,
        request_id=request.request_id,
        display_name=request.display_name,
        portions=request.portions,
        seed=request.seed,
        options=request.options,
        state=pb.BatchState.Value(f"BATCH_STATE_{batch.state}"),
        image_count=batch.image_count,
        completed_count=batch.completed_count,
        create_time=_timestamp(batch.create_time),
        start_time=_timestamp(batch.start_time),
        end_time=_timestamp(batch.end_time),
        images_per_second=batch.images_per_second,
        error=batch.error,
        priority=request.priority,
        client=batch.client,
        curation=pb.Curation(
            model=batch.curation_model,
            accepted_count=batch.verdicts[Verdict.ACCEPTED],
            doubtful_count=batch.verdicts[Verdict.DOUBTFUL],
            rejected_count=batch.verdicts[Verdict.REJECTED],
            report_url=store.url(batch.report_key) if batch.report_key else "",
            fidelity=batch.fidelity,
        ),
    )
    if batch.images_per_second and not batch.ended:
        left = batch.image_count - batch.completed_count
        message.remaining.FromTimedelta(timedelta(seconds=left / batch.images_per_second))
    return message


def image_message(image: ImageRecord, backend: str, batch_id: str = "", url: str = "") -> pb.Image:
    """Returns an image as a message; without batch, URL and time where it is not stored."""
    message = pb.Image(
        batch_id=batch_id,
        index=image.index,
        url=url,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        backend=backend,
        model_digest=image.model_digest,
        prompt=image.prompt,
        create_time=_timestamp(image.create_time) if batch_id else None,
    )
    show_target(message, image.target)
    if image.examination:
        message.verdict = verdict_message(image.verdict)
        message.scores.update(image.examination.scores)
        message.findings.extend(
            pb.Finding(code=one.code, message=one.message) for one in image.examination.findings
        )
    if image.key_points:
        message.key_points.CopyFrom(key_points_message(KeyPoints.from_array(image.key_points)))
    return message


def verdict_message(verdict: Verdict | None) -> "pb.Verdict.ValueType":
    """Returns a verdict as a message."""
    return pb.Verdict.Value(f"VERDICT_{verdict or 'UNSPECIFIED'}")


def verdict_from(message: "pb.Verdict.ValueType") -> Verdict | None:
    """Reads a verdict.

    Raises:
        InvalidArgument: It is none of this version.
    """
    if message not in pb.Verdict.values():
        raise InvalidArgument(f"There is no verdict {message}.", reason="UNKNOWN_VERDICT", field="verdicts")
    name = pb.Verdict.Name(message).removeprefix("VERDICT_")
    return None if name == "UNSPECIFIED" else Verdict(name)


def preview_message(index: int, target: Target, backend: str) -> pb.Image:
    """Returns what is known of an image that is not made yet."""
    message = pb.Image(index=index, backend=backend)
    show_target(message, target)
    return message


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message
