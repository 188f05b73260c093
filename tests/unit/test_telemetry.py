"""What runs models reports to nobody."""

import os
import subprocess
import sys
from pathlib import Path

from canicor.onnx_runtime import CPU, installed_providers

LOAD = "from canicor.onnx_runtime import open_session; from tests.toy_models import *; open_session(class_model())"


def test_telemetry_keeps_nothing_to_send(tmp_path: Path) -> None:
    # The runtime's telemetry is off by itself where CI is set, so this test must not inherit it.
    environment = {**{key: value for key, value in os.environ.items() if key != "CI"}, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", LOAD], env=environment, check=True, cwd=Path(__file__).parents[2])
    assert list(tmp_path.rglob("*onnxruntime*")) == []


def test_openvino_starts_no_reporter(tmp_path: Path) -> None:
    # Its telemetry is off by itself where CI is set. It reports from a process that it forks, and leaves an id.
    program = """
import os, sys
os.register_at_fork(before=lambda: print("forked"))
from services.classifier.openvino_runtime import computes_in
computes_in("bf16")
print([name for name in sys.modules if name.startswith("openvino_telemetry.")])
"""
    environment = {**{key: value for key, value in os.environ.items() if key != "CI"}, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == []


def test_mlflow_opens_no_socket(tmp_path: Path) -> None:
    # Its telemetry is off by itself where CI is set and in a test.
    program = """
import sys
sys.addaudithook(lambda event, arguments: event.startswith("socket.get") and print(event, *arguments))
from training.tracking import logged
from pathlib import Path
with logged(f"sqlite:///{Path.home()}/mlflow.db", "hearts", "run", {"seed": 0}, None) as run:
    run.loss(1, 0.5)
import mlflow.telemetry
print(mlflow.telemetry.get_telemetry_client())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={key: value for key, value in os.environ.items() if key not in {"CI", "PYTEST_CURRENT_TEST"}}
        | {"HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "None\n"
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db"}


def test_every_installation_has_the_cpu() -> None:
    assert CPU in installed_providers()
