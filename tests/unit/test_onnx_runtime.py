"""ONNX Runtime reports to nobody."""

import os
import subprocess
import sys
from pathlib import Path

from canicor.onnx_runtime import CPU, available_providers

LOAD = "from canicor.onnx_runtime import open_session; from tests.toy_models import *; open_session(class_model())"


def test_telemetry_keeps_nothing_to_send(tmp_path: Path) -> None:
    # The runtime's telemetry is off by itself where CI is set, so this test must not inherit it.
    environment = {**{key: value for key, value in os.environ.items() if key != "CI"}, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", LOAD], env=environment, check=True, cwd=Path(__file__).parents[2])
    assert list(tmp_path.rglob("*onnxruntime*")) == []


def test_passes_over_providers_that_are_not_installed() -> None:
    assert available_providers(("NoSuchExecutionProvider", CPU)) == [CPU]
    assert available_providers(("NoSuchExecutionProvider",)) == [CPU]
