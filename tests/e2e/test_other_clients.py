"""Clients that are not ours give the answer that ours gives: any language works from the .proto files alone."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.client import Classifier
from tests.servers import Server

ROOT = Path(__file__).parents[2]
NODE = """
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const fs = require("fs");

const [address, token, protos, path] = process.argv.slice(2);
const file = "canicor/classifier/v1/classifier.proto";
const definition = loader.loadSync(file, { includeDirs: [protos], longs: Number, enums: String, defaults: true });
const { ClassifierService } = grpc.loadPackageDefinition(definition).canicor.classifier.v1;
const client = new ClassifierService(address, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${token}`);
client.Classify({ image: fs.readFileSync(path) }, metadata, (error, answer) => {
  if (error) throw error;
  console.log(JSON.stringify({ vhs: answer.vhs.value, heartSize: answer.heartSize, decision: answer.decision }));
  client.close();
});
"""


@pytest.fixture
def token(server: Server) -> str:
    return (server.home / "token").read_text()


@pytest.fixture
def own(server: Server, picture: bytes) -> pb.ClassifyResponse:
    with Classifier(server.client_settings()) as classifier:
        return classifier.classify(picture)


def check(answer: dict, own: pb.ClassifyResponse) -> None:
    assert answer["heartSize"] == "HEART_SIZE_NORMAL"
    assert answer["decision"] == "DECISION_ACCEPT"
    vhs = answer["vhs"]["value"] if isinstance(answer["vhs"], dict) else answer["vhs"]
    assert vhs == pytest.approx(own.vhs.value)


def test_buf_curl(server: Server, token: str, own: pb.ClassifyResponse, picture: bytes) -> None:
    # By reflection alone: no .proto file is given.
    command = [Path(sys.executable).with_name("buf"), "curl", "--http2-prior-knowledge", "--protocol", "grpc"]
    command += ["--header", f"authorization: Bearer {token}", "--data", "@-"]
    url = f"http://{server.address}/canicor.classifier.v1.ClassifierService/Classify"
    request = json.dumps({"image": base64.b64encode(picture).decode()})
    done = subprocess.run([*command, url], input=request, capture_output=True, text=True, check=True)
    check(json.loads(done.stdout), own)


@pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js is not installed")
def test_node(server: Server, token: str, own: pb.ClassifyResponse, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "classify.js").write_text(NODE)
    (tmp_path / "thorax.png").write_bytes(picture)
    packages = ["@grpc/grpc-js@1.14", "@grpc/proto-loader@0.8"]
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], cwd=tmp_path, check=True)
    command = ["node", "classify.js", server.address, token, str(ROOT / "protos"), "thorax.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    check(json.loads(done.stdout), own)
