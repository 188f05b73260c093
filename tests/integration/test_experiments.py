"""`canicor train experiment` from a manifest to a report, killed and taken up again."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from canicor import manifest
from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1 import model_admin_pb2 as admin_pb
from canicor.classifier.v1.model_admin_pb2_grpc import ModelAdminServiceStub
from canicor.client import Classifier
from canicor.errors import InvalidArgument
from canicor.manifest import Origin, Row
from canicor.model_repository import ModelRepository
from canicor.settings import Settings
from tests import toy_models
from tests.phantoms import phantom_rows
from tests.servers import Server
from training.commands import app
from training.experiments.zoo import ROWS

PHANTOMS = 60


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Phantoms of each class in equal parts, a dog each."""
    return phantom_rows(tmp_path_factory.mktemp("images"), PHANTOMS)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def written(folder: Path, rows: list[Row]) -> Path:
    path = folder / "manifest.parquet"
    path.write_bytes(manifest.write(rows))
    return path


def mixed(rows: list[Row]) -> list[Row]:
    """Half of the phantoms stand for real images, half for generated ones."""
    return [replace(row, origin=Origin.GENERATED if row.batch_index < 30 else Origin.REAL) for row in rows]


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


def results(folder: Path) -> dict:
    """What the report's folder holds, its page looked over."""
    page = (folder / "report.html").read_text()
    found = json.loads((folder / "results.json").read_text())
    assert found["conclusion"] in page.replace("&#39;", "'")
    assert "Not cleared for diagnosis" in page
    assert found["command"].startswith("canicor train ")
    # Self-contained: nothing is fetched, nothing runs.
    assert "<script" not in page
    assert "http" not in page
    return found


def test_labels_that_mean_nothing_show_the_leak_and_its_absence(
    rows: list[Row], tmp_path: Path, home: Path
) -> None:
    path, folder = written(tmp_path, rows), tmp_path / "report"
    # By this seed neither comes out near the edge of chance, however many threads compute it.
    small = ("--preset", "smoke", "--size", "64", "--folds", "3", "--seed", "3")
    run("experiment", "leak", path, *small, "--folder", folder)
    found = results(folder)
    fresh, carried = (one["accuracy"] for one in found["results"].values())
    assert fresh["lower"] < 1 / 3 < fresh["upper"]
    assert carried["lower"] > 1 / 3
    assert "which is chance" in found["conclusion"]
    assert "Measured on phantoms" in (folder / "report.html").read_text()
    assert found["dataset_digests"] == {"manifest": manifest.digest(rows)}


KILLED = """
import os, sys
from training.journal import Journal
write = Journal._write
steps = []

def killed(self, file, content):
    write(self, file, content)
    steps.append(file)
    if len(steps) == 3:
        os.kill(os.getpid(), 9)

Journal._write = killed
from tests import toy_models
from tests.servers import Server
from training.commands import app
app(sys.argv[1:])
"""


def test_a_killed_experiment_goes_on_and_finds_the_same(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, mixed(rows))
    options = ("--preset", "smoke", "--size", "64", "--folds", "2", "--per-real", "1")
    command = ["experiment", "generated-vs-real", str(path), *options, "--folder"]
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path / "killed"))
    done = subprocess.run([sys.executable, "-c", KILLED, *command, str(tmp_path / "one")], check=False)
    assert done.returncode == -signal.SIGKILL
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "killed").rglob("*.json")}
    assert {file.name for file in before} == {"fold-0.json", "fold-1.json", "test.json"}
    run(*command, tmp_path / "one")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    monkeypatch.setenv("CANICOR_HOME", str(tmp_path / "whole"))
    run(*command, tmp_path / "other")
    one, other = results(tmp_path / "one"), results(tmp_path / "other")
    assert one["results"] == other["results"]
    assert [found["generated_images"] for found in one["results"].values()] == [0, 21, 21]
    difference = one["results"]["1 to 1, mixed in"]["difference_on_test"]
    assert difference["accuracy"]["lower"] <= difference["accuracy"]["value"] <= difference["accuracy"]["upper"]
    assert 0 <= difference["p"] <= 1
    # Only images that are not generated are judged by.
    assert difference["accuracy"]["count"] == 6


