"""Images that several people label: where they agree, where a reviewer decides, and how projects say so."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from canicor import errors, manifest
from canicor.agreement import intraclass_correlation, limits_of_agreement
from canicor.labeling.v1 import labeling_pb2 as pb
from tests.clinics import Clinic, on_both_databases, points


def by_two(clinic: Clinic, count: int, **fields: object) -> list[str]:
    """Images of a project that wants two labels of each."""
    clinic("mia", "SetProject", project=pb.Project(name="hearts", labels_per_image=2, **fields))
    return clinic.add(count)


def decide(clinic: Clinic, person: str = "rita") -> pb.Task:
    return clinic(person, "LeaseTask", project="hearts", adjudicate=True).task


def statistics(clinic: Clinic) -> pb.GetStatisticsResponse:
    return clinic("mia", "GetStatistics", project="hearts")


def exported(clinic: Clinic, **fields: object) -> list[manifest.Row]:
    return manifest.read(b"".join(clinic.export(**fields)[0]))


@on_both_databases
def test_two_who_agree_label_an_image_together_and_nobody_twice(clinic: Clinic) -> None:
    first, second = by_two(clinic, 2)
    assert clinic.label("anna", "a1", 9.0).image_id == first
    assert clinic.label("anna", "a2", 9.0).image_id == second
    with pytest.raises(errors.NotFound) as refusal:
        clinic.lease("anna")
    assert refusal.value.reason == "NO_TASK_LEFT"
    assert (statistics(clinic).labelled_count, statistics(clinic).open_count) == (0, 2)
    with pytest.raises(errors.FailedPrecondition, match="no label"):
        clinic.export()

    assert clinic.label("ben", "b1", 9.4).image_id == first
    assert (statistics(clinic).labelled_count, statistics(clinic).open_count) == (1, 1)
    (row,) = exported(clinic)
    assert (row.vhs, row.labeller, row.review_state) == (pytest.approx(9.2), "anna, ben", "pending")
    expected = (points(9.0).b.y + points(9.4).b.y) / 2
    assert row.key_points is not None
    assert row.key_points.xy[1, 1] == pytest.approx(expected)


@on_both_databases
def test_a_reviewer_decides_where_labels_disagree(clinic: Clinic) -> None:
    (image_id,) = by_two(clinic, 1)
    clinic.label("anna", "a1", 8.0)
    clinic.label("ben", "b1", 9.0)
    assert (statistics(clinic).disputed_count, statistics(clinic).labelled_count) == (1, 0)
    with pytest.raises(errors.PermissionDenied):
        decide(clinic, "anna")
    task = decide(clinic)
    assert task.image.id == image_id
    assert [(label.labeller, round(label.vhs, 6)) for label in task.labels] == [("anna", 8.0), ("ben", 9.0)]
    request = {"request_id": "r1", "lease_id": task.lease_id, "key_points": points(8.9)}
    label = clinic("rita", "SubmitLabel", **request).label
    assert label.adjudication
    assert (statistics(clinic).disputed_count, statistics(clinic).labelled_count) == (0, 1)
    (row,) = exported(clinic, reviewed_only=True)
    assert (row.vhs, row.labeller, row.review_state) == (pytest.approx(8.9), "rita", "adjudicated")

    clinic("mia", "ReviewLabel", label_id=label.id, send_back="the apex lies further caudal")
    assert statistics(clinic).disputed_count == 1
    with pytest.raises(errors.FailedPrecondition):
        clinic.export()
    assert decide(clinic, "mia").image.id == image_id


@on_both_databases
def test_one_who_rejects_what_another_labels_disagrees_too(clinic: Clinic) -> None:
    by_two(clinic, 1)
    clinic.label("anna", "a1")
    reason = pb.REJECT_REASON_NOT_LATERAL
    clinic("ben", "RejectImage", request_id="b1", lease_id=clinic.lease("ben").lease_id, reason=reason)
    assert statistics(clinic).disputed_count == 1
    clinic("rita", "RejectImage", request_id="r1", lease_id=decide(clinic).lease_id, reason=reason)
    assert (statistics(clinic).disputed_count, statistics(clinic).rejected_count) == (0, 1)


def test_what_a_review_mends_needs_no_decision(clinic: Clinic) -> None:
    by_two(clinic, 1)
    anna, ben = clinic.label("anna", "a1", 8.0), clinic.label("ben", "b1", 9.0)
    clinic("rita", "ReviewLabel", label_id=anna.id, correction=points(8.8))
    assert (statistics(clinic).disputed_count, statistics(clinic).labelled_count) == (0, 1)
    with pytest.raises(errors.NotFound):
        decide(clinic)
    assert exported(clinic)[0].vhs == pytest.approx(8.9)
    assert exported(clinic)[0].review_state == "pending"

    clinic("rita", "ReviewLabel", label_id=ben.id, send_back="that is T5")
    assert statistics(clinic).open_count == 1
    clinic.label("ben", "b2", 8.8)
    assert exported(clinic)[0].vhs == pytest.approx(8.8)


def test_a_label_that_is_sent_back_takes_the_decision_along(clinic: Clinic) -> None:
    by_two(clinic, 1)
    clinic.label("anna", "a1", 8.0)
    ben = clinic.label("ben", "b1", 9.0)
    task = decide(clinic)
    clinic("mia", "ReviewLabel", label_id=ben.id, send_back="that is T5")
    assert (statistics(clinic).disputed_count, statistics(clinic).open_count) == (0, 1)
    with pytest.raises(errors.FailedPrecondition) as refusal:
        clinic("rita", "SubmitLabel", request_id="r1", lease_id=task.lease_id, key_points=points())
    assert refusal.value.reason == "LEASE_EXPIRED"


def test_how_far_labels_may_lie_apart_is_the_projects(clinic: Clinic) -> None:
    by_two(clinic, 1, max_disagreement=1.5)
    clinic.label("anna", "a1", 8.0)
    clinic.label("ben", "b1", 9.0)
    assert statistics(clinic).labelled_count == 1


def test_a_labeller_sees_no_label_but_his_own(clinic: Clinic) -> None:
    by_two(clinic, 1)
    anna, ben = clinic.label("anna", "a1"), clinic.label("ben", "b1")
    seen = {
        person: [label.id for label in clinic(person, "ListLabels", project="hearts").labels]
        for person in ("anna", "ben", "rita")
    }
    assert seen == {"anna": [anna.id], "ben": [ben.id], "rita": [anna.id, ben.id]}


def test_agreement_is_told_by_pair_and_by_image(clinic: Clinic) -> None:
    ids = by_two(clinic, 4)
    first, second = (9.0, 8.1, 11.0), (9.2, 8.4, 10.6)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        clinic.label("anna", f"a{number}", one)
        clinic.label("ben", f"b{number}", other)
    clinic.label("anna", "a3")
    reason = pb.REJECT_REASON_POOR_IMAGE
    clinic("ben", "RejectImage", request_id="b3", lease_id=clinic.lease("ben").lease_id, reason=reason)

    found = clinic("rita", "GetAgreement", project="hearts")
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.image_count, pair.reject_count) == ("anna", "ben", 3, 1)
    limits = limits_of_agreement(np.subtract(second, first))
    assert [pair.vhs.bias, pair.vhs.lower, pair.vhs.upper] == pytest.approx(
        [limits.bias, limits.lower, limits.upper]
    )
    assert pair.intraclass_correlation == pytest.approx(intraclass_correlation(np.transpose([first, second])))
    # Both say Normal, Large of the first and last; of the second anna says Small.
    assert pair.kappa == pytest.approx(cohen_kappa_score([1, 0, 2], [1, 1, 2]))
    # A vertebra is 5 pixels, and each axis gets half of the VHS: B moves down, D to the right.
    moved = np.mean(np.abs(np.subtract(second, first))) / 2
    assert list(pair.key_point_distances) == pytest.approx([0, moved, 0, moved, 0, 0], abs=1e-6)
    assert [(image.image_id, round(image.vhs_difference, 6)) for image in found.images] == [
        (ids[2], 0.4),
        (ids[1], 0.3),
        (ids[0], 0.2),
    ]
    assert found.images[0].key_point_distance == pytest.approx(0.4 / 6)

    assert clinic("ben", "GetAgreement", project="hearts") == found
    assert not clinic("labeller-0", "GetAgreement", project="hearts").pairs


@on_both_databases
def test_many_labellers_give_each_image_as_many_labels_as_it_wants(clinic: Clinic) -> None:
    by_two(clinic, 12)
    people = [f"labeller-{number}" for number in range(6)]

    def work(person: str) -> list[str]:
        found = []
        try:
            while True:
                found.append(clinic.label(person, str(len(found))).image_id)
        except errors.NotFound:
            return found

    with ThreadPoolExecutor(len(people)) as threads:
        labelled = list(threads.map(work, people))
    assert all(len(set(one)) == len(one) for one in labelled)
    assert sum(map(len, labelled)) == 24
    assert statistics(clinic).labelled_count == 12


def test_projects_are_made_changed_and_listed(clinic: Clinic) -> None:
    made = clinic("mia", "SetProject", project=pb.Project(name="b")).project
    assert (made.labels_per_image, made.max_disagreement) == (1, 0.5)
    changed = pb.Project(name="b", labels_per_image=3, max_disagreement=0.25, guidelines="T4 is the first that …")
    clinic("mia", "SetProject", project=changed)
    assert clinic("anna", "GetProject", name="b").project == changed
    clinic.add(1, "a")
    assert [one.name for one in clinic("anna", "ListProjects").projects] == ["a", "b"]
    with pytest.raises(errors.NotFound) as refusal:
        clinic("anna", "GetProject", name="c")
    assert refusal.value.reason == "NO_SUCH_PROJECT"


def test_bad_projects_are_refused(clinic: Clinic) -> None:
    for fields, reason, field in (
        ({"name": "A"}, "PROJECT_NAME", "project"),
        ({"labels_per_image": 11}, "LABELS_PER_IMAGE", "project.labels_per_image"),
        ({"labels_per_image": -1}, "LABELS_PER_IMAGE", "project.labels_per_image"),
        ({"max_disagreement": float("nan")}, "MAX_DISAGREEMENT", "project.max_disagreement"),
        ({"max_disagreement": -0.1}, "MAX_DISAGREEMENT", "project.max_disagreement"),
        ({"max_disagreement": 20.5}, "MAX_DISAGREEMENT", "project.max_disagreement"),
        ({"guidelines": "x" * 20_001}, "GUIDELINES_TOO_LONG", "project.guidelines"),
        ({"guidelines": "\0"}, "NUL_CHARACTER", "project.guidelines"),
    ):
        with pytest.raises(errors.InvalidArgument) as refusal:
            clinic("mia", "SetProject", project=pb.Project(**{"name": "hearts", **fields}))
        assert (refusal.value.reason, refusal.value.field) == (reason, field)
    with pytest.raises(errors.PermissionDenied):
        clinic("rita", "SetProject", project=pb.Project(name="hearts"))
    assert not clinic("mia", "ListProjects").projects
