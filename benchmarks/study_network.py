"""The study's network at its own size: `python benchmarks/study_network.py`.

EfficientNetB7 with seven hidden layers on 600 x 600 pixels, its weights drawn: by `canicor train classifier` one
epoch of four steps of four phantoms at most, export, and the check that ONNX Runtime answers as PyTorch does to
1e-3; then a server that loads the bundle and answers. Prints seconds and the most memory of each.
"""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
from PIL import Image

from canicor import phantom
from canicor.client import Classifier
from canicor.phantom.folder import MANIFEST, Order, write
from canicor.settings import ClientSettings

PHANTOMS, SIZE = 20, (600, 480)
STEP = 4
"""Images: the study's 16 would take more memory than a small machine has."""
PATIENCE = 600.0
"""Seconds: a server measures its engines before it serves."""


def gigabytes(who: int) -> str:
    return f"{resource.getrusage(who).ru_maxrss / 2**20:.1f} GiB"


def train(manifest: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "canicor.cli", "train", "classifier", str(manifest), "--preset", "notebook"]
    command += ["--no-pretrained", "--no-frozen", "--epochs", "1", "--batch-size", str(STEP), "--json"]
    begun = time.perf_counter()
    said: dict[str, object] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    seconds = time.perf_counter() - begun
    print(f"four training steps, export, parity, push: {seconds:.0f} s, {gigabytes(resource.RUSAGE_CHILDREN)}")
    return said


def serve(model: str) -> None:
    file = io.BytesIO()
    Image.fromarray(phantom.draw(1, 0, width=1600, height=1280).pixels).save(file, "PNG")
    begun = time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "canicor.cli", "serve", "classifier"])
    try:
        with grpc.insecure_channel(ClientSettings().classifier_address) as probe:
            grpc.channel_ready_future(probe).result(timeout=PATIENCE)
        with Classifier(deadline=PATIENCE) as classifier:
            for what in ("the server's start and its first answer", "its next answer"):
                classifier.classify(file.getvalue(), model=model)
                print(f"{what}: {time.perf_counter() - begun:.2f} s")
                begun = time.perf_counter()
        status = Path(f"/proc/{server.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        print(f"the server's most memory: {int(peak.split()[1]) / 2**20:.1f} GiB")
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"CANICOR_HOME": folder, "CANICOR_SHIPPED_MODEL": "false"}
        write(Path(folder) / "phantoms", PHANTOMS, Order(size=SIZE), lambda: None)
        said = train(Path(folder) / "phantoms" / MANIFEST)
        serve(str(said["name"]))


if __name__ == "__main__":
    main()
