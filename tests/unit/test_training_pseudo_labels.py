"""A model labels what it is sure of, and leaves out what it is not."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from canicor import manifest, phantom
from canicor.bundle import Bundle, ModelKind
from canicor.errors import InvalidArgument
from canicor.manifest import Origin, Row
from canicor.model_repository import ModelRepository
from canicor.store import file_url
from canicor.vhs import HeartSize, KeyPoints
from tests import toy_models
from tests.hearts import heart
from training.augmentation import Strength, augment
from training.fitting import Recipe
from training.pseudo_labels import _carried_back, is_pseudo, pseudo_label
from training.run import Plan, input_spec, load, origins

DRAWN = [phantom.draw(97, index, width=400, height=320) for index in range(6)]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def shipped(tmp_path: Path) -> Bundle:
    return ModelRepository(file_url(tmp_path / "models"), shipped=True).read("vhs-keypoints", "0")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    noise = np.random.default_rng(0).integers(0, 256, (320, 400), dtype=np.uint8)
    contents = {f"{index}.png": png(one.pixels) for index, one in enumerate(DRAWN)}
    contents |= {"noise.png": png(noise), "notes.txt": b"Bella, 4 years"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def test_what_the_model_knows_is_labelled_and_the_rest_left_out(shipped: Bundle, files: list[Path]) -> None:
    done = []
    found = pseudo_label(shipped, files, 0.6, 0, lambda: done.append(None))
    assert len(done) == len(files) == len(found.rows) + len(found.left_out)
    assert len(found.rows) >= 3
    assert any("noise.png: it is unlike what the model knows" in line for line in found.left_out)
    assert any("notes.txt: " in line for line in found.left_out)
    for row in found.rows:
        truth = DRAWN[int(Path(row.image_url).stem)]
        assert row.vhs == pytest.approx(truth.vhs, abs=1.2)
        assert (row.origin, row.split, row.labeller) == (Origin.REAL, "train", "model vhs-keypoints/0")
        assert row.image_sha256 == hashlib.sha256(files[int(Path(row.image_url).stem)].read_bytes()).hexdigest()
    assert manifest.read(manifest.write(found.rows)) == list(found.rows)


def test_passes_that_differ_are_no_label(shipped: Bundle, files: list[Path]) -> None:
    strict, lenient = (pseudo_label(shipped, files[:6], limit, 0, lambda: None) for limit in (0.001, 100.0))
    assert not strict.rows
    assert all("its passes differ by " in line for line in strict.left_out)
    assert len(lenient.rows) > len(strict.rows)


def test_the_same_seed_gives_the_same_labels(shipped: Bundle, files: list[Path]) -> None:
    one, two, other = (pseudo_label(shipped, files[:2], 100.0, seed, lambda: None) for seed in (1, 1, 2))
    assert one == two
    assert one != other


def test_what_gives_no_key_points_is_refused(tmp_path: Path) -> None:
    repository = ModelRepository(file_url(tmp_path))
    toy_models.push(repository, toy_models.class_model(), "vhs-classifier", kind=ModelKind.CLASSIFIER)
    with pytest.raises(InvalidArgument, match="gives no key points"):
        pseudo_label(repository.read("vhs-classifier", "1"), [], 0.3, 0, lambda: None)


def test_points_are_carried_back_through_any_change() -> None:
    points = torch.tensor([[60.0, 40.0], [80.0, 75.0], [50.0, 65.0], [85.0, 50.0], [45.0, 30.0], [90.0, 25.0]])
    images = torch.zeros(20, 112, 144, dtype=torch.uint8)
    _, moved = augment(images, points.expand(20, 6, 2), Strength(), torch.arange(20))
    for one in moved.numpy():
        assert _carried_back(one, one, points.numpy()) == pytest.approx(points.numpy(), abs=1e-3)


def test_a_model_taught_by_phantoms_and_its_like_knows_phantoms_alone(shipped: Bundle, files: list[Path]) -> None:
    rows = pseudo_label(shipped, files[:6], 100.0, 0, lambda: None).rows
    assert all(is_pseudo(row) for row in rows)
    assert origins(rows) == ()
    labelled = [replace(row, labeller="a vet") for row in rows]
    assert origins([*rows, *labelled]) == (Origin.REAL,)


def test_what_models_labelled_is_not_learned_from_alone() -> None:
    points = KeyPoints.from_array(heart(9) * 30 + 150)
    row = Row(
        *("file:///nowhere.png", "0" * 64, Origin.REAL, "", 0, 0, "", "train", points, 1.0, 9.0),
        *(HeartSize.NORMAL, "model vhs-keypoints/0", "pending"),
    )
    to_train_on = [("train", size, row.labeller) for size in HeartSize for _ in range(8)]
    by_people = [(one, row.heart_size, "a vet") for one in ("validation", "test")]
    rows = [
        replace(row, image_sha256=f"{index:064}", split=name, heart_size=size, labeller=labeller)
        for index, (name, size, labeller) in enumerate([*to_train_on, *by_people])
    ]
    plan = Plan(ModelKind.KEYPOINTS, "toy", input_spec(64), Recipe(1))
    with pytest.raises(InvalidArgument, match="every image to train on was labelled by a model"):
        load(rows, plan, lambda *told: None)
