"""The labeling service as labellers, reviewers and managers meet it: over sockets, with what goes wrong."""

import asyncio
import csv
import hashlib
import io
import json
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from google.protobuf.duration_pb2 import Duration
from PIL import Image as Pillow
from pydantic import SecretStr
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from canicor import errors, manifest
from canicor.client import translated
from canicor.generator.v1 import generator_pb2 as generator
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.measurement.v1 import measurement_pb2 as measurement
from canicor.messages import key_points_message
from canicor.vhs import KeyPoints
from services.labeling import images, labels, tasks
from services.labeling.tables import Base, Image, committed
from services.runtime.database import opened
from tests.servers import Server

PEOPLE = {
    "anna": "label",
    "ben": "label",
    "rita": "review",
    "mia": "manage",
    "gus": "generate",
    "carl": "classify",
    **{f"labeller-{number}": "label" for number in range(8)},
}
WIDTH, HEIGHT = 80, 60
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MIGRATIONS = Path(labels.__file__).parent / "migrations"


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def points(vhs: float = 9.0) -> measurement.KeyPoints:
    """Points whose ruler is 30 pixels, so a vertebra is 5, and whose axes share the VHS."""
    axis = vhs * 5 / 2
    xy = [(10, 20), (10, 20 + axis), (20, 30), (20 + axis, 30), (20, 5), (50, 5)]
    return key_points_message(KeyPoints.from_array(xy))


