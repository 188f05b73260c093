"""What runs in a worker process: images are made and stored here, and nothing else."""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from multiprocessing.queues import SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar

from canicor.errors import Unavailable
from canicor.generator.v1 import generator_pb2 as pb
from canicor.memory import FILMS, keep_freed_memory
from canicor.pipeline import Computing
from canicor.pipeline_repository import Pipelines
from canicor.store import Store
from services.generator import backends
from services.generator.backends import MadeImage, Preview
from services.generator.curation import (
    Conclusion,
    Curation,
    Examination,
    JudgedImage,
    Verdict,
    conclude,
    curator,
    verdict,
)
from services.generator.targets import Target, target_json

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# Seconds before each repeat of what the store did not answer.
_PAUSES = (0.2, 1.0, 3.0)


@dataclass(frozen=True)
class Work:
    """Images for one worker to make.

    Attributes:
        seed: Of the batch.
        images: Index and target of each.
        options: Checked ones.
        pipelines: What they name one of.
        computing: How a text-to-image pipeline computes them.
        curation: How they are judged; None for not at all.
    """

    seed: int
    images: tuple[tuple[int, Target], ...]
    options: pb.GenerationOptions
    pipelines: Pipelines
    computing: Computing
    curation: Curation | None = None


@dataclass(frozen=True)
class ImageRecord:
    """What is known of an image, without its bytes.

    Attributes:
        index: Its place in the batch.
        key: Of its PNG in the object store; empty where it is not stored.
        sha256: Of the PNG, in lower-case hexadecimal.
        width: Columns.
        height: Rows.
        target: What was asked for.
        key_points: Six pairs of x and y, A to F, in pixels of this image, where they are known.
        model_digest: Of the model that made it; empty where there is none.
        prompt: As it was used; empty where there is none.
        examination: What was seen of it; None where nothing was looked at.
        seconds: That it took to make.
        create_time: When it was made and stored; UTC, without a time zone.
    """

    index: int
    key: str
    sha256: str
    width: int
    height: int
    target: Target
    key_points: list[list[float]] | None
    model_digest: str
    prompt: str
    examination: Examination | None
    seconds: float
    create_time: datetime

    @property
    def verdict(self) -> Verdict | None:
        """What becomes of it; None where nothing was looked at."""
        return verdict(self.examination.findings) if self.examination else None


# Of this worker process: where it tells the server what happens within a call.
_told: "SimpleQueue[tuple[int, Any]] | None" = None


Tell = Callable[[Any], None]
"""What a function in a worker process tells the server by while it runs."""


@dataclass(frozen=True)
class Told:
    """`Tell` of a local worker process.

    Attributes:
        call: The server's number for this call.
    """

    call: int

    def __call__(self, what: object) -> None:
        """Tells it."""
        if _told is not None:
            _told.put((self.call, what))


class End(Enum):
    """That a call has told all."""

    END = "end"


END = End.END


def telling(
    tell: Tell,
    function: Callable[Concatenate[Tell, _Parameters], _Result],
    *args: _Parameters.args,
    **kwargs: _Parameters.kwargs,
) -> _Result:
    """Calls a function that tells, and tells its end."""
    try:
        return function(tell, *args, **kwargs)
    finally:
        tell(END)


def begin(told: "SimpleQueue[tuple[int, Any]]") -> None:
    """Prepares a new worker process: Ctrl-C is the server's to answer, and the server's death is its own."""
    global _told
    _told = told
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory(FILMS)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def make_and_store(work: Work, batch_id: str, store_url: str) -> list[ImageRecord]:
    """Makes images and stores each PNG with a JSON file beside it.

    Doing it again writes the same bytes under the same keys.

    Raises:
        Unavailable: The store did not take an image after several tries.
    """
    store = Store(store_url)
    records = []
    for record, made in _make(work, batch_id):
        beside, description = record.key.removesuffix("png") + "json", _description(work, record, made)
        _insisting(partial(store.put, beside, description))
        _insisting(partial(store.put, record.key, made.png))
        records.append(record)
    return records


def make(tell: Tell, work: Work) -> list[tuple[ImageRecord, bytes]]:
    """Makes images and returns them with the bytes of their PNG; tells each `Preview` where there are any."""
    return [(record, made.png) for record, made in _make(work, preview=tell)]


def conclude_batch(
    facts: dict[str, str], images: Sequence[JudgedImage], curation: Curation, report_key: str
) -> Conclusion:
    """Says what is to be said of a whole batch: as `curation.conclude`."""
    return _insisting(partial(conclude, facts, images, curation, report_key))


def utc_now() -> datetime:
    """Returns the time as it is stored: UTC, without a time zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def _make(
    work: Work, batch_id: str = "", preview: Callable[[Preview], None] | None = None
) -> Iterator[tuple[ImageRecord, MadeImage]]:
    backend = backends.named(work.options.backend, work.pipelines, work.computing)
    images = backend.make(work.seed, work.images, work.options, preview)
    judge = curator(work.curation) if work.curation else None
    started = time.perf_counter()
    for (index, target), made in zip(work.images, images, strict=True):
        record = ImageRecord(
            index=index,
            key=_key(batch_id, index) if batch_id else "",
            sha256=hashlib.sha256(made.png).hexdigest(),
            width=made.width,
            height=made.height,
            target=target,
            key_points=made.key_points.xy.tolist() if made.key_points else None,
            model_digest=made.model_digest,
            prompt=made.prompt,
            examination=judge.examine(made.png) if judge else None,
            seconds=time.perf_counter() - started,
            create_time=utc_now(),
        )
        yield record, made
        started = time.perf_counter()


def _key(batch_id: str, index: int) -> str:
    return f"generated/{batch_id}/{index // 1000:06d}/{index:08d}.png"


def _description(work: Work, record: ImageRecord, made: MadeImage) -> bytes:
    description = {
        "backend": work.options.backend,
        "seed": work.seed,
        "index": record.index,
        "target": target_json(record.target),
        "sha256": record.sha256,
        "key_points": record.key_points,
        "model": work.options.model,
        "model_digest": record.model_digest,
        "prompt": record.prompt,
        "parameters": made.parameters,
        "verdict": record.verdict,
        "scores": record.examination.scores if record.examination else {},
        "findings": [asdict(finding) for finding in record.examination.findings] if record.examination else [],
    }
    return json.dumps(description, indent=1).encode()


def _insisting(call: Callable[[], _Result]) -> _Result:
    """Calls what needs the store, and again where that did not answer."""
    for pause in _PAUSES:
        try:
            return call()
        except Unavailable:
            time.sleep(pause)
    return call()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
