"""BentoML over HTTP: its present services have no gRPC. `server.py MODEL ADDRESS`."""

import os
import sys
from pathlib import Path

import bentoml

from benchmarks.serving.raw import raw

MODEL = "BENCHMARK_MODEL"


# A process a core gave a fifth more answers than one process with two threads. What only costs is off. Bytes as the
# only argument, without a name, are the body itself; a Path would be a file on disk.
@bentoml.service(
    workers=2,
    threads=1,
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
    home = {"BENTOML_HOME": str(Path(sys.argv[1]).with_name("bentoml")), "BENTOML_DO_NOT_TRACK": "True"}
    bento, folder = Path(sys.executable).with_name("bentoml"), Path(__file__).parent
    command = f"{bento} serve server:Api --host {host} --port {port} --working-dir {folder}".split()
    # Becomes the server, so that a signal to this process is one to it.
    os.execve(bento, command, {**os.environ, **home, MODEL: sys.argv[1]})  # noqa: S606
