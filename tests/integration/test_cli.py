"""The `canicor` command as a user runs it, against a real classifier."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from canicor.bundle import Limits, ModelKind
from canicor.model_repository import ModelRepository
from tests import toy_models
from tests.servers import Server

SHARED = Path(__file__).parents[3] / "shared" / "radiographs"


def canicor(server: Server, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "CANICOR_HOME": str(server.home),
        "CANICOR_CLASSIFIER_ADDRESS": server.address,
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "canicor.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path, picture: bytes) -> Path:
    folder = tmp_path / "radiographs"
    (folder / "inside").mkdir(parents=True)
    (folder / "a.png").write_bytes(picture)
    (folder / "inside" / "b.png").write_bytes(picture)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_json_lines(server: Server, folder: Path) -> None:
    done = canicor(server, "classify", "--json", folder)

    records = {Path(record["file"]).name: record for record in map(json.loads, done.stdout.splitlines())}
    assert set(records) == {"a.png", "b.png", "notes.txt"}
    answer = records["a.png"]
    assert answer["class"] == "Normal"
    assert answer["vhs"] == pytest.approx(8.75)
    assert set(answer["probabilities"]) == {"Small", "Normal", "Large"}
    assert answer["vhs_interval"] == pytest.approx([8.45, 9.05])
    assert answer["prediction_set"] == ["Normal"]
    assert len(answer["key_points"]) == 6
    assert (answer["decision"], answer["reasons"], answer["reason_codes"]) == ("ACCEPT", [], [])
    assert (answer["model"], answer["version"]) == ("vhs-keypoints", "1")
    assert records["notes.txt"]["error"]["code"] == "INVALID_ARGUMENT"
    assert done.returncode == 1


def test_json_says_why_an_answer_is_referred(serve, repository: ModelRepository, folder: Path) -> None:
    model = toy_models.class_model([0.0, 1.0, 0.0], distance=7.5)
    toy_models.push(repository, model, kind=ModelKind.CLASSIFIER, limits=Limits(max_distance=7))
    done = canicor(serve("classifier"), "classify", "--json", folder / "a.png")

    answer = json.loads(done.stdout)
    assert (answer["decision"], answer["reason_codes"]) == ("REFER", ["OUT_OF_DISTRIBUTION"])
    assert "7.5 standard deviations" in answer["reasons"][0]
    assert (answer["prediction_set"], answer["vhs_interval"]) == (["Normal"], None)


def test_table(server: Server, folder: Path) -> None:
    done = canicor(server, "classify", folder / "a.png")

    assert done.returncode == 0
    assert "8.75 (8.45 to 9.05)" in done.stdout
    assert "ACCEPT" in done.stdout
    assert "trained on phantoms" in done.stdout
    assert "Not cleared for diagnosis" in done.stdout


def test_names_what_makes_a_model(serve, folder: Path) -> None:
    done = canicor(serve("classifier"), "classify", "--json", folder / "a.png")

    assert json.loads(done.stdout)["error"]["code"] == "FAILED_PRECONDITION"
    assert "canicor demo" in done.stderr
    assert done.returncode == 1


def test_says_that_no_server_answers(server: Server, folder: Path) -> None:
    server.kill()
    done = canicor(server, "classify", folder / "a.png")
    assert done.returncode == 1
    assert "canicor serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_such_file(server: Server, tmp_path: Path) -> None:
    done = canicor(server, "classify", tmp_path / "none.dcm")
    assert done.returncode == 1
    assert "none.dcm" in done.stderr


def test_wrong_token(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANICOR_TOKEN", "wrong")
    done = canicor(server, "classify", folder / "a.png")
    assert done.returncode == 1
    assert "token is not known" in done.stderr


@pytest.mark.skipif(not SHARED.exists(), reason="the real radiographs are not part of the project")
@pytest.mark.parametrize("name", ["canine-lateral-1.dcm", "canine-lateral-2.jpg"])
def test_real_radiographs(server: Server, repository: ModelRepository, name: str) -> None:
    done = canicor(server, "classify", "--json", SHARED / name)
    answer = json.loads(done.stdout)
    assert answer["decision"] in {"ACCEPT", "REFER"}
    assert answer["vhs"] is not None
