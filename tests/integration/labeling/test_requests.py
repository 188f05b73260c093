"""Requests that the labeling service refuses, each with a reason, and who may make them."""

import pytest
from google.protobuf.duration_pb2 import Duration

from canicor import errors
from canicor.client import translated
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.measurement.v1 import measurement_pb2 as measurement
from tests.clinics import WIDTH, Clinic, on_both_databases, png, points

BAD_PROJECTS = ("", "Hearts", "a b", "x" * 65, "é", "a\n", "../x")


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
