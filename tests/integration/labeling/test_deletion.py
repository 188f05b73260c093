"""Images that have to go: with their files, labels and reviews, and nothing else with them."""

import pytest

from canicor import errors
from canicor.labeling.v1 import labeling_pb2 as pb
from tests.clinics import Clinic, on_both_databases, png


def files(clinic: Clinic) -> list[bytes]:
    folder = clinic.folder / "store" / "labeling"
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


@on_both_databases
def test_what_is_deleted_is_gone_with_its_file_and_its_labels(clinic: Clinic) -> None:
    ids = clinic.add(3)
    label = clinic.label("anna", "first")
    clinic("rita", "ReviewLabel", label_id=label.id, approval=pb.Approval())
    assert label.image_id == ids[0]
    leased = clinic.lease("anna")

    answer = clinic("mia", "DeleteImages", project="hearts", image_ids=[*ids[:2], "f" * 32])

    assert answer.deleted_count == 2
    assert files(clinic) == [png(2)]
    assert not clinic("rita", "ListLabels", project="hearts").labels
    with pytest.raises(errors.NotFound):
        clinic("anna", "GetImage", image_id=ids[0])
    reject = {"lease_id": leased.lease_id, "reason": pb.REJECT_REASON_POOR_IMAGE}
    with pytest.raises(errors.FailedPrecondition) as refusal:
        clinic("anna", "RejectImage", request_id="late", **reject)
    assert refusal.value.reason == "LEASE_EXPIRED"
    assert clinic.lease("anna").image.id == ids[2]
    again = clinic("mia", "DeleteImages", project="hearts", image_ids=ids[:2])
    assert again.deleted_count == 0


def test_a_dog_s_images_go_together(clinic: Clinic) -> None:
    dogs = ["Rex", "Rex", "Bella"]
    images = [pb.ImportImage(content=png(number), subject_id=dog) for number, dog in enumerate(dogs)]
    clinic("mia", "ImportImages", project="hearts", images=images)
    assert clinic("mia", "DeleteImages", project="hearts", subject_id="Rex").deleted_count == 2
    assert files(clinic) == [png(2)]


def test_a_file_stays_as_long_as_another_project_has_it(clinic: Clinic) -> None:
    (here,), (there,) = clinic.add(1), clinic.add(1, "lungs")
    clinic("mia", "DeleteImages", project="hearts", image_ids=[here])
    assert clinic("anna", "GetImage", image_id=there).content == png(0)
    assert clinic("mia", "DeleteImages", project="hearts", image_ids=[there]).deleted_count == 0
    clinic("mia", "DeleteImages", project="lungs", image_ids=[there])
    assert files(clinic) == []


def test_what_is_deleted_may_be_imported_again(clinic: Clinic) -> None:
    (before,) = clinic.add(1)
    clinic("mia", "DeleteImages", project="hearts", image_ids=[before])
    (after,) = clinic.add(1)
    assert clinic("anna", "GetImage", image_id=after).content == png(0)


def test_what_names_nothing_or_too_much_is_refused(clinic: Clinic) -> None:
    clinic.add(1)
    cases = [
        ({}, "NOTHING_NAMED", "image_ids"),
        ({"image_ids": ["x"] * 1001}, "TOO_MANY_IMAGES", "image_ids"),
        ({"image_ids": ["\0"]}, "NUL_CHARACTER", "image_ids[0]"),
        ({"subject_id": "\0"}, "NUL_CHARACTER", "subject_id"),
    ]
    for fields, reason, field in cases:
        with pytest.raises(errors.InvalidArgument) as refusal:
            clinic("mia", "DeleteImages", project="hearts", **fields)
        assert (refusal.value.reason, refusal.value.field) == (reason, field)
    with pytest.raises(errors.PermissionDenied):
        clinic("rita", "DeleteImages", project="hearts", subject_id="Rex")
    assert len(files(clinic)) == 1
