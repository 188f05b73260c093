"""Decoders: processes that files go into and model inputs come out of, and that a bad file may take down.

As a program, with the numbers of the sockets to serve: loads the codecs once, runs no thread, and forks a decoder
for each socket, and another wherever one ends. What decoders say is no pickle: whoever got hold of one through a
codec's flaw could send numbers and sentences, no more.
"""

import contextlib
import json
import os
import resource
import secrets
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from canicor.errors import BY_STATUS, CanicorError, InvalidArgument
from canicor.model_input import Placement, Prepared, ResizeRule, read
from canicor.radiograph import Codecs, View

MEMORY_BYTES = 2 * 2**30
"""Address space of a process. The hungriest radiograph of 64 million pixels, a PNG in RGB, takes 1.4 GiB."""

_SECONDS = 0.5
_SECONDS_PER_PIXEL = 0.25e-6

_HEADER_SECONDS = 1.5
"""Of a core, until the size is known: three times what inflating 64 million pixels of 16 bits takes."""

# An answer is a line of JSON, whose longest part is a sentence, and the pixels where there are any.
_HEAD_BYTES = 4096


class Ended(Exception):
    """A decoder ended before it answered; another has taken its place.

    Attributes:
        signal: What ended it: SIGPROF where the file kept it busy too long, SIGALRM where time was up, another
            where it crashed.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


def seconds_for(pixels: int) -> float:
    """Returns how long the pixels of a file may keep a core busy.

    JPEG 2000, the slowest format, takes 0.11 to 0.13 s a million pixels on one core of an AMD EPYC. A radiograph
    of 5 million gets 1.75 s, three times what it needs, one of 64 million 16.5 s, twice what it needs. It is the
    core's time: load on the machine makes no good file a bad one.
    """
    return _SECONDS + _SECONDS_PER_PIXEL * pixels


def failure() -> InvalidArgument:
    """Returns the error for a file that its decoder fails over."""
    return InvalidArgument(
        "The file makes its decoder fail, or takes far longer than an intact one of its size: "
        "send it again, whole, as it was written.",
        reason="DECODER_FAILED",
        field="image",
    )


def ask(decoder: Connection, data: bytes, height: int, width: int, rule: ResizeRule, seconds: float) -> Prepared:
    """Has a decoder read a file.

    Raises:
        CanicorError: As `canicor.radiograph.decode`.
        Ended: The decoder did not survive it, or not within the seconds.
        Exception: There is no decoder any more, or it talks nonsense.
    """
    job = secrets.token_hex(8)
    decoder.send_bytes(json.dumps([job, height, width, rule, seconds]).encode())
    decoder.send_bytes(data)
    while True:
        head, _, pixels = decoder.recv_bytes(_HEAD_BYTES + height * width).partition(b"\n")
        answer = json.loads(head)
        if "signal" in answer:
            raise Ended(answer["signal"])
        # One that nobody waited for any more may be left from before.
        if answer["job"] == job:
            break
    if "status" in answer:
        raise BY_STATUS[answer["status"]](answer["message"], reason=answer["reason"], field=answer["field"])
    scale, offset, received, aspect = (tuple(answer[name]) for name in ("scale", "offset", "received", "aspect"))
    return Prepared(
        np.frombuffer(pixels, dtype=np.uint8).reshape(height, width),
        Placement(scale, offset),
        received,
        aspect,
        View(answer["view"]),
    )


def run(servers: Sequence[Connection]) -> None:
    """Keeps a decoder at work for each connection, until the server hangs up on all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to answer
    decoders = {_forked(server, servers): server for server in servers}
    while decoders:
        process, status = os.wait()
        server = decoders.pop(process)
        if not os.WIFSIGNALED(status):
            # It was hung up on, or has a fault that another would have, too.
            server.close()
            continue
        with contextlib.suppress(OSError):
            server.send_bytes(json.dumps({"signal": os.WTERMSIG(status)}).encode())
        decoders[_forked(server, servers)] = server


def _forked(server: Connection, servers: Sequence[Connection]) -> int:
    process = os.fork()
    if process == 0:
        for other in servers:
            if other is not server:
                other.close()
        with contextlib.suppress(EOFError):
            _serve(server)
        os._exit(0)
    return process


def _serve(server: Connection) -> NoReturn:
    _confine()
    while True:
        _answer(server)


def _answer(server: Connection) -> None:
    job, height, width, rule, seconds = json.loads(server.recv_bytes())
    data = server.recv_bytes()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _limit(_HEADER_SECONDS)
    try:
        prepared = read(
            data,
            height,
            width,
            ResizeRule(rule),
            codecs=Codecs.ALL,
            header_read=lambda rows, columns: _limit(seconds_for(rows * columns)),
        )
        answer, pixels = _described(prepared), prepared.pixels.tobytes()
    except CanicorError as error:
        answer, pixels = _refused(error), b""
    except Exception:
        answer, pixels = _refused(failure()), b""
    for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    server.send_bytes(json.dumps({"job": job, **answer}).encode() + b"\n" + pixels)


def _confine() -> None:
    """Gives up what decoding does not need, so that neither a bomb nor a flaw reaches beyond this process."""
    with contextlib.suppress(OSError):
        # Where memory runs out, the kernel ends this process before the server.
        Path("/proc/self/oom_score_adj").write_text("1000")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # No file is written, above all no core dump: it would hold the image.
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))


def _limit(seconds: float) -> None:
    """Has this process ended (SIGPROF) once it has been busy for so long from now."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _described(prepared: Prepared) -> dict[str, Any]:
    return {
        "scale": prepared.placement.scale,
        "offset": prepared.placement.offset,
        "received": prepared.received,
        "aspect": prepared.pixel_aspect,
        "view": prepared.view,
    }


def _refused(error: CanicorError) -> dict[str, Any]:
    return {"status": error.status, "message": error.message, "reason": error.reason, "field": error.field}


if __name__ == "__main__":
    # Here, since only a process that may die is to load GDCM; and all before the fork, to be there after it.
    import jpeg_ls  # noqa: F401
    import openjpeg  # noqa: F401

    from canicor.radiograph import _gdcm_frame  # noqa: F401

    run([Connection(int(number)) for number in sys.argv[1:]])
