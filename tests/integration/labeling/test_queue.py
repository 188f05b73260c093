"""Which image comes next: in an order by what a model reads, and gold images among the others."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from canicor import errors
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.model_repository import ModelRepository
from tests import toy_models
from tests.clinics import Clinic, on_both_databases, points
from tests.servers import until


def project(clinic: Clinic, **fields: object) -> None:
    clinic("mia", "SetProject", project=pb.Project(name="hearts", **fields))


def leases(clinic: Clinic, person: str, count: int) -> list[str]:
    """The images that somebody would label next."""
    held: list[pb.Task] = []
    for _ in range(count):
        ids = [task.lease_id for task in held]
        held.append(clinic(person, "LeaseTask", project="hearts", held_lease_ids=ids).task)
    return [task.image.id for task in held]


@on_both_databases
def test_five_leases_are_held_at_most(clinic: Clinic) -> None:
    ids = clinic.add(7)
    assert leases(clinic, "anna", 5) == ids[:5]
    assert clinic.lease("anna").image.id == ids[0], "without the others in hand it is the first again"
    assert leases(clinic, "ben", 2) == ids[5:]
    with pytest.raises(errors.InvalidArgument) as refusal:
        clinic("anna", "LeaseTask", project="hearts", held_lease_ids=list("abcde"))
    assert refusal.value.reason == "HELD_LEASES"


@on_both_databases
def test_gold_images_are_mixed_in_and_count_for_nothing_else(clinic: Clinic) -> None:
    (gold,) = clinic.add(1)
    with pytest.raises(errors.FailedPrecondition) as refusal:
        clinic("mia", "SetGold", image_id=gold, gold=True)
    assert refusal.value.reason == "NOT_LABELLED"
    clinic.label("anna", "a1", 9.0)
    with pytest.raises(errors.PermissionDenied):
        clinic("rita", "SetGold", image_id=gold, gold=True)
    clinic("mia", "SetGold", image_id=gold, gold=True)
    project(clinic, gold_share=0.5)
    # That chance hands it to him before none is left fails once in a million times.
    clinic.add(21)

    handed = []
    for number in range(21):
        task = clinic.lease("ben")
        handed.append(task.image.id)
        request = {"request_id": f"b{number}", "lease_id": task.lease_id, "key_points": points(9.6)}
        clinic("ben", "SubmitLabel", **request)
    assert handed.count(gold) == 1
    assert len(set(handed)) == 21, "nobody labels an image twice"
    counts = clinic("mia", "GetStatistics", project="hearts")
    assert (counts.image_count, counts.labelled_count, counts.open_count) == (21, 21, 0)
    answer = clinic("rita", "GetAgreement", project="hearts")
    assert not answer.pairs, "a label that checks its labeller is compared with the gold alone"
    (found,) = answer.gold
    assert (found.second, found.image_count) == ("ben", 1)
    assert (found.measurements[0].first, found.measurements[0].second) == pytest.approx((9.0, 9.6))
    assert not clinic("ben", "GetAgreement", project="hearts").gold
    state = pb.REVIEW_STATE_PENDING
    pending = clinic("rita", "ListLabels", project="hearts", review_state=state, page_size=100).labels
    assert len(pending) == 21, "labels on gold images need no review"


@pytest.mark.parametrize(
    ("fields", "reason"), [({"gold_share": 0.6}, "GOLD_SHARE"), ({"gold_share": float("nan")}, "GOLD_SHARE")]
)
def test_what_no_project_can_be_is_refused(clinic: Clinic, fields: dict[str, float], reason: str) -> None:
    with pytest.raises(errors.InvalidArgument) as refusal:
        project(clinic, **fields)
    assert refusal.value.reason == reason


@pytest.fixture
def read_clinic(serve: Callable, repository: ModelRepository, tokens_file: Path) -> Iterator[Clinic]:
    """A clinic whose images a model reads."""
    toy_models.push(repository)
    address = serve("classifier").address
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file), CANICOR_CLASSIFIER_ADDRESS=address)
    clinic = Clinic(server, server.home)
    yield clinic
    clinic.close()


def read(clinic: Clinic, count: int) -> None:
    until(lambda: clinic.metric('canicor_suggestions_total{answer="points"}') == count)


def test_suggestions_are_shown_where_the_project_wants_them(read_clinic: Clinic) -> None:
    read_clinic.add(1)
    assert not read_clinic.lease("anna").HasField("suggestion")
    project(read_clinic, suggestions=True)
    read(read_clinic, 1)
    task = read_clinic.lease("anna")
    assert task.suggestion.a.x == pytest.approx(30 * 80 / 96, abs=1)
    request = {"request_id": "a", "lease_id": task.lease_id, "key_points": task.suggestion}
    label = read_clinic("anna", "SubmitLabel", suggestion_shown=True, **request).label
    assert label.suggested_by == "vhs-keypoints/1"
    project(read_clinic, suggestions=False)
    read_clinic.add(2)
    assert not read_clinic.lease("anna").HasField("suggestion")


def test_an_image_that_was_read_comes_before_those_that_were_not(read_clinic: Clinic) -> None:
    first, second = read_clinic.add(2)
    assert read_clinic.lease("ben").image.id == first
    project(read_clinic, order=pb.QUEUE_ORDER_NEAR_THRESHOLDS)
    read(read_clinic, 2)
    assert read_clinic.lease("anna").image.id == second
    project(read_clinic, order=pb.QUEUE_ORDER_IMPORT)
    assert read_clinic.lease("ben").image.id == first
