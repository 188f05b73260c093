import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from canicor.bundle import FP16_FILE, INT8_FILE, PREDICTIONS_FILE, Histogram, Limits, Predictions, Reference
from canicor.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from canicor.model_repository import Alias, ModelRepository
from canicor.store import file_url
from tests import toy_models
from tests.toy_models import info


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(file_url(tmp_path))


def test_the_shipped_model_is_in_production_until_another_is(tmp_path: Path) -> None:
    repository = ModelRepository(file_url(tmp_path), shipped=True)
    (name,) = repository.names()
    assert repository.versions(name) == ["0"]
    assert repository.aliases(name).aliases == {Alias.PRODUCTION: "0"}
    shipped = repository.read(name, "0")
    assert shipped.info.training_origins == ("phantom",)
    assert shipped.predictions is not None

    toy_models.push(repository, name=name)

    assert repository.versions(name) == ["0", "1"]
    assert repository.aliases(name).aliases == {Alias.PRODUCTION: "1"}
    assert repository.roll_back(name) == "0"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_no_model_ships_into_a_repository_that_does_not_want_it(repository: ModelRepository) -> None:
    assert repository.names() == []
    assert repository.aliases("vhs-keypoints").aliases == {}
    with pytest.raises(NotFound):
        repository.read("vhs-keypoints", "0")


def test_reads_what_was_pushed(repository: ModelRepository) -> None:
    version = repository.push("heart", info(vhs_sigma=0.31), b"graph", "# Card\n")

    bundle = repository.read("heart", version)

    assert (bundle.name, bundle.version, bundle.model, bundle.card) == ("heart", "1", b"graph", "# Card\n")
    assert bundle.info.vhs_sigma == 0.31
    assert set(bundle.info.files) == {"model.onnx", "card.md"}


def test_reads_predictions_and_the_variants_asked_for(repository: ModelRepository) -> None:
    made = toy_models.predicted()
    variants = {INT8_FILE: b"eight", FP16_FILE: b"sixteen"}
    repository.push("heart", info(), b"graph", "", variants=variants, predictions=made)

    bundle = repository.read("heart", "1", {INT8_FILE})

    assert bundle.variants == {INT8_FILE: b"eight"}
    assert bundle.predictions is not None
    assert (bundle.predictions.images == made.images).all()
    assert bundle.predictions.difference(made.outputs) == 0


@pytest.mark.parametrize("file", [INT8_FILE, PREDICTIONS_FILE])
def test_tampered_with_beside_the_model(repository: ModelRepository, tmp_path: Path, file: str) -> None:
    made = toy_models.predicted()
    repository.push("heart", info(), b"graph", "", variants={INT8_FILE: b"eight"}, predictions=made)
    (tmp_path / "heart" / "1" / file).write_bytes(b"other")
    with pytest.raises(DataLoss):
        repository.read("heart", "1", {INT8_FILE})


@pytest.mark.parametrize(
    ("images", "outputs"),
    [
        (np.zeros((2, 8, 8), np.uint8), {}),
        (np.zeros((0, toy_models.HEIGHT, toy_models.WIDTH), np.uint8), {}),
        (np.zeros((2, toy_models.HEIGHT, toy_models.WIDTH), np.float32), {}),
        (np.zeros((2, toy_models.HEIGHT, toy_models.WIDTH), np.uint8), {"peaks": np.ones((3, 6), np.float32)}),
    ],
    ids=["size", "none", "type", "count"],
)
def test_predictions_of_another_kind(repository: ModelRepository, images: np.ndarray, outputs: dict) -> None:
    fitting = {
        "key_points": np.ones((len(images), 6, 2), np.float32),
        "peaks": np.ones((len(images), 6), np.float32),
    }
    repository.push("heart", info(), b"graph", "", predictions=Predictions(images, fitting | outputs))
    with pytest.raises(DataLoss):
        repository.read("heart", "1")


def test_an_alias_is_taken_away(repository: ModelRepository) -> None:
    repository.push("heart", info(), b"graph", "")
    for alias in (Alias.PRODUCTION, Alias.SHADOW):
        repository.set_alias("heart", alias, "1")
    for _ in range(2):
        repository.remove_alias("heart", Alias.SHADOW)
    assert repository.aliases("heart").aliases == {Alias.PRODUCTION: "1"}


