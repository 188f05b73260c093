"""A fold's network has not learnt from what it is asked about: labels that mean nothing show it."""

from dataclasses import replace

import numpy as np
import pytest

from canicor.errors import InvalidArgument
from tests.unit.test_training_evaluation import images as labelled
from training.augmentation import Strength
from training.cross_validation import HeldOut, cross_validate
from training.dataset import Images
from training.fitting import Recipe, class_loss
from training.network import ClassNetwork

STILL = Strength(rotation=0, scale=1, shift=0, gamma=1, contrast=0, brightness=0, noise=0, blur=0)


def random_pictures(count: int) -> Images:
    """Coarse noise, with classes in equal parts that nothing but memory can tell."""
    rng = np.random.default_rng(0)
    images = labelled(rng.permutation(np.tile([7.5, 9.0, 11.0], count // 3)).tolist())
    coarse = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
    pixels = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)
    # Without points, what is left as it is stays where it is.
    return replace(images, pixels=pixels, points=np.full_like(images.points, np.nan))


def said(images: Images, epochs: int) -> HeldOut:
    recipe = Recipe(epochs=epochs, strength=STILL)
    return cross_validate(images, ClassNetwork, class_loss, recipe, 0, lambda *_: None, folds=3)


def test_labels_that_mean_nothing_stay_at_chance() -> None:
    images = random_pictures(60)
    # One in three is right by chance, and half in one of a hundred such sets.
    assert (said(images, 10).classes == images.classes).mean() < 0.5


def test_folds_divide_no_dog_and_ask_about_every_image_once() -> None:
    images = random_pictures(60)
    rows = tuple(replace(row, subject_id=f"dog-{number // 2}") for number, row in enumerate(images.rows))
    held_out = said(replace(images, rows=rows), 1)
    assert sorted(np.unique(held_out.fold)) == [0, 1, 2]
    assert (held_out.fold[::2] == held_out.fold[1::2]).all()
    assert ((held_out.confidence >= 1 / 3) & (held_out.confidence <= 1)).all()


def test_each_fold_has_its_share_of_each_class() -> None:
    images = random_pictures(60)
    held_out = said(images, 1)
    counts = np.array([np.bincount(held_out.fold[images.classes == index]) for index in range(3)])
    assert ((counts >= 6) & (counts <= 7)).all()


def test_too_few_dogs_of_a_class_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="2 dogs with Small hearts"):
        said(labelled([7.0, 7.5, *[9.0] * 10]), 1)
