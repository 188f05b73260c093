"""The other servers: each in its folder below `peers/`, in a virtual environment of its own.

Their dependencies exclude each other's, so each environment is made where it is missing, below
`~/.cache/canicor-benchmarks`. A peer decodes as Canicor does, by `canicor.model_input.read`, and infers as raw.
"""

import hashlib
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from connections import bytes_service, http, open_inference
from contestants import Connect, Contestant, Launch, Place
from processes import NotRunning

REPOSITORY = Path(__file__).parents[2]
CACHE = Path("~/.cache/canicor-benchmarks").expanduser()

_FOLDER = Path(__file__).parent / "peers"
_INSTALL_SECONDS = 900
_COMPLETE = "complete"
"""Marks an environment that was installed to its end; without it, it is made anew."""


def _peer(key: str, title: str, protocol: str, connect: Connect) -> Contestant:
    pin = (_FOLDER / key / "requirements.txt").read_text().partition("\n")[0]
    return Contestant(key, f"{title} {pin.partition('==')[2]} ({protocol})", partial(_launch, key), connect)


def _launch(key: str, place: Place) -> Launch:
    return Launch([str(_python(key)), str(_FOLDER / key / "server.py"), str(place.model), place.address])


def _python(key: str) -> Path:
    """Returns the interpreter of a peer's environment, which is made anew where its requirements changed."""
    requirements = _FOLDER / key / "requirements.txt"
    wanted = [requirements.read_text(), (_FOLDER / "decoding.txt").read_text(), str(REPOSITORY), sys.version]
    environment = CACHE / f"{key}-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    python = environment / "bin" / "python"
    if not (environment / _COMPLETE).exists():
        print(f"Installing {key} into {environment}", file=sys.stderr)
        shutil.rmtree(environment, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(environment)])
        install = [str(python), "-m", "pip", "install", "--quiet"]
        _run([*install, "--requirement", str(requirements)])
        # The decoder, and what peers share; what they need of Canicor's dependencies is in `decoding.txt`.
        _run([*install, "--no-deps", "--editable", str(REPOSITORY)])
        (environment / _COMPLETE).touch()
    return python


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        raise NotRunning(f"could not be installed: {error.stderr[-2000:]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotRunning(f"could not be installed within {_INSTALL_SECONDS} s") from error


PEERS = (
    _peer("grpc", "minimal grpc.aio", "gRPC", bytes_service),
    _peer("kserve", "KServe", "gRPC", open_inference),
    _peer("litserve", "LitServe", "HTTP", http),
    _peer("bentoml", "BentoML", "HTTP", http),
    _peer("mlserver", "MLServer", "gRPC", open_inference),
    _peer("ray", "Ray Serve", "gRPC", bytes_service),
)
