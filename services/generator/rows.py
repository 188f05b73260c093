"""Between the database's rows and the generator's own types."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from google.protobuf import json_format
from sqlalchemy import RowMapping

from canicor.generator.v1 import generator_pb2 as pb
from services.generator.curation import Code, Examination, Finding, Verdict
from services.generator.targets import target_from_json, target_json
from services.generator.worker import ImageRecord

COUNTS = {kind: f"{kind.lower()}_count" for kind in Verdict}
"""The column of `BATCHES` that counts images of a verdict."""


class BatchState(StrEnum):
    """Where a batch stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


UNENDED = (BatchState.QUEUED, BatchState.RUNNING)
"""States of a batch that images are still made for."""


@dataclass(frozen=True)
class Batch:
    """A batch as it stands.

    Attributes:
        number: Grows with each batch.
        id: What callers know it by.
        request: What was asked for, defaults filled in.
        state: Where it stands.
        image_count: Images asked for.
        completed_count: Images made and stored.
        images_per_second: Since work began or was taken up again; 0 where that is not known.
        error: Why it failed; empty otherwise.
        create_time: UTC, without a time zone, as the next two.
        start_time: When work on it began.
        end_time: When it ended.
        client: Who asked for it, by the name on his token.
        curation_model: NAME/VERSION of the model that reads its images; empty for none.
        verdicts: Images by verdict; those that nothing was looked at of are in none.
        report_key: Of its report in the object store; empty until it has ended well.
        fidelity: As `Conclusion.fidelity`.
    """

    number: int
    id: str
    request: pb.CreateBatchRequest
    state: BatchState
    image_count: int
    completed_count: int
    images_per_second: float
    error: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    client: str
    curation_model: str
    verdicts: dict[Verdict, int]
    report_key: str
    fidelity: dict[str, float]

    @property
    def ended(self) -> bool:
        """Whether nothing about it will change."""
        return self.state not in UNENDED


def batch_of(row: RowMapping) -> Batch:
    """Reads a row of `BATCHES`."""
    return Batch(
        number=row["number"],
        id=row["id"],
        request=json_format.ParseDict(row["request"], pb.CreateBatchRequest()),
        state=BatchState(row["state"]),
        image_count=row["image_count"],
        completed_count=row["completed_count"],
        images_per_second=row["images_per_second"],
        error=row["error"],
        create_time=row["create_time"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        client=row["client"],
        curation_model=row["curation_model"],
        verdicts={kind: row[column] for kind, column in COUNTS.items()},
        report_key=row["report_key"],
        fidelity=row["fidelity"] or {},
    )


def image_row(batch_id: str, image: ImageRecord) -> dict[str, Any]:
    """Returns an image of a batch as a row of `IMAGES`."""
    return {
        "batch_id": batch_id,
        "index": image.index,
        "key": image.key,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "target": target_json(image.target),
        "key_points": image.key_points,
        "model_digest": image.model_digest,
        "prompt": image.prompt,
        "create_time": image.create_time,
        "verdict": image.verdict or "",
        "scores": image.examination and image.examination.scores,
        "findings": image.examination and [asdict(finding) for finding in image.examination.findings],
        "fingerprint": image.examination.fingerprint if image.examination else "",
    }


def image_of(row: RowMapping) -> ImageRecord:
    """Reads a row of `IMAGES`."""
    return ImageRecord(
        index=row["index"],
        key=row["key"],
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        target=target_from_json(row["target"]),
        key_points=row["key_points"],
        model_digest=row["model_digest"],
        prompt=row["prompt"],
        examination=_examination(row),
        seconds=0.0,
        create_time=row["create_time"],
    )


def _examination(row: RowMapping) -> Examination | None:
    if not row["verdict"]:
        return None
    return Examination(row["scores"], findings_of(row["findings"]), row["fingerprint"])


def findings_of(stored: Sequence[dict[str, str]]) -> tuple[Finding, ...]:
    """Reads the findings of a row of `IMAGES`."""
    return tuple(Finding(Code(one["code"]), one["message"]) for one in stored)
