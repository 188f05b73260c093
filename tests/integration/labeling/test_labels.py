"""Tasks, labels, reviews and datasets as labellers, reviewers and managers meet them, over sockets."""

import csv
import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf.duration_pb2 import Duration

from canicor import errors, manifest
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.measurement.v1 import measurement_pb2 as measurement
from tests.clinics import HEIGHT, WIDTH, Clinic, on_both_databases, png, points


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
    clinic.add(300)

    def work(person: str) -> list[str]:
        answered = []
        try:
            for number in range(300):
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
def test_the_history_of_an_image_tells_who_placed_and_who_changed_what(clinic: Clinic) -> None:
    (image_id,) = clinic.add(1)
    first = clinic.label("anna", "a1", 9.0)
    clinic("rita", "ReviewLabel", label_id=first.id, send_back="look at the apex")
    second = clinic.label("ben", "b1", 9.5)
    clinic("rita", "ReviewLabel", label_id=second.id, correction=points(9.25))
    sent_back, corrected = clinic("rita", "GetHistory", image_id=image_id).entries
    assert (sent_back.label.labeller, sent_back.label.vhs) == ("anna", pytest.approx(9.0))
    assert (sent_back.review.verdict, sent_back.review.comment) == (
        pb.REVIEW_STATE_SENT_BACK,
        "look at the apex",
    )
    assert not sent_back.review.HasField("key_points")
    # What he placed, and what stands instead.
    assert (corrected.label.labeller, corrected.label.vhs) == ("ben", pytest.approx(9.5))
    assert corrected.label.key_points == points(9.5)
    assert (corrected.review.reviewer, corrected.review.vhs) == ("rita", pytest.approx(9.25))
    assert corrected.review.key_points == points(9.25)
    assert corrected.label.create_time.ToDatetime() < corrected.review.create_time.ToDatetime()
    with pytest.raises(errors.PermissionDenied):
        clinic("anna", "GetHistory", image_id=image_id)
    with pytest.raises(errors.NotFound):
        clinic("rita", "GetHistory", image_id="f" * 32)


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
