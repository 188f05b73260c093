"""What the database keeps of a batch's end."""

from dataclasses import replace
from pathlib import Path

import pytest

import services.generator
from canicor.generator.v1 import generator_pb2 as pb
from services.generator.batches import Batches, Owner
from services.generator.curation import Code, Conclusion, Examination, Finding, Verdict
from services.generator.rows import BatchState
from services.generator.worker import ImageRecord, utc_now
from services.runtime.database import opened

MIGRATIONS = Path(services.generator.__file__).parent / "migrations"
ANYONE = Owner("anyone", 10)
BLURRED = Finding(Code.BLURRED, "It is blurred.")
TWIN = Finding(Code.DUPLICATE, "It shows what image 0 shows.")


@pytest.fixture
async def batches(tmp_path):
    async with opened(f"sqlite:///{tmp_path / 'a.db'}", MIGRATIONS) as engine:
        yield Batches(engine)


def image(index: int, *findings: Finding) -> ImageRecord:
    seen = Examination({"vhs": 9.0 + index}, findings, "0" * 64)
    return ImageRecord(index, f"{index}.png", "", 64, 64, None, None, "", "", seen, 0.1, utc_now())


async def made(batches: Batches, *images: ImageRecord):
    request = pb.CreateBatchRequest(request_id="one", portions=[pb.Portion(count=len(images))])
    batch, _ = await batches.create(request, request, "vhs-keypoints/0", ANYONE)
    return await batches.record(batch.id, images, 1.0)


async def test_duplicates_change_sides_when_the_batch_ends(batches):
    batch = await made(batches, image(0), image(1), image(2, BLURRED))
    assert (batch.state, batch.completed_count) == (BatchState.RUNNING, 3)
    assert batch.verdicts == {Verdict.ACCEPTED: 2, Verdict.DOUBTFUL: 1, Verdict.REJECTED: 0}
    assert [one.findings for one in await batches.judged(batch.id)] == [(), (), (BLURRED,)]
    conclusion = Conclusion({1: TWIN, 2: TWIN}, {"kid": 0.1}, "report.html")
    end = await batches.conclude(batch.id, conclusion)
    assert (end.state, end.report_key, end.fidelity) == (BatchState.SUCCEEDED, "report.html", {"kid": 0.1})
    assert end.verdicts == {Verdict.ACCEPTED: 1, Verdict.DOUBTFUL: 0, Verdict.REJECTED: 2}
    stored = await batches.images(batch.id, 10)
    assert [one.examination.findings for one in stored] == [(), (TWIN,), (BLURRED, TWIN)]
    assert [one.index for one in await batches.images(batch.id, 10, 0, [Verdict.REJECTED])] == [1, 2]
    # What is said once is not said twice.
    assert await batches.conclude(batch.id, conclusion) == end


async def test_a_cancelled_batch_is_not_concluded(batches):
    batch = await made(batches, image(0), image(1))
    cancelled = await batches.end(batch.id, BatchState.CANCELLED)
    assert await batches.conclude(batch.id, Conclusion({1: TWIN}, {}, "report.html")) == cancelled
    assert await batches.record(batch.id, [image(2)], 1.0) is None


async def test_images_that_nothing_was_looked_at_of_are_listed_as_such(batches):
    batch = await made(batches, image(0), replace(image(1), examination=None))
    assert batch.verdicts == {Verdict.ACCEPTED: 1, Verdict.DOUBTFUL: 0, Verdict.REJECTED: 0}
    assert [one.index for one in await batches.images(batch.id, 10, 0, [None])] == [1]
    assert [one.index for one in await batches.judged(batch.id)] == [0]