@pytest.mark.slow
def test_every_row_of_table_3_is_trained_exported_and_served(
    rows: list[Row],
    tmp_path: Path,
    home: Path,
    serve: Callable[..., Server],
    repository: ModelRepository,
    picture: bytes,
) -> None:
    path, folder = written(tmp_path, rows[:24]), tmp_path / "report"
    command = ("experiment", "zoo", path, "--preset", "smoke", "--folds", "0", "--push", "--folder", folder)
    run(*command)
    found = results(folder)["results"]
    assert list(found) == list(ROWS)
    assert len(ROWS) == 16
    for one in found.values():
        accuracy = one["test"]["accuracy"]
        assert 0 <= accuracy["lower"] <= accuracy["value"] <= accuracy["upper"] <= 1
    # A row that is there is not trained again.
    run(*command)
    assert results(folder)["results"] == found
    assert all(repository.versions(f"zoo-{name}") == ["1"] for name in ROWS)
    toy_models.push(repository)
    server = serve("classifier", CANICOR_ENGINES='["onnxruntime-fp32"]')
    with server.channel() as channel, Classifier(server.client_settings(), deadline=60) as classifier:
        admin = ModelAdminServiceStub(channel)
        for name in ROWS:
            reference = pb.ModelReference(name=f"zoo-{name}", version="1")
            admin.LoadModel(admin_pb.LoadModelRequest(model=reference))
            answer = classifier.classify(picture, model=f"zoo-{name}/1")
            stated = answer.probabilities
            assert stated.small + stated.normal + stated.large == pytest.approx(1, abs=1e-5)
            assert answer.model.name == f"zoo-{name}"
            admin.UnloadModel(admin_pb.UnloadModelRequest(model=reference))


def test_a_row_of_table_3_has_folds_and_the_papers_figures(rows: list[Row], tmp_path: Path, home: Path) -> None:
    path, folder = written(tmp_path, rows), tmp_path / "report"
    small = ("--model", "squeezenet1_0", "--preset", "smoke", "--folds", "2")
    run("experiment", "zoo", path, *small, "--folder", folder)
    (row,) = results(folder)["results"].values()
    assert row["validation_accuracy"]["count"] == 48
    assert row["test"]["accuracy"]["count"] == 12
    assert row["paper"] == {"validation": 70.5, "test": 35.0}
    assert ModelRepository(Settings().models).names() == []


def test_table_4_holds_a_network_with_generated_images_to_one_without(
    rows: list[Row], tmp_path: Path, home: Path
) -> None:
    path, folder = written(tmp_path, mixed(rows)), tmp_path / "report"
    small = ("--model", "squeezenet1_0", "--preset", "smoke", "--folds", "0")
    assert "report.html" in run("experiment", "table4", path, *small, "--folder", folder)
    found = results(folder)["results"]
    assert [one["generated_images"] for one in found.values()] == [0, 30]
    assert found["without generated images"]["validation_accuracy"] is None
    assert "80.25" in (folder / "report.html").read_text()


def test_the_clinic_is_drawn_and_told_for_what_it_is(tmp_path: Path, home: Path) -> None:
    options = ("--preset", "smoke", "--size", "64", "--folds", "0", "--dogs", "30", "--per-real", "1")
    run("experiment", "generated-vs-real", "--clinic", *options, "--folder", tmp_path / "report")
    found = results(tmp_path / "report")
    assert found["images"] == {"clinic": 30, "generated": 21}
    assert (
        "Measured on phantoms: procedural pictures, not radiographs of dogs"
        in (tmp_path / "report" / "report.html").read_text()
    )


def test_a_model_of_the_repository_has_a_report(rows: list[Row], tmp_path: Path, home: Path) -> None:
    path = written(tmp_path, rows)
    run("keypoints", path, "--epochs", "1", "--size", "64")
    run("report", "vhs-keypoints", path, "--folder", tmp_path / "report")
    found = results(tmp_path / "report")
    assert found["results"]["vhs_mae"]["count"] == PHANTOMS
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Bland-Altman" in page
    assert "may have been trained on some" in page
    assert page.count('class="found"') == 6 * 3


def test_bad_input_is_one_error(rows: list[Row], tmp_path: Path, home: Path) -> None:
    generated_vs_real = ("experiment", "generated-vs-real")
    with pytest.raises(InvalidArgument, match="no real image"):
        run(*generated_vs_real, written(tmp_path, rows))
    real = [replace(row, origin=Origin.REAL) for row in rows]
    with pytest.raises(InvalidArgument, match="no generated image"):
        run("experiment", "table4", written(tmp_path, real))
    with pytest.raises(InvalidArgument, match="one of the two"):
        run(*generated_vs_real)
    with pytest.raises(InvalidArgument, match="5 per real one takes 35"):
        run(*generated_vs_real, written(tmp_path, mixed(rows)), "--per-real", "5", "--size", "64")
    shared = [
        replace(row, subject_id="one" if row.batch_index in (1, 31) else row.subject_id) for row in mixed(rows)
    ]
    with pytest.raises(InvalidArgument, match="its dog is also among the real images"):
        run(*generated_vs_real, written(tmp_path, shared))
    with pytest.raises(InvalidArgument, match="Table 3 has no 'resnet5000': give custom"):
        run("experiment", "zoo", written(tmp_path, rows), "--model", "resnet5000")
    with pytest.raises(InvalidArgument, match="no preset 'best'"):
        run("experiment", "leak", written(tmp_path, rows), "--preset", "best")
    assert not list(tmp_path.rglob("report.html"))
