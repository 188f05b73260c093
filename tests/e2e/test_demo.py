"""The whole loop as `make demo` runs it, with few phantoms and one pass: real processes, real gRPC."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from canicor.model_repository import Alias, ModelRepository
from canicor.phantom import draw
from canicor.store import file_url
from canicor.vhs import HeartSize
from tests.png import png
from tests.servers import free_port

SERVICES = ("CLASSIFIER", "GENERATOR", "LABELING")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    environment = {**os.environ, "CANICOR_HOME": str(tmp_path / "home"), "COLUMNS": "160"}
    for service in SERVICES:
        address = f"127.0.0.1:{free_port()}"
        environment[f"CANICOR_{service}_LISTEN"] = environment[f"CANICOR_{service}_ADDRESS"] = address
        environment[f"CANICOR_{service}_METRICS_LISTEN"] = f"127.0.0.1:{free_port()}"
    environment["CANICOR_LABELING_HTTP_LISTEN"] = f"127.0.0.1:{free_port()}"
    return environment


def demo(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "canicor.cli", "demo", "--images", "60", "--held-out", "12", "--epochs", "1"]
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )


def test_the_loop(environment: dict[str, str], tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    own.write_bytes(png(draw(99, 0, heart_size=HeartSize.LARGE).pixels))

    first = demo(environment, own)

    assert first.returncode == 0, first.stderr
    assert "Class accuracy" in first.stdout
    assert "trained on phantoms" in first.stdout
    assert "own.png" in first.stdout
    report = (tmp_path / "home" / "demo" / "report.html").read_text()
    assert report.count("<svg") == 13  # twelve phantoms and the user's own
    assert "own.png" in report
    assert "Not cleared for diagnosis" in report

    second = demo(environment)

    assert second.returncode == 0, second.stderr
    repository = ModelRepository(file_url(tmp_path / "home" / "models"))
    assert repository.aliases("vhs-keypoints").aliases[Alias.PRODUCTION] == "2"
    # What was generated and labelled the first time is not made again.
    images = list((tmp_path / "home" / "store").rglob("*.png"))
    assert len(images) == 60 + 12


def test_says_which_server_is_in_the_way(environment: dict[str, str], server) -> None:
    environment["CANICOR_CLASSIFIER_LISTEN"] = server.address
    done = demo(environment)
    assert done.returncode == 1
    assert "CANICOR_CLASSIFIER_LISTEN" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_file_is_told_before_the_work(environment: dict[str, str]) -> None:
    done = demo(environment, "none.dcm")
    assert done.returncode == 1
    assert "none.dcm" in done.stderr