def test_counts_versions_up(repository: ModelRepository) -> None:
    for _ in range(11):
        repository.push("heart", info(), b"graph", "")
    assert repository.versions("heart") == [str(i) for i in range(1, 12)]
    assert repository.names() == ["heart"]


def test_two_who_push_at_once_get_a_version_each(repository: ModelRepository) -> None:
    barrier = threading.Barrier(8)

    def push(number: int) -> str:
        barrier.wait()
        return repository.push("heart", info(), b"graph %d" % number, f"{number}")

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(push, range(8)))

    assert sorted(versions, key=int) == [str(i) for i in range(1, 9)]
    for number, version in enumerate(versions):
        bundle = repository.read("heart", version)
        assert (bundle.model, bundle.card) == (b"graph %d" % number, f"{number}")


def test_half_a_version_is_none(repository: ModelRepository, tmp_path: Path) -> None:
    repository.push("heart", info(), b"graph", "")
    (tmp_path / "heart" / "1" / "bundle.json").unlink()

    assert repository.versions("heart") == []
    with pytest.raises(NotFound):
        repository.read("heart", "1")
    assert repository.push("heart", info(), b"graph", "") == "2"


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.onnx", b"other"), ("card.md", b"other"), ("bundle.json", b"{}"), ("bundle.json", b"\xff")],
)
def test_tampered_with(repository: ModelRepository, tmp_path: Path, file: str, content: bytes) -> None:
    repository.push("heart", info(), b"graph", "")
    (tmp_path / "heart" / "1" / file).write_bytes(content)
    with pytest.raises(DataLoss):
        repository.read("heart", "1")


@pytest.mark.parametrize("file", ["model.onnx", "card.md"])
def test_missing_file(repository: ModelRepository, tmp_path: Path, file: str) -> None:
    repository.push("heart", info(), b"graph", "")
    (tmp_path / "heart" / "1" / file).unlink()
    with pytest.raises(DataLoss):
        repository.read("heart", "1")


@pytest.mark.parametrize("name", ["", "Heart", "a/b", "..", "x" * 65, "-heart", "heart\n"])
def test_bad_name(repository: ModelRepository, name: str) -> None:
    with pytest.raises(InvalidArgument):
        repository.push(name, info(), b"", "")
    with pytest.raises(InvalidArgument):
        repository.read(name, "1")


def test_aliases_and_the_way_back(repository: ModelRepository) -> None:
    for _ in range(3):
        repository.push("heart", info(), b"graph", "")
    for version in ("1", "2", "2", "3"):
        repository.set_alias("heart", Alias.PRODUCTION, version)
    repository.set_alias("heart", Alias.CANDIDATE, "1")

    assert repository.roll_back("heart") == "2"
    assert repository.roll_back("heart") == "1"
    assert repository.aliases("heart").aliases == {Alias.PRODUCTION: "1", Alias.CANDIDATE: "1"}
    with pytest.raises(FailedPrecondition):
        repository.roll_back("heart")


def test_alias_of_nothing(repository: ModelRepository) -> None:
    with pytest.raises(NotFound):
        repository.set_alias("heart", Alias.PRODUCTION, "1")


def test_unreadable_aliases(repository: ModelRepository, tmp_path: Path) -> None:
    repository.push("heart", info(), b"graph", "")
    (tmp_path / "heart" / "aliases.json").write_text('{"aliases": {"staging": "1"}}')
    with pytest.raises(DataLoss):
        repository.aliases("heart")


def test_the_reference_comes_back_as_it_was_written(repository: ModelRepository) -> None:
    features = {"vhs": Histogram(edges=(8.2, 10.1), shares=(0.1, 0.2, 0.7))}
    reference = Reference(count=120, features=features)
    limits = Limits(max_distance=23.25)
    version = repository.push("heart", info(reference=reference, limits=limits), b"graph", "")
    found = repository.read("heart", version).info
    assert (found.reference, found.limits) == (reference, limits)
