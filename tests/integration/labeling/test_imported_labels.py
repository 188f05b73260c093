"""Images that come with a label that was placed elsewhere."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from canicor import errors, manifest
from canicor.labeling.v1 import labeling_pb2 as pb
from tests.clinics import HEIGHT, WIDTH, Clinic, on_both_databases, png, points


def labelled(number: int, vhs: float = 9.0, labeller: str = "Vera at the clinic") -> pb.ImportImage:
    return pb.ImportImage(content=png(number), label=pb.ImportedLabel(key_points=points(vhs), labeller=labeller))


def add(clinic: Clinic, *images: pb.ImportImage) -> tuple[int, int, int]:
    """Images that are new, images that were there, labels that are new."""
    answer = clinic("mia", "ImportImages", project="hearts", images=images)
    return answer.added_count, answer.known_count, answer.added_label_count


def counts(clinic: Clinic) -> tuple[int, int, int, int]:
    """Images that are labelled, disputed, leased and open."""
    found = clinic("mia", "GetStatistics", project="hearts")
    return found.labelled_count, found.disputed_count, found.leased_count, found.open_count


def exported(clinic: Clinic) -> list[manifest.Row]:
    return manifest.read(b"".join(clinic.export()[0]))


@on_both_databases
def test_a_label_comes_in_once_with_its_image(clinic: Clinic) -> None:
    images = labelled(0), pb.ImportImage(content=png(1)), labelled(2, 11.0)
    assert add(clinic, *images) == (3, 0, 2)
    assert add(clinic, *images) == (0, 3, 0)
    assert counts(clinic) == (2, 0, 0, 1)
    first, _ = clinic("rita", "ListLabels", project="hearts").labels
    assert (first.labeller, first.vhs) == ("Vera at the clinic", pytest.approx(9.0))
    assert first.key_points == points(9.0)
    assert [(row.labeller, row.review_state) for row in exported(clinic)] == [
        ("Vera at the clinic", "pending")
    ] * 2

    corrected = clinic("rita", "ReviewLabel", label_id=first.id, correction=points(8.5)).label
    assert (corrected.labeller, corrected.reviewer) == ("Vera at the clinic", "rita")
    assert [row.vhs for row in exported(clinic)] == pytest.approx([8.5, 11.0])
    assert not clinic("anna", "ListLabels", project="hearts").labels, "a labeller sees his own alone"


@on_both_databases
def test_it_is_one_of_those_that_the_image_wants(clinic: Clinic) -> None:
    clinic("mia", "SetProject", project=pb.Project(name="hearts", labels_per_image=2))
    assert add(clinic, labelled(0, 9.0, "anna")) == (1, 0, 1)
    assert counts(clinic) == (0, 0, 0, 1)
    with pytest.raises(errors.NotFound) as refusal:
        clinic.lease("anna")
    assert refusal.value.reason == "NO_TASK_LEFT"
    clinic.label("ben", "b1", 9.2)
    assert counts(clinic) == (1, 0, 0, 0)
    (row,) = exported(clinic)
    assert (row.labeller, row.vhs) == ("anna, ben", pytest.approx(9.1))


@on_both_databases
def test_an_image_that_is_there_gets_the_label_too(clinic: Clinic) -> None:
    clinic.add(2)
    clinic.label("anna", "a1", 8.0)
    assert add(clinic, labelled(0, 9.0, "anna"), labelled(1, 9.0)) == (0, 2, 1)
    assert counts(clinic) == (2, 0, 0, 0)
    assert [row.vhs for row in exported(clinic)] == pytest.approx([8.0, 9.0])

    assert add(clinic, labelled(0, 9.0)) == (0, 1, 1)
    assert counts(clinic) == (1, 1, 0, 0), "anna's label and this one disagree"


@on_both_databases
def test_whoever_is_at_an_image_stays_at_it(clinic: Clinic) -> None:
    clinic.add(2)
    anna, ben = clinic.lease("anna"), clinic.lease("ben")
    assert add(clinic, labelled(0, 9.0, "anna"), labelled(1, 9.0)) == (0, 2, 2)
    with pytest.raises(errors.FailedPrecondition) as refusal:
        clinic("anna", "SubmitLabel", request_id="a1", lease_id=anna.lease_id, key_points=points())
    assert refusal.value.reason == "LEASE_EXPIRED", "her label is there already"
    clinic("ben", "SubmitLabel", request_id="b1", lease_id=ben.lease_id, key_points=points(9.2))
    assert [row.labeller for row in exported(clinic)] == ["anna", "Vera at the clinic, ben"]
    for person in ("anna", "ben"):
        with pytest.raises(errors.NotFound):
            clinic.lease(person)


@on_both_databases
def test_nobody_decides_between_his_own_label_and_another(clinic: Clinic) -> None:
    assert add(clinic, labelled(0, 8.0, "rita"), labelled(0, 9.0, "Vera")) == (1, 1, 2)
    assert counts(clinic) == (0, 1, 0, 0)
    with pytest.raises(errors.NotFound):
        clinic("rita", "LeaseTask", project="hearts", adjudicate=True)
    task = clinic("mia", "LeaseTask", project="hearts", adjudicate=True).task
    assert [label.labeller for label in task.labels] == ["rita", "Vera"]
    assert add(clinic, labelled(0, 9.0, "mia")) == (0, 1, 1)
    with pytest.raises(errors.FailedPrecondition) as refusal:
        clinic("mia", "SubmitLabel", request_id="m1", lease_id=task.lease_id, key_points=points())
    assert refusal.value.reason == "LEASE_EXPIRED"


def test_what_was_sent_back_does_not_come_in_again(clinic: Clinic) -> None:
    add(clinic, labelled(0))
    (label,) = clinic("rita", "ListLabels", project="hearts").labels
    clinic("rita", "ReviewLabel", label_id=label.id, send_back="that is T5")
    assert add(clinic, labelled(0)) == (0, 1, 0)
    assert counts(clinic) == (0, 0, 0, 1)
    assert clinic.label("anna", "a1").labeller == "anna"


@on_both_databases
def test_the_same_import_at_once_is_one(clinic: Clinic) -> None:
    images = [labelled(number, 9.0, who) for number in range(4) for who in ("Vera", "anna")]
    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(lambda _: add(clinic, *images), range(4)))
    assert sum(one[0] for one in added) == 4
    assert sum(one[2] for one in added) == 8
    assert len(clinic("rita", "ListLabels", project="hearts").labels) == 8
    assert counts(clinic) == (4, 0, 0, 0)


@on_both_databases
def test_a_bad_label_adds_nothing(clinic: Clinic) -> None:
    coinciding, missing, infinite, right, above = (points() for _ in range(5))
    coinciding.d.CopyFrom(coinciding.c)
    missing.ClearField("e")
    infinite.f.y = float("inf")
    right.d.x = WIDTH
    above.a.y = -1
    tall = points()
    tall.b.y = HEIGHT
    cases = [
        *((bad, "Vera", "DEGENERATE_KEY_POINTS", "key_points") for bad in (coinciding, missing, infinite, None)),
        *((bad, "Vera", "OUTSIDE_IMAGE", "key_points") for bad in (right, above, tall)),
        (points(), "", "LABELLER", "labeller"),
        (points(), "x" * 129, "LABELLER", "labeller"),
        (points(), "\0", "NUL_CHARACTER", "labeller"),
    ]
    for key_points, labeller, reason, field in cases:
        bad = pb.ImportedLabel(key_points=key_points, labeller=labeller)
        images = [labelled(0), pb.ImportImage(content=png(1)), pb.ImportImage(content=png(2), label=bad)]
        with pytest.raises(errors.InvalidArgument) as refusal:
            add(clinic, *images)
        assert (refusal.value.reason, refusal.value.field) == (reason, f"images[2].label.{field}")
        assert refusal.value.message.startswith("images[2]")
    assert clinic("mia", "GetStatistics", project="hearts").image_count == 0
    assert not (clinic.folder / "store" / "labeling").exists()
    assert add(clinic, labelled(0, 9.0, "x" * 128)) == (1, 0, 1)
