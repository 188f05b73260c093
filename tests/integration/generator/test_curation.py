"""Curation over real sockets: what is said of each image and of a batch, and what labeling takes."""

import asyncio
from pathlib import Path

import pytest

import services.generator
from canicor.client import translated
from canicor.errors import FailedPrecondition, InvalidArgument
from canicor.generator.v1 import generator_pb2 as pb
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.labeling.v1 import labeling_pb2
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.measurement.v1.measurement_pb2 import VhsRange
from canicor.model_repository import ModelRepository
from canicor.store import Store, read
from services.generator.batches import Batches, Owner
from services.generator.curation import Examination
from services.generator.worker import ImageRecord, utc_now
from services.runtime.database import opened
from tests import toy_models
from tests.batches import created, error_of, images, watched_to_the_end
from tests.servers import Server, metrics
from tests.unit.test_generator_curation import phantom, png

SIZE = pb.GenerationOptions(width=256, height=200)
IMPOSSIBLE = pb.Portion(count=2, vhs_range=VhsRange(lower=19, upper=19))


@pytest.fixture
def generator(serve) -> Server:
    return serve("generator", CANICOR_WORKERS="1", CANICOR_SHIPPED_MODEL="true")


def request(*portions: pb.Portion, request_id: str = "one") -> pb.CreateBatchRequest:
    return pb.CreateBatchRequest(request_id=request_id, portions=portions, seed=17, options=SIZE)


def listed(stub: GeneratorServiceStub, batch: pb.Batch, *verdicts: int) -> list[int]:
    asked = pb.ListImagesRequest(batch_id=batch.id, verdicts=verdicts)
    return [image.index for image in stub.ListImages(asked).images]


def test_images_are_judged_as_they_are_made_and_the_batch_as_it_ends(generator, stub, serve):
    batch = watched_to_the_end(stub, created(stub, request(pb.Portion(count=3), IMPOSSIBLE)))
    assert batch.state == pb.BATCH_STATE_SUCCEEDED
    said = batch.curation
    assert (said.model, said.accepted_count, said.doubtful_count, said.rejected_count) == (
        "vhs-keypoints/0",
        3,
        2,
        0,
    )
    found = images(stub, batch)
    assert [image.verdict for image in found] == [pb.VERDICT_ACCEPTED] * 3 + [pb.VERDICT_DOUBTFUL] * 2
    for image in found[:3]:
        assert list(image.findings) == []
        assert 4 < image.scores["vhs"] < 15
    for image in found[3:]:
        assert all(finding.code.isupper() and finding.message.endswith(".") for finding in image.findings)
        assert image.findings
    report = read(said.report_url).decode()
    assert batch.id in report
    assert report.count("<img ") == 5
    page = metrics(generator)
    assert 'canicor_generator_verdicts_total{verdict="accepted"} 3.0' in page
    assert 'canicor_generator_verdicts_total{verdict="doubtful"} 2.0' in page

    assert listed(stub, batch, pb.VERDICT_DOUBTFUL) == [3, 4]
    assert listed(stub, batch, pb.VERDICT_DOUBTFUL, pb.VERDICT_ACCEPTED) == [0, 1, 2, 3, 4]
    assert listed(stub, batch, pb.VERDICT_UNSPECIFIED, pb.VERDICT_REJECTED) == []
    error = error_of(lambda: listed(stub, batch, 9))
    assert (type(error), error.reason, error.field) == (InvalidArgument, "UNKNOWN_VERDICT", "verdicts")

    labeling = serve("labeling", CANICOR_GENERATOR_ADDRESS=generator.address)
    with labeling.channel() as channel, translated():
        labels = LabelingServiceStub(channel)
        asked = labeling_pb2.ImportBatchRequest(project="hearts", batch_id=batch.id)
        assert labels.ImportBatch(asked).added_count == 3
        asked.with_doubtful = True
        answer = labels.ImportBatch(asked)
        assert (answer.added_count, answer.known_count) == (2, 3)


def test_a_batch_keeps_the_model_that_it_began_with(serve, tmp_path):
    repository = ModelRepository((tmp_path / "home" / "models").as_uri())
    toy_models.push(repository)
    with serve("generator", CANICOR_WORKERS="1").channel() as channel:
        stub = GeneratorServiceStub(channel)
        first = watched_to_the_end(stub, created(stub, request(pb.Portion(count=1))))
        toy_models.push(repository)
        again = created(stub, request(pb.Portion(count=1)))
        second = watched_to_the_end(stub, created(stub, request(pb.Portion(count=1), request_id="two")))
    assert (first.curation.model, again.curation.model) == ("vhs-keypoints/1", "vhs-keypoints/1")
    assert second.curation.model == "vhs-keypoints/2"


def test_a_model_that_is_not_there_is_a_sentence(serve):
    with serve("generator", CANICOR_WORKERS="1", CANICOR_CURATION_MODEL="vhs-keypoints/7").channel() as channel:
        error = error_of(lambda: created(GeneratorServiceStub(channel), request(pb.Portion(count=1))))
    assert (type(error), error.reason) == (FailedPrecondition, "CURATION_MODEL")


def test_a_reference_that_can_not_be_read_fails_the_batch_with_a_sentence(serve, tmp_path):
    missing = str(tmp_path / "manifest.parquet")
    with serve("generator", CANICOR_WORKERS="1", CANICOR_CURATION_REFERENCE=missing).channel() as channel:
        stub = GeneratorServiceStub(channel)
        end = watched_to_the_end(stub, created(stub, request(pb.Portion(count=1))))
    assert end.state == pb.BATCH_STATE_FAILED
    assert "CANICOR_CURATION_REFERENCE" in end.error


async def all_made(home: Path) -> pb.Batch:
    """Leaves the database as a server does that was killed between a batch's last image and its end."""
    migrations = Path(services.generator.__file__).parent / "migrations"
    async with opened(f"sqlite:///{home / 'generator.db'}", migrations) as engine:
        batches = Batches(engine)
        asked = request(pb.Portion(count=1))
        batch, _ = await batches.create(asked, asked, "", Owner("anyone", 1))
        seen = Examination({}, (), "")
        await batches.record(
            batch.id, [ImageRecord(0, "0.png", "", 64, 64, None, None, "", "", seen, 0.1, utc_now())], 1.0
        )
    return pb.Batch(id=batch.id)


def test_a_batch_whose_images_are_all_made_is_concluded_after_a_restart(serve, tmp_path):
    (tmp_path / "home").mkdir()
    batch = asyncio.run(all_made(tmp_path / "home"))
    Store((tmp_path / "home" / "store").as_uri()).put("0.png", png(phantom()))
    with serve("generator", CANICOR_WORKERS="1").channel() as channel:
        end = watched_to_the_end(GeneratorServiceStub(channel), batch)
    assert (end.state, end.completed_count, end.curation.accepted_count) == (pb.BATCH_STATE_SUCCEEDED, 1, 1)
    assert read(end.curation.report_url)