class Clinic:
    """A labeling server and the people who call it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self._channels: list[grpc.Channel] = []
        self.folder = folder

    def channel(self, name: str, server: Server | None = None) -> grpc.Channel:
        channel = (server or self.server).channel(token=SecretStr(token_of(name)))
        self._channels.append(channel)
        return channel

    def __call__(self, person: str, method: str, **fields: object):
        request = getattr(pb, f"{method}Request")(**fields)
        stub = LabelingServiceStub(self.channel(person))
        with translated():
            return getattr(stub, method)(request, timeout=30)

    def add(self, count: int, project: str = "hearts") -> list[str]:
        content = [pb.ImportImage(content=png(number)) for number in range(count)]
        return list(self("mia", "ImportImages", project=project, images=content).image_ids)

    def lease(self, person: str, project: str = "hearts") -> pb.Task:
        return self(person, "LeaseTask", project=project).task

    def label(self, person: str, request_id: str, vhs: float = 9.0, **fields: object) -> pb.Label:
        lease_id = self.lease(person).lease_id
        return self(
            person, "SubmitLabel", request_id=request_id, lease_id=lease_id, key_points=points(vhs), **fields
        ).label

    def export(self, **fields: object) -> tuple[list[bytes], str, int]:
        with translated():
            request = pb.ExportDatasetRequest(**{"project": "hearts", **fields})
            parts = list(LabelingServiceStub(self.channel("mia")).ExportDataset(request, timeout=30))
        assert all(not part.digest for part in parts[:-1])
        return [part.chunk for part in parts], parts[-1].digest, parts[-1].row_count

    def metric(self, line: str) -> float:
        with urllib.request.urlopen(f"http://{self.server.metrics_address}/metrics") as page:
            found = [row for row in page.read().decode().splitlines() if row.startswith(f"{line} ")]
        return float(found[0].split()[-1])

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


def token_of(name: str) -> str:
    return f"token of {name}"


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    entries = [
        f'[[tokens]]\nname = "{name}"\nroles = ["{role}"]\n'
        f'sha256 = "{hashlib.sha256(token_of(name).encode()).hexdigest()}"\n'
        for name, role in PEOPLE.items()
    ]
    entries.append(
        '[[tokens]]\nname = "labeling"\nroles = ["label"]\n'
        f'sha256 = "{hashlib.sha256(token_of("labeling").encode()).hexdigest()}"\n'
    )
    path = tmp_path / "tokens.toml"
    path.write_text("\n".join(entries))
    return path


on_both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def clinic(serve: Callable, tokens_file: Path, database_url: str) -> Iterator[Clinic]:
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file), CANICOR_DATABASE_URL=database_url)
    people = Clinic(server, server.home)
    yield people
    people.close()


@on_both_databases
def test_from_import_to_dataset(clinic: Clinic) -> None:
    ids = clinic.add(4)
    again = clinic("mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=png(0))])
    assert (again.added_count, again.known_count, list(again.image_ids)) == (0, 1, [ids[0]])

    first = clinic.label("anna", "a1", 7.0, time_spent=Duration(seconds=10), comment="clear")
    assert (first.image_id, first.labeller, first.comment) == (ids[0], "anna", "clear")
    assert first.vhs == pytest.approx(7.0)
    assert first.heart_size == measurement.HEART_SIZE_SMALL
    assert first.review_state == pb.REVIEW_STATE_PENDING
    second = clinic.label("anna", "a2", 9.0, time_spent=Duration(seconds=20))
    lease = clinic.lease("ben")
    reject = clinic(
        "ben", "RejectImage", request_id="b1", lease_id=lease.lease_id, reason=pb.REJECT_REASON_NOT_LATERAL
    ).label
    assert (reject.image_id, reject.reject_reason) == (ids[2], pb.REJECT_REASON_NOT_LATERAL)
    assert not reject.HasField("key_points")
    third = clinic.label("ben", "b2", 11.0)

    clinic("rita", "ReviewLabel", label_id=first.id, approval=pb.Approval())
    corrected = clinic("rita", "ReviewLabel", label_id=second.id, correction=points(9.5)).label
    assert corrected.vhs == pytest.approx(9.5)
    assert (corrected.labeller, corrected.reviewer) == ("anna", "rita")
    with pytest.raises(errors.FailedPrecondition, match="already"):
        clinic("rita", "ReviewLabel", label_id=second.id, approval=pb.Approval())
    back = clinic("rita", "ReviewLabel", label_id=third.id, send_back="T4 is one further").label
    assert back.review_state == pb.REVIEW_STATE_SENT_BACK

    counts = clinic("anna", "GetStatistics", project="hearts")
    assert (counts.image_count, counts.labelled_count, counts.rejected_count) == (4, 2, 1)
    assert (counts.leased_count, counts.open_count, counts.reviewed_count) == (0, 1, 2)
    assert [size.count for size in counts.heart_sizes] == [1, 1, 0]
    assert [(one.labeller, one.count, one.median_time_spent.seconds) for one in counts.labellers] == [
        ("anna", 2, 15)
    ]

    chunks, digest, row_count = clinic.export()
    rows = manifest.read(b"".join(chunks))
    assert (len(rows), row_count, manifest.digest(rows)) == (2, 2, digest)
    assert [row.image_sha256 for row in rows] == [hashlib.sha256(png(number)).hexdigest() for number in (0, 1)]
    assert [row.review_state for row in rows] == ["approved", "corrected"]
    assert [row.vhs for row in rows] == pytest.approx([7.0, 9.5])
    assert {row.subject_id for row in rows} == {row.image_sha256 for row in rows}
    assert {row.split for row in rows} == {""}

    assert clinic.lease("anna").image.id == ids[3], "what was sent back is leased again"
    assert clinic("anna", "GetStatistics", project="hearts").leased_count == 1


def test_what_a_reviewer_sent_back_gets_a_second_label_that_counts(clinic: Clinic) -> None:
    clinic.add(1)
    first = clinic.label("anna", "a1", 11.0)
    clinic("rita", "ReviewLabel", label_id=first.id, send_back="look again")
    second = clinic.label("ben", "b1", 9.0)
    assert second.image_id == first.image_id
    chunks, _, _ = clinic.export()
    assert [row.labeller for row in manifest.read(b"".join(chunks))] == ["ben"]
    everything = clinic("rita", "ListLabels", project="hearts").labels
    assert [label.id for label in everything] == [first.id, second.id]
    pending = clinic("rita", "ListLabels", project="hearts", review_state=pb.REVIEW_STATE_PENDING).labels
    assert [label.id for label in pending] == [second.id]


def test_exports_are_the_same_bytes_each_time_in_every_format(clinic: Clinic) -> None:
    clinic.add(3)
    for number in range(3):
        clinic.label("anna", f"a{number}", 8 + number)
    formats = (pb.EXPORT_FORMAT_UNSPECIFIED, pb.EXPORT_FORMAT_COCO, pb.EXPORT_FORMAT_CSV)
    files = []
    for export_format in formats:
        once, again = (clinic.export(format=export_format) for _ in range(2))
        assert once == again
        files.append(b"".join(once[0]))
        assert once[1] == manifest.digest(manifest.read(files[0])), "the digest is the dataset's, not the file's"
    rows = manifest.read(files[0])
    coco = json.loads(files[1])
    assert [image["sha256"] for image in coco["images"]] == [row.image_sha256 for row in rows]
    assert coco["annotations"][0]["keypoints"][:3] == [10, 20, 2]
    assert (coco["images"][0]["width"], coco["images"][0]["height"]) == (WIDTH, HEIGHT)
    table = list(csv.DictReader(io.StringIO(files[2].decode())))
    assert [float(line["vhs"]) for line in table] == [row.vhs for row in rows]
    assert [line["heart_size"] for line in table] == ["Small", "Normal", "Normal"]
    with pytest.raises(errors.FailedPrecondition, match="no reviewed label"):
        clinic.export(reviewed_only=True)


def test_a_large_export_comes_in_parts_of_256_kib(clinic: Clinic) -> None:
    names = [f"{number:0>128}" for number in range(600)]
    content = [pb.ImportImage(content=png(number), subject_id=name) for number, name in enumerate(names)]
    clinic("mia", "ImportImages", project="hearts", images=content)
    for name in names:
        clinic.label("anna", name[-9:])
    chunks, _, _ = clinic.export(format=pb.EXPORT_FORMAT_CSV)
    assert [len(chunk) for chunk in chunks[:-1]] == [256 * 1024]
    assert 0 < len(chunks[-1]) <= 256 * 1024
    assert [row["subject_id"] for row in csv.DictReader(io.StringIO(b"".join(chunks).decode()))] == names


def test_sigterm_ends_it_cleanly(clinic: Clinic) -> None:
    clinic.add(1)
    clinic.lease("anna")
    assert clinic.server.terminate() == 0
    assert "Traceback" not in clinic.server.log.read_text()


def test_images_come_back_whole_or_not_at_all(clinic: Clinic) -> None:
    (image_id,) = clinic.add(1)
    answer = clinic("anna", "GetImage", image_id=image_id)
    assert answer.content == png(0)
    assert (answer.image.width, answer.image.height, answer.image.pixel_aspect) == (WIDTH, HEIGHT, 1.0)
    (stored,) = [path for path in (clinic.folder / "store" / "labeling").rglob("*") if path.is_file()]
    stored.write_bytes(png(1))
    with pytest.raises(errors.DataLoss, match="checksum"):
        clinic("anna", "GetImage", image_id=image_id)
    stored.unlink()
    with pytest.raises(errors.DataLoss, match="gone"):
        clinic("anna", "GetImage", image_id=image_id)
    with pytest.raises(errors.NotFound):
        clinic("anna", "GetImage", image_id="f" * 32)


def test_a_caller_gets_his_own_task_again_and_nobody_elses(clinic: Clinic) -> None:
    ids = clinic.add(2)
    anna = clinic("anna", "LeaseTask", project="hearts", duration=Duration(seconds=10)).task
    ben = clinic.lease("ben")
    again = clinic.lease("anna")
    assert (anna.image.id, ben.image.id, again.image.id) == (ids[0], ids[1], ids[0])
    assert again.lease_id == anna.lease_id
    assert again.expire_time.seconds > anna.expire_time.seconds
    with pytest.raises(errors.NotFound) as refusal:
        clinic.lease("labeller-0")
    assert refusal.value.reason == "NO_TASK_LEFT"
    for method, fields in (("SubmitLabel", {"key_points": points()}), ("RejectImage", {"reason": 1})):
        with pytest.raises(errors.FailedPrecondition) as refusal:
            clinic("anna", method, request_id="a1", lease_id=ben.lease_id, **fields)
        assert refusal.value.reason == "LEASE_EXPIRED"
    with pytest.raises(errors.NotFound):
        clinic.lease("anna", project="no-such-project")


@on_both_databases
def test_labellers_at_once_never_share_a_task(clinic: Clinic) -> None:
    clinic.add(40)
    people = [f"labeller-{number}" for number in range(8)]

    def work(person: str) -> list[str]:
        return [clinic.label(person, f"{number}").image_id for number in range(5)]

    with ThreadPoolExecutor(len(people)) as threads:
        labelled = [image_id for done in threads.map(work, people) for image_id in done]
    assert len(set(labelled)) == 40
    assert clinic("mia", "GetStatistics", project="hearts").labelled_count == 40


@on_both_databases
def test_one_labeller_on_many_screens_holds_one_task(clinic: Clinic) -> None:
    clinic.add(8)
    with ThreadPoolExecutor(8) as threads:
        leases = set(threads.map(lambda _: clinic.lease("anna").lease_id, range(8)))
    assert len(leases) == 1


def test_a_request_id_makes_one_label(clinic: Clinic) -> None:
    clinic.add(2)
    lease = clinic.lease("anna")
    request = {"request_id": "a1", "lease_id": lease.lease_id, "key_points": points(9.0)}
    first = clinic("anna", "SubmitLabel", **request)
    clinic("rita", "ReviewLabel", label_id=first.label.id, correction=points(8.5))
    assert clinic("anna", "SubmitLabel", **request) == first
    with pytest.raises(errors.AlreadyExists):
        clinic("anna", "SubmitLabel", **{**request, "key_points": points(8.0)})
    with pytest.raises(errors.AlreadyExists):
        clinic("anna", "RejectImage", request_id="a1", lease_id=lease.lease_id, reason=pb.REJECT_REASON_POOR_IMAGE)
    assert clinic.label("ben", "a1").labeller == "ben", "request ids are each labeller's own"


def test_a_killed_server_loses_and_doubles_nothing(clinic: Clinic) -> None:
    clinic.add(6)
    requests = {}
    answers = {}
    for number in range(3):
        lease_id = clinic.lease("anna").lease_id
        requests[number] = {"request_id": f"{number}", "lease_id": lease_id, "key_points": points(8.5 + number)}
        answers[number] = clinic("anna", "SubmitLabel", **requests[number])
    held = clinic.lease("ben")
    clinic.server.kill()
    clinic.server.start()
    for number, request in requests.items():
        assert clinic("anna", "SubmitLabel", **request) == answers[number]
    assert clinic.lease("ben").lease_id == held.lease_id
    clinic("ben", "SubmitLabel", request_id="b", lease_id=held.lease_id, key_points=points())
    counts = clinic("mia", "GetStatistics", project="hearts")
    assert (counts.image_count, counts.labelled_count, counts.open_count) == (6, 4, 2)
    assert clinic.export()[2] == 4
    assert clinic.metric('canicor_open_tasks{project="hearts"}') == 3


def test_a_server_killed_between_two_labellers_keeps_what_it_answered(clinic: Clinic) -> None:
    clinic.add(60)

    def work(person: str) -> list[str]:
        answered = []
        try:
            for number in range(30):
                answered.append(clinic.label(person, f"{number}").id)
                if len(answered) == 5 and person == "anna":
                    clinic.server.kill()
        except errors.CanicorError:
            return answered
        raise AssertionError("the server was not killed in the middle")

    with ThreadPoolExecutor(2) as threads:
        answered = {label for done in threads.map(work, ("anna", "ben")) for label in done}
    clinic.server.start()
    kept = clinic("mia", "ListLabels", project="hearts", page_size=1000).labels
    assert answered <= {label.id for label in kept}
    assert len({label.image_id for label in kept}) == len(kept)
    assert len(kept) - len(answered) <= 2, "at most the call in flight of each was stored unanswered"


@on_both_databases
def test_labels_come_in_pages(clinic: Clinic) -> None:
    clinic.add(5)
    made = [clinic.label("anna", f"{number}").id for number in range(5)]
    listed, token = [], ""
    for expected in (2, 2, 1):
        page = clinic("anna", "ListLabels", project="hearts", page_size=2, page_token=token)
        assert len(page.labels) == expected
        listed += [label.id for label in page.labels]
        token = page.next_page_token
    assert (listed, token) == (made, "")
    assert not clinic("anna", "ListLabels", project="empty").labels


def test_metrics_count_the_work(clinic: Clinic) -> None:
    clinic.add(2)
    clinic.label("anna", "a1", 9.0)
    lease_id = clinic.lease("anna").lease_id
    clinic("anna", "RejectImage", request_id="a2", lease_id=lease_id, reason=pb.REJECT_REASON_NOT_A_DOG)
    assert clinic.metric('canicor_labels_total{heart_size="HEART_SIZE_NORMAL"}') == 1
    assert clinic.metric('canicor_rejects_total{reason="REJECT_REASON_NOT_A_DOG"}') == 1
    assert clinic.metric("canicor_leases_total") == 2


def test_a_real_radiograph_is_taken_as_it_is(clinic: Clinic) -> None:
    file = Path(__file__).parents[3] / "shared/radiographs/canine-lateral-1.dcm"
    if not file.is_file():
        pytest.skip("no real radiograph beside the repository")
    one = pb.ImportImage(content=file.read_bytes(), subject_id="Rex", origin=pb.ORIGIN_REAL)
    clinic("mia", "ImportImages", project="hearts", images=[one])
    image = clinic.lease("anna").image
    assert (image.width, image.height, image.subject_id, image.origin) == (1612, 1300, "Rex", pb.ORIGIN_REAL)


def test_tall_pixels_count_by_their_height(clinic: Clinic) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = HEIGHT, WIDTH, 1
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelSpacing = [0.4, 0.2]
    dataset.PixelData = np.arange(HEIGHT * WIDTH).astype(np.uint8).tobytes()
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    clinic("mia", "ImportImages", project="hearts", images=[pb.ImportImage(content=file.getvalue())])
    # Half of the 9 vertebrae stand upright and are twice as tall as their pixels tell.
    assert clinic.label("anna", "a1", 9.0).vhs == pytest.approx(13.5)


@pytest.fixture
def source(serve: Callable, tokens_file: Path) -> Server:
    return serve("generator", CANICOR_TOKENS_FILE=str(tokens_file))


def serve_beside(source: Server, clinic: Clinic, serve: Callable, tokens_file: Path, token: str) -> None:
    """Puts a server in the clinic that imports from a generator."""
    clinic.server.stop()
    clinic.server = serve(
        "labeling",
        CANICOR_TOKENS_FILE=str(tokens_file),
        CANICOR_GENERATOR_ADDRESS=source.address,
        CANICOR_TOKEN=token,
    )


def test_a_generator_that_refuses_the_service_is_named(
    source: Server, clinic: Clinic, serve: Callable, tokens_file: Path
) -> None:
    for token in ("not a token", token_of("carl")):
        serve_beside(source, clinic, serve, tokens_file, token)
        with pytest.raises(errors.FailedPrecondition, match="CANICOR_TOKEN") as refusal:
            clinic("mia", "ImportBatch", project="hearts", batch_id="f" * 32)
        assert refusal.value.reason == "GENERATOR_REFUSES"


def test_a_batch_is_referenced_once(source: Server, clinic: Clinic, serve: Callable, tokens_file: Path) -> None:
    serve_beside(source, clinic, serve, tokens_file, token_of("labeling"))
    making = GeneratorServiceStub(clinic.channel("gus", source))
    batch = making.CreateBatch(
        generator.CreateBatchRequest(
            request_id="b",
            portions=[generator.Portion(count=3)],
            seed=2**64 - 1,
            options=generator.GenerationOptions(width=64, height=64),
        )
    ).batch
    for state in making.WatchBatch(generator.WatchBatchRequest(batch_id=batch.id)):
        last = state.batch
    assert last.state == generator.BATCH_STATE_SUCCEEDED
    first, second = (clinic("mia", "ImportBatch", project="hearts", batch_id=batch.id) for _ in range(2))
    assert (first.added_count, first.known_count) == (3, 0)
    assert (second.added_count, second.known_count) == (0, 3)
    image = clinic.lease("anna").image
    assert (image.origin, image.subject_id) == (pb.ORIGIN_PHANTOM, f"{batch.id}/0")
    assert (image.batch_id, image.batch_index, image.batch_seed) == (batch.id, 0, 2**64 - 1)
    assert hashlib.sha256(clinic("anna", "GetImage", image_id=image.id).content).hexdigest() == image.sha256
    assert not (clinic.folder / "store" / "labeling").exists(), "a generated image is not copied"
    with pytest.raises(errors.NotFound) as refusal:
        clinic("mia", "ImportBatch", project="hearts", batch_id="f" * 32)
    assert refusal.value.reason == "NO_SUCH_BATCH"
    source.stop()
    with pytest.raises(errors.Unavailable) as refusal:
        clinic("mia", "ImportBatch", project="hearts", batch_id=batch.id)
    assert refusal.value.reason == "GENERATOR_UNAVAILABLE"


def test_bad_imports_add_nothing(clinic: Clinic) -> None:
    good = pb.ImportImage(content=png(0))
    cases = [
        ({"images": []}, "IMAGE_COUNT", "images"),
        ({"images": [good] * 1001}, "IMAGE_COUNT", "images"),
        ({"images": [good, pb.ImportImage(content=b"no image")]}, "NOT_AN_IMAGE", "images[1].content"),
        ({"images": [pb.ImportImage()]}, "EMPTY_FILE", "images[0].content"),
        ({"images": [pb.ImportImage(content=png(0), origin=9)]}, "UNKNOWN_VALUE", "images[0].origin"),
        ({"images": [pb.ImportImage(content=png(0), subject_id="\0")]}, "NUL_CHARACTER", "images[0].subject_id"),
        *(({"project": name, "images": [good]}, "PROJECT_NAME", "project") for name in BAD_PROJECTS),
    ]
    for fields, reason, field in cases:
        with pytest.raises(errors.InvalidArgument) as refusal:
            clinic("mia", "ImportImages", **{"project": "hearts", **fields})
        assert (refusal.value.reason, refusal.value.field) == (reason, field)
    assert clinic("mia", "GetStatistics", project="hearts").image_count == 0
    assert not (clinic.folder / "store" / "labeling").exists()


BAD_PROJECTS = ("", "Hearts", "a b", "x" * 65, "é", "a\n", "../x")


@on_both_databases
def test_bad_labels_leave_the_task_with_its_labeller(clinic: Clinic) -> None:
    clinic.add(1)
    lease_id = clinic.lease("anna").lease_id
    coinciding, missing, nan, outside = (points() for _ in range(4))
    coinciding.b.CopyFrom(coinciding.a)
    missing.ClearField("f")
    nan.c.x = float("nan")
    outside.d.x = WIDTH
    good = {"request_id": "a1", "lease_id": lease_id, "key_points": points()}
    cases = [
        ({"key_points": coinciding}, "DEGENERATE_KEY_POINTS", "key_points"),
        ({"key_points": missing}, "DEGENERATE_KEY_POINTS", "key_points"),
        ({"key_points": nan}, "DEGENERATE_KEY_POINTS", "key_points"),
        ({"key_points": None}, "DEGENERATE_KEY_POINTS", "key_points"),
        ({"key_points": outside}, "OUTSIDE_IMAGE", "key_points"),
        ({"request_id": ""}, "REQUEST_ID", "request_id"),
        ({"request_id": "x" * 129}, "REQUEST_ID", "request_id"),
        ({"comment": "x" * 2001}, "COMMENT_TOO_LONG", "comment"),
        ({"request_id": "\0"}, "REQUEST_ID", "request_id"),
        ({"lease_id": "\0"}, "NUL_CHARACTER", "lease_id"),
        ({"comment": "\0"}, "NUL_CHARACTER", "comment"),
        ({"time_spent": Duration(seconds=-1)}, "DURATION", "time_spent"),
    ]
    for fields, reason, field in cases:
        with pytest.raises(errors.InvalidArgument) as refusal:
            clinic("anna", "SubmitLabel", **{**good, **fields})
        assert (refusal.value.reason, refusal.value.field) == (reason, field)
    clinic("anna", "SubmitLabel", **{**good, "comment": "x" * 2000})


@on_both_databases
def test_bad_rejects_and_reviews_change_nothing(clinic: Clinic) -> None:
    clinic.add(2)
    lease_id = clinic.lease("anna").lease_id
    rejects = [
        ({"reason": pb.REJECT_REASON_UNSPECIFIED}, "UNKNOWN_VALUE", "reason"),
        ({"reason": 77}, "UNKNOWN_VALUE", "reason"),
        ({"reason": pb.REJECT_REASON_OTHER, "comment": " "}, "COMMENT_MISSING", "comment"),
    ]
    for fields, reason, field in rejects:
        with pytest.raises(errors.InvalidArgument) as refusal:
            clinic("anna", "RejectImage", request_id="r", lease_id=lease_id, **fields)
        assert (refusal.value.reason, refusal.value.field) == (reason, field)
    label = clinic.label("anna", "a1")
    reject = clinic("anna", "RejectImage", request_id="a2", lease_id=clinic.lease("anna").lease_id, reason=1).label
    outside = points()
    outside.a.y = -1
    reviews = [
        ({}, "VERDICT_MISSING", "verdict"),
        ({"send_back": "\0"}, "NUL_CHARACTER", "send_back"),
        ({"send_back": "x" * 2001}, "COMMENT_TOO_LONG", "send_back"),
        ({"correction": outside}, "OUTSIDE_IMAGE", "correction"),
        ({"correction": measurement.KeyPoints()}, "DEGENERATE_KEY_POINTS", "correction"),
    ]
    for fields, reason, field in reviews:
        with pytest.raises(errors.InvalidArgument) as refusal:
            clinic("rita", "ReviewLabel", label_id=label.id, **fields)
        assert (refusal.value.reason, refusal.value.field) == (reason, field)
    with pytest.raises(errors.FailedPrecondition) as refusal:
        clinic("rita", "ReviewLabel", label_id=reject.id, correction=points())
    assert refusal.value.reason == "IMAGE_REJECTED"
    with pytest.raises(errors.NotFound) as refusal:
        clinic("rita", "ReviewLabel", label_id="f" * 32, approval=pb.Approval())
    assert refusal.value.reason == "NO_SUCH_LABEL"
    assert clinic("anna", "GetStatistics", project="hearts").reviewed_count == 0


def test_bad_questions_are_refused(clinic: Clinic) -> None:
    cases = [
        *(("LeaseTask", {"project": name}, "PROJECT_NAME", "project") for name in BAD_PROJECTS),
        ("LeaseTask", {"duration": Duration(seconds=9)}, "LEASE_DURATION", "duration"),
        ("LeaseTask", {"duration": Duration(seconds=86401)}, "LEASE_DURATION", "duration"),
        ("LeaseTask", {"duration": Duration(seconds=10**18)}, "DURATION", "duration"),
        ("ListLabels", {"project": ""}, "PROJECT_NAME", "project"),
        ("ListLabels", {"page_size": 1001}, "PAGE_SIZE", "page_size"),
        ("ListLabels", {"page_token": "f" * 40}, "PAGE_TOKEN", "page_token"),
        ("ListLabels", {"page_token": "-1"}, "PAGE_TOKEN", "page_token"),
        ("GetImage", {"image_id": "\0"}, "NUL_CHARACTER", "image_id"),
        ("ListLabels", {"page_token": "none"}, "PAGE_TOKEN", "page_token"),
        ("ListLabels", {"review_state": 9}, "UNKNOWN_VALUE", "review_state"),
        ("GetStatistics", {"project": "X"}, "PROJECT_NAME", "project"),
    ]
    for method, changes, reason, field in cases:
        fields = {"project": "hearts", **changes} if method != "GetImage" else changes
        with pytest.raises(errors.InvalidArgument) as refusal:
            clinic("anna", method, **fields)
        assert (refusal.value.reason, refusal.value.field) == (reason, field)
    with pytest.raises(errors.InvalidArgument) as refusal:
        clinic.export(format=9)
    assert refusal.value.field == "format"
    with pytest.raises(errors.FailedPrecondition) as refusal:
        clinic.export()
    assert refusal.value.reason == "NO_LABELS"


def test_roles_hold(clinic: Clinic) -> None:
    (image_id,) = clinic.add(1)
    label = clinic.label("rita", "r1")
    refused = {
        "anna": ["ImportImages", "ImportBatch", "ReviewLabel"],
        "rita": ["ImportImages", "ImportBatch"],
        "carl": ["LeaseTask", "SubmitLabel", "RejectImage", "ListLabels", "GetImage", "GetStatistics"],
    }
    for person, methods in refused.items():
        for method in methods:
            with pytest.raises(errors.PermissionDenied):
                clinic(person, method)
    for person in ("anna", "rita"):
        request = pb.ExportDatasetRequest(project="hearts")
        with pytest.raises(errors.PermissionDenied), translated():
            list(LabelingServiceStub(clinic.channel(person)).ExportDataset(request))
    with pytest.raises(errors.Unauthenticated):
        clinic("nobody", "GetImage", image_id=image_id)
    assert clinic("mia", "ReviewLabel", label_id=label.id, approval=pb.Approval()).label.reviewer == "mia"


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    url = f"sqlite:///{tmp_path / 'labeling.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql")
    async with opened(url, MIGRATIONS) as engine:
        yield engine


async def add(engine: AsyncEngine, count: int) -> None:
    rows = [
        Image(
            project="hearts",
            url="file:///nowhere",
            sha256=f"{number:064x}",
            width=WIDTH,
            height=HEIGHT,
            pixel_aspect=1.0,
            origin=pb.ORIGIN_REAL,
            subject_id="",
            batch_seed=2**64 - 1,
        )
        for number in range(count)
    ]
    await committed(engine, lambda session: images.add(session, "hearts", rows))


async def lease(engine: AsyncEngine, who: str, now: datetime = NOW) -> Image:
    return await committed(engine, lambda session: tasks.lease(session, "hearts", who, now, timedelta(seconds=10)))


async def submit(engine: AsyncEngine, who: str, lease_id: str | None, now: datetime) -> labels.Outcome:
    request = pb.SubmitLabelRequest(request_id=str(now), lease_id=lease_id, key_points=points())
    return await committed(engine, lambda session: labels.submit(session, request, who, now))


async def test_migrations_make_the_tables_that_the_code_states(database: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        migrated = MigrationContext.configure(connection, opts={"version_table": "labeling_version"})
        return compare_metadata(migrated, Base.metadata)

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_lease_that_ran_out_goes_to_the_next(database: AsyncEngine) -> None:
    await add(database, 1)
    anna = await lease(database, "anna")
    assert anna.batch_seed == 2**64 - 1
    assert anna.lease_expires == NOW + timedelta(seconds=10)
    with pytest.raises(errors.NotFound):
        await lease(database, "ben", NOW + timedelta(seconds=9.999))
    end = NOW + timedelta(seconds=10)
    with pytest.raises(errors.FailedPrecondition):
        await submit(database, "anna", anna.lease_id, end)
    ben = await lease(database, "ben", end)
    assert (ben.id, ben.lease_id != anna.lease_id) == (anna.id, True)
    with pytest.raises(errors.FailedPrecondition):
        await submit(database, "anna", anna.lease_id, end)
    assert (await submit(database, "ben", ben.lease_id, end)).label.labeller == "ben"


async def test_a_renewed_lease_lasts_longer(database: AsyncEngine) -> None:
    await add(database, 1)
    first = await lease(database, "anna")
    await lease(database, "anna", NOW + timedelta(seconds=9))
    label = (await submit(database, "anna", first.lease_id, NOW + timedelta(seconds=18))).label
    assert label.create_time == NOW + timedelta(seconds=18)


async def test_many_at_once_share_no_task(database: AsyncEngine) -> None:
    await add(database, 24)
    people = [f"labeller {number}" for number in range(8)] * 3
    taken = await asyncio.gather(*(lease(database, who) for who in people))
    assert len({image.id for image in taken}) == 8
    assert len({(image.leased_by, image.id) for image in taken}) == 8


async def test_the_same_image_imported_twice_at_once_is_one(database: AsyncEngine) -> None:
    await asyncio.gather(*(add(database, 5) for _ in range(4)))
    people = [await lease(database, str(number)) for number in range(5)]
    assert [image.sha256 for image in people] == [f"{number:064x}" for number in range(5)]
    with pytest.raises(errors.NotFound):
        await lease(database, "one more")
