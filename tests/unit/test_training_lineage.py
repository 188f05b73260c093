"""Datasets follow those of the model in production."""

from dataclasses import replace

import pytest

from canicor.errors import InvalidArgument, NotFound
from canicor.manifest import Row, digest
from canicor.vhs import HeartSize, KeyPoints
from tests import toy_models
from tests.unit.test_training_dataset import MIXED, POINTS, row, rows_of
from training.dataset import split
from training.lineage import Lineage
from training.retraining import following


def splits_of(rows: list[Row]) -> dict[str, str]:
    return {one.image_sha256: one.split for one in rows}


def test_splits_stay_whatever_comes_beside() -> None:
    production = split(rows_of(MIXED), seed=0)
    unsplit = [replace(one, split="") for one in production]
    new = [row(1000 + number, HeartSize.SMALL, f"new-{number}") for number in range(60)]
    # Further images of dogs that are known.
    new += [row(2000 + number, one.heart_size, one.subject_id) for number, one in enumerate(production)]
    after = split(following(production, unsplit, new), seed=3)
    stays = splits_of(after)
    assert all(stays[one.image_sha256] == one.split for one in production)
    of_dog = {one.subject_id: one.split for one in production}
    assert all(one.split == of_dog.get(one.subject_id, one.split) for one in after)
    small = [one.split for one in after if one.subject_id.startswith("new-")]
    assert 5 <= small.count("test") <= 25


def test_production_goes_before_what_a_base_states() -> None:
    production = [row(1, split="test"), row(2, subject="rex", split="train")]
    base = [row(1, split="train"), row(3, subject="rex", split="test"), row(4, split="validation")]
    assert splits_of(following(production, base, [])) == splits_of(
        [row(1, split="test"), row(3, split="train"), row(4, split="validation")]
    )


def test_a_label_of_the_service_counts_before_the_bases() -> None:
    moved = KeyPoints.from_array(POINTS.xy + 1)
    base, label = row(1, split="test"), replace(row(1), key_points=moved, labeller="rita")
    (one,) = following([], [base], [label])
    assert (one.key_points, one.labeller, one.split) == (moved, "rita", "test")


def test_images_find_their_split_when_their_dog_gets_a_name() -> None:
    production = [row(1, split="test"), row(2, split="train")]
    named = [row(1, subject="rex"), row(3, subject="rex")]
    assert splits_of(following(production, [], named)) == splits_of([row(1, split="test"), row(3, split="test")])
    # Both of one dog after all: neither may change sides.
    rows = following(production, rows_of(MIXED), [row(1, subject="rex"), row(2, subject="rex")])
    with pytest.raises(InvalidArgument, match="'rex' is in the splits test and train"):
        split(rows, seed=0)


def test_new_labels_are_those_of_no_dataset() -> None:
    lineage = Lineage("memory:///lineage", "hearts")
    one, two = split(rows_of(MIXED), seed=0), split(rows_of(MIXED), seed=1)
    assert lineage.new_labels(one) == len(one)
    lineage.keep(one)
    # Splits and labellers do not make a label.
    assert lineage.new_labels([replace(single, labeller="rita") for single in two]) == 0
    moved = replace(one[0], key_points=KeyPoints.from_array(POINTS.xy + 1))
    assert lineage.new_labels([moved, *one[1:], row(9999)]) == 2
    lineage.keep([moved, *one[1:]])
    assert lineage.new_labels([*one, moved, row(9999)]) == 1
    assert Lineage("memory:///lineage", "heart").new_labels(one) == len(one)


def test_a_model_may_know_what_its_dataset_had_outside_test() -> None:
    lineage = Lineage("memory:///known", "hearts")
    rows = split(rows_of(MIXED, per_subject=2), seed=0)
    parts = {name: [one for one in rows if one.split == name] for name in ("train", "validation", "test")}
    info = toy_models.info(
        training_dataset_digest=digest(parts["train"]), test_dataset_digest=digest(parts["test"])
    )
    assert not lineage.may_know(info, parts["test"])
    assert lineage.may_know(info, [row(9999)])
    with pytest.raises(NotFound, match="not in the image store"):
        lineage.of(info)
    lineage.keep(rows)
    assert lineage.of(info) == rows
    assert not lineage.may_know(info, [row(9999), *parts["test"]])
    for learnt in ("train", "validation"):
        again = row(9999, subject=parts[learnt][0].subject_id)
        assert lineage.may_know(info, [*parts["test"], again])
