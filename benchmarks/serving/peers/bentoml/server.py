"""BentoML over HTTP: its present services have no gRPC. `server.py MODEL ADDRESS`."""

import os
import sys
from pathlib import Path

import bentoml

from benchmarks.serving.raw import raw

MODEL = "BENCHMARK_MODEL"


@bentoml.service(
    workers=int(os.environ.get("WORKERS", "2")),
    threads=int(os.environ.get("THREADS", "1")),
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Api:
    """Gives the three probabilities of one file."""

    def __init__(self) -> None:
        self._infer = raw(os.environ[MODEL], intra_op=1)

    @bentoml.api
    def predict(self, file: bytes, /) -> list[float]:
        """Answers one request."""
        return self._infer(file)


if __name__ == "__main__":
    host, _, port = sys.argv[2].rpartition(":")
    environment = {**os.environ, MODEL: sys.argv[1], "BENTOML_DO_NOT_TRACK": "True"}
    bento = str(Path(sys.executable).with_name("bentoml"))
    command = [
        bento,
        "serve",
        "server:Api",
        "--host",
        host,
        "--port",
        port,
        "--working-dir",
        str(Path(__file__).parent),
    ]
    # Becomes the server, so that a signal to this process is one to it.
    os.execvpe(bento, command, environment)  # noqa: S606
