"""Triton's own client, in a virtual environment of its own: it wants an older protobuf than Canicor does."""

import json
import subprocess
import venv
from pathlib import Path

import pytest

from canicor.client import Classifier
from tests.servers import Server

PROGRAM = """
import json, sys
import numpy as np
import tritonclient.grpc as triton

address, token, path = sys.argv[1:]
headers = {"authorization": f"Bearer {token}"}
client = triton.InferenceServerClient(address)
assert client.is_server_live(headers) and client.is_model_ready("vhs-keypoints", headers=headers)
image = triton.InferInput("image", [1], "BYTES")
image.set_data_from_numpy(np.array([open(path, "rb").read()], dtype=object))
answer = client.infer("vhs-keypoints", [image], headers=headers)
print(json.dumps({
    "vhs": float(answer.as_numpy("vhs")[0]),
    "heart_size": answer.as_numpy("heart_size")[0].decode(),
    "key_points": answer.as_numpy("radiograph_key_points")[0].tolist(),
}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "tritonclient[grpc]==2.73.0"], check=True)
    return python


def test_gives_the_same_answer(python: Path, server: Server, picture: bytes, tmp_path: Path) -> None:
    file = tmp_path / "thorax.png"
    file.write_bytes(picture)
    token = (server.home / "token").read_text()
    done = subprocess.run(
        [python, "-c", PROGRAM, server.address, token, file], capture_output=True, text=True, check=True
    )
    with Classifier(server.client_settings()) as classifier:
        own = classifier.classify(picture)
    answer = json.loads(done.stdout)
    assert answer["vhs"] == pytest.approx(own.vhs.value)
    assert answer["heart_size"] == "Normal"
    assert answer["key_points"][0] == pytest.approx([own.key_points.a.x, own.key_points.a.y])
