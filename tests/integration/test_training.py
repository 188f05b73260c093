"""`canicor train` from a manifest to bundles that load and answer."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from canicor import manifest
from canicor.bundle import Bundle, ModelKind, NumberFormat
from canicor.errors import FailedPrecondition, InvalidArgument, NotFound
from canicor.manifest import Row
from canicor.model_input import ResizeRule
from canicor.model_repository import Alias, ModelRepository
from canicor.monitoring import FEATURES
from canicor.onnx_runtime import open_session
from canicor.settings import Settings
from canicor.store import file_url
from services.classifier.engines import ENGINES
from services.classifier.model import Model
from tests.phantoms import phantom_rows
from training.commands import app
from training.impostors import KINDS
from training.lineage import Lineage

PHANTOMS = 42


def write_manifest(folder: Path, rows: list[Row]) -> Path:
    path = folder / "manifest.parquet"
    path.write_bytes(manifest.write(rows))
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return phantom_rows(tmp_path_factory.mktemp("images"), PHANTOMS)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def trained(
    rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[dict], ModelRepository]]:
    with pytest.MonkeyPatch.context() as environment:
        folder = tmp_path_factory.mktemp("trained")
        environment.setenv("CANICOR_HOME", str(folder))
        options = (
            write_manifest(folder, rows),
            "--epochs",
            "2",
            "--size",
            "96",
            "--json",
            "--number-format",
            "fp16",
        )
        said = [json.loads(run(kind, *options)) for kind in ("keypoints", "classifier")]
        yield said, ModelRepository(file_url(folder / "models"))


def production(repository: ModelRepository, name: str) -> Bundle:
    return repository.read(name, repository.aliases(name).aliases[Alias.PRODUCTION])


def test_both_models_come_out_with_figures(trained: tuple[list[dict], ModelRepository]) -> None:
    said, repository = trained
    assert repository.names() == ["vhs-classifier", "vhs-keypoints"]
    for model in said:
        info = production(repository, model["name"]).info
        assert model["version"] == "1"
        assert model["metrics"] == info.model_dump(mode="json")["metrics"]
        accuracy = info.metrics["accuracy"]
        assert accuracy.lower <= accuracy.value <= accuracy.upper
        assert info.training_origins == ("phantom",)
        assert info.training_dataset_digest != info.test_dataset_digest
        assert model["training_run"] == info.training_run
    key_points = production(repository, "vhs-keypoints").info
    assert key_points.kind is ModelKind.KEYPOINTS
    assert key_points.vhs_half_width > 0
    assert 0 < key_points.limits.min_peak < 1


def test_the_bundles_hold_what_a_server_needs_to_choose_an_engine(
    trained: tuple[list[dict], ModelRepository],
) -> None:
    _, repository = trained
    for name in repository.names():
        bundle = repository.read(name, "1", {NumberFormat.FP16.file})
        assert bundle.predictions is not None
        model = Model(bundle, [ENGINES["onnxruntime-fp32"], ENGINES["openvino-fp32"]], 1, 10)
        assert model.plan.engine.exact
        assert set(bundle.variants) == {NumberFormat.FP16.file}


def test_the_bundles_answer_any_number_of_images(trained: tuple[list[dict], ModelRepository]) -> None:
    _, repository = trained
    for count in (1, 3):
        images = np.random.default_rng(0).integers(0, 256, (count, 64, 96), dtype=np.uint8)
        session = open_session(production(repository, "vhs-keypoints").model)
        points, peaks, distance, heat = session.run(
            ["key_points", "peaks", "distance", "heat_map"], {"images": images}
        )
        assert (points.shape, points.dtype) == ((count, 6, 2), np.float32)
        assert (peaks.shape, peaks.dtype) == ((count, 6), np.float32)
        assert (distance.shape, distance.dtype) == ((count,), np.float32)
        assert (heat.shape, heat.dtype) == ((count, 16, 24), np.float32)
        session = open_session(production(repository, "vhs-classifier").model)
        probabilities, distance, heat = session.run(["probabilities", "distance", "heat_map"], {"images": images})
        assert (probabilities.shape, probabilities.dtype) == ((count, 3), np.float32)
        assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
        assert (distance.shape, distance.dtype) == ((count,), np.float32)
        assert (heat.shape, heat.dtype) == ((count, 2, 3), np.float32)


def test_the_bundles_say_how_to_train_again_and_the_images_store_on_what(
    rows: list[Row], trained: tuple[list[dict], ModelRepository]
) -> None:
    for name in trained[1].names():
        info = production(trained[1], name).info
        plan = info.training_plan
        assert (plan["seed"], plan["recipe"]["epochs"], plan["formats"]) == (0, 2, ["fp16"])
        kept = Lineage(Settings().image_store, name).of(info)
        assert {row.image_sha256 for row in kept} == {row.image_sha256 for row in rows}
        assert {row.split for row in kept} == {"train", "validation", "test"}


def test_the_card_says_what_it_was_trained_on_and_what_it_is_not(
    trained: tuple[list[dict], ModelRepository],
) -> None:
    card = production(trained[1], "vhs-keypoints").card
    assert "Trained on phantoms only" in card
    assert "Not cleared for diagnosis" in card
    assert "| vhs_mae |" in card


@pytest.mark.parametrize("name", ["vhs-keypoints", "vhs-classifier"])
def test_what_a_model_does_not_know_is_measured_and_told(
    trained: tuple[list[dict], ModelRepository], name: str
) -> None:
    bundle = production(trained[1], name)
    distance = bundle.info.limits.max_distance
    assert distance is not None
    assert f"further than {distance:.2f} standard deviations" in bundle.card
    refused = bundle.info.metrics["impostors_refused"]
    assert refused.count == 4 * len(KINDS)
    assert bundle.info.metrics["test_refused"].count == bundle.info.metrics["accuracy"].count
    for kind in KINDS:
        assert f"| {kind} |" in bundle.card
    # Noise is unlike a thorax even to a network that has hardly learnt.
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 96), dtype=np.uint8)
    assert open_session(bundle.model).run(["distance"], {"images": noise})[0] > distance


def test_the_reference_is_that_of_the_validation_split(trained: tuple[list[dict], ModelRepository]) -> None:
    key_points, classes = (
        production(trained[1], f"vhs-{kind}").info.reference for kind in ("keypoints", "classifier")
    )
    assert key_points is not None
    assert classes is not None
    assert key_points.count == classes.count < PHANTOMS / 5
    assert set(key_points.features) == set(FEATURES)
    assert set(classes.features) == set(FEATURES) - {"vhs", "lowest_peak"}
    assert key_points.features["mean_grey"] == classes.features["mean_grey"]
    assert key_points.features["aspect_ratio"].shares == (0, 1, 0)  # all phantoms are 160 x 128


def test_a_split_too_small_for_90_percent_states_the_trivial(trained: tuple[list[dict], ModelRepository]) -> None:
    assert production(trained[1], "vhs-keypoints").info.vhs_half_width == 16
    assert production(trained[1], "vhs-classifier").info.set_probability == 1


def test_the_same_seed_gives_the_same_model(rows: list[Row], tmp_path: Path, home: Path) -> None:
    path = write_manifest(tmp_path, rows)
    for seed in ("3", "3", "4"):
        run("keypoints", path, "--epochs", "1", "--size", "64", "--seed", seed, "--force", "a test")
    repository = ModelRepository(Settings().models)
    one, two, three = (repository.read("vhs-keypoints", version) for version in "123")
    assert one.info.push_reason == "a test"
    assert one.model == two.model
    assert one.info.metrics == two.info.metrics
    assert one.model != three.model


def test_models_lists_the_repository(
    trained: tuple[list[dict], ModelRepository], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = run("list").splitlines()
    assert any("vhs-keypoints" in line and "production" in line and "phantom" in line for line in lines)


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, training.commands; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


def test_bad_input_is_one_error_and_leaves_nothing(rows: list[Row], tmp_path: Path, home: Path) -> None:
    (tmp_path / "text.parquet").write_text("no manifest")
    with pytest.raises(InvalidArgument, match="no dataset manifest"):
        run("keypoints", tmp_path / "text.parquet")
    with pytest.raises(NotFound):
        run("keypoints", tmp_path / "none.parquet")
    for size in ("100", "32"):
        with pytest.raises(InvalidArgument, match="multiple of 32 from 64"):
            run("keypoints", write_manifest(tmp_path, rows), "--size", size)
    with pytest.raises(InvalidArgument, match="no model name"):
        run("keypoints", write_manifest(tmp_path, rows), "--name", "Not A Name")
    bad = [
        ([], "holds 0 images"),
        (rows[:10], "holds 10 images"),
        ([*rows[:-1], replace(rows[-1], image_url=rows[-1].image_url + "x")], "a problem:\n.* is gone"),
        ([*rows[:-1], replace(rows[-1], image_sha256="0" * 64)], "a problem:\n.* checksum"),
        ([*rows[:-1], replace(rows[-1], key_points=None, vhs=None)], "a class and no key points"),
    ]
    for some, sentence in bad:
        with pytest.raises(InvalidArgument, match=sentence):
            run("keypoints", write_manifest(tmp_path, some), "--size", "64", "--epochs", "1")
    assert not home.exists()


def test_classes_alone_teach_a_class_model(rows: list[Row], tmp_path: Path, home: Path) -> None:
    classes = [replace(row, key_points=None, vhs=None) for row in rows]
    run("classifier", write_manifest(tmp_path, classes), "--epochs", "1", "--size", "64")
    assert ModelRepository(Settings().models).versions("vhs-classifier") == ["1"]


def test_a_preset_gives_way_to_what_is_stated(rows: list[Row], tmp_path: Path, home: Path) -> None:
    path = write_manifest(tmp_path, rows)
    run("classifier", path, "--preset", "smoke", "--size", "64")
    spec = ModelRepository(Settings().models).read("vhs-classifier", "1").info.input
    assert (spec.height, spec.width, spec.resize) == (64, 64, ResizeRule.STRETCH)
    with pytest.raises(InvalidArgument, match="no preset 'best'"):
        run("classifier", path, "--preset", "best")
    with pytest.raises(InvalidArgument, match="googlenet has no stages to freeze"):
        run("classifier", path, "--preset", "notebook", "--model", "googlenet")


def test_two_models_are_compared_on_the_same_images(
    rows: list[Row], trained: tuple[list[dict], ModelRepository], tmp_path: Path
) -> None:
    path = write_manifest(tmp_path, rows)
    told = json.loads(run("compare", "vhs-keypoints", "vhs-classifier/1", path, "--json"))
    assert told["accuracy"]["count"] == len(rows)
    assert told["vhs_mae"] is None
    assert not told["test_split_of_both"]
    opposite = json.loads(run("compare", "vhs-classifier", "vhs-keypoints", path, "--json"))
    assert opposite["accuracy"]["value"] == -told["accuracy"]["value"]
    assert opposite["p"] == told["p"]


def test_a_model_is_no_better_than_itself_on_the_images_marked_test(
    rows: list[Row], trained: tuple[list[dict], ModelRepository], tmp_path: Path
) -> None:
    path = write_manifest(tmp_path, [replace(row, split="test" if n < 9 else "") for n, row in enumerate(rows)])
    same = json.loads(run("compare", "vhs-keypoints", "vhs-keypoints", path, "--json"))
    assert (same["accuracy"]["value"], same["accuracy"]["count"], same["p"]) == (0, 9, 1)
    assert same["vhs_mae"]["value"] == 0
    assert "p = 1" in run("compare", "vhs-keypoints", "vhs-keypoints", path)
    with pytest.raises(NotFound, match="no production version"):
        run("compare", "vhs-keypoints", "none-such", path)
    learnt = write_manifest(tmp_path, [replace(row, split="train") for row in rows])
    with pytest.raises(InvalidArgument, match="no image is marked test"):
        run("compare", "vhs-keypoints", "vhs-keypoints", learnt)


def test_a_model_that_does_not_beat_production_stays_out(rows: list[Row], tmp_path: Path, home: Path) -> None:
    path, options = write_manifest(tmp_path, rows), ("--epochs", "1", "--size", "64")
    run("classifier", path, *options)
    repository = ModelRepository(Settings().models)
    with pytest.raises(FailedPrecondition, match="no better beyond chance: accuracy by 0") as refusal:
        run("classifier", path, *options)
    assert refusal.value.reason == "NOT_BETTER"
    assert "other images" not in refusal.value.message
    with pytest.raises(FailedPrecondition, match="may have been trained on some of these"):
        run("classifier", path, *options, "--seed", "1")
    assert repository.versions("vhs-classifier") == ["1"]
    # What was refused need not be trained again.
    assert len(list((home / "training").glob("*.pt"))) == 2
    run("classifier", path, *options, "--force", "new clinic")
    assert len(list((home / "training").glob("*.pt"))) == 1
    assert repository.read("vhs-classifier", "2").info.push_reason == "new clinic"
    assert run("rollback", "vhs-classifier") == "vhs-classifier/1 is in production again.\n"
    assert run("promote", "vhs-classifier", "2") == "vhs-classifier/2 is in production.\n"
    assert repository.aliases("vhs-classifier").aliases[Alias.PRODUCTION] == "2"
    with pytest.raises(NotFound):
        run("promote", "vhs-classifier", "3")
