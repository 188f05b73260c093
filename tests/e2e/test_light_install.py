"""What a plain `pip install .` brings: the client, and nothing heavy; and what `[classifier]` adds."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image

from canicor import phantom
from canicor.vhs import HEART_SIZES
from tests.servers import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new virtual environment with Canicor and no extra."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT], check=True)
    return python


def test_brings_nothing_heavy(python: Path) -> None:
    done = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    names = {line.partition("==")[0].lower() for line in done.stdout.splitlines()}
    assert "canicor" in names
    assert not names & {"torch", "timm", "onnxruntime", "onnx", "sqlalchemy", "pyarrow", "scipy"}


def test_client_and_radiographs_import(python: Path) -> None:
    subprocess.run(
        [python, "-c", "import canicor.client, canicor.radiograph, canicor.phantom"], check=True, cwd="/"
    )


def test_command_says_which_extra_is_missing(python: Path) -> None:
    command = [python.with_name("canicor"), "serve", "classifier"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 1
    assert "canicor[classifier]" in done.stderr
    assert "Traceback" not in done.stderr


def test_writing_phantoms_says_which_extras_it_takes_before_it_draws_any(python: Path, tmp_path: Path) -> None:
    command = [python.with_name("canicor"), "phantom", "write", tmp_path / "phantoms", "--count", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 1
    assert "generator or labeling or training, for example pip install 'canicor[generator]'" in done.stderr
    assert not (tmp_path / "phantoms").exists()


def test_the_classifier_answers_with_the_shipped_model(python: Path, tmp_path: Path) -> None:
    # The last test that uses the environment: the plain installation is no longer plain.
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{ROOT}[classifier]"], check=True)
    picture = tmp_path / "thorax.png"
    Image.fromarray(phantom.draw(77, 0).pixels).save(picture)
    server = Server("classifier", tmp_path / "home", {"CANICOR_SHIPPED_MODEL": "true"}, {}, python)
    environment = {**os.environ, "CANICOR_HOME": str(server.home), "CANICOR_CLASSIFIER_ADDRESS": server.address}
    try:
        server.start()
        command = [python.with_name("canicor"), "classify", "--json", picture]
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, check=True)
    finally:
        server.stop()
    said = json.loads(done.stdout)
    assert said["version"] == "0"
    assert said["class"] in HEART_SIZES
    assert any("phantom" in notice for notice in said["notices"])


def test_classifier_does_not_import_torch() -> None:
    code = "import sys, services.classifier.service; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
