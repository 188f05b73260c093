"""Decoding that a malicious file can't take the server down with, nor hold a core for long.

What is bounded work, whatever its bytes, is read by the caller's own thread: sequential JPEG and uncompressed grey
DICOM, where they have a short header. Everything else goes to processes that may die.
"""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TypeAlias

import structlog

from canicor.bundle import InputSpec
from canicor.errors import CanicorError, DeadlineExceeded, Unavailable
from canicor.model_input import Prepared, read
from canicor.radiograph import Codecs, Unbounded
from services.classifier import decoder

# A caller without a deadline waits no longer than this: several times what the largest file takes.
_LONGEST_SECONDS = 120.0

# What forks must run no other thread, and a decoder is to use one core.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Of the server's environment decoders get what starts Python, none of its secrets.
_ENVIRONMENT = re.compile(r"PATH|LANG|LC_.*|LD_.*|PYTHON.*")

# A timer of none would never ring.
_SHORTEST_SECONDS = 1e-3

_Program: TypeAlias = subprocess.Popen[bytes]

_log = structlog.get_logger("canicor.decoding")


@dataclass(frozen=True)
class _Decoder:
    """The connection to a decoder, and the program that replaces it there when it ends."""

    connection: Connection
    program: _Program


class Decoders:
    """Reads radiographs for models; any thread may call. Its processes start in the background.

    Args:
        processes: Files decoded at once outside this process.
    """

    def __init__(self, processes: int) -> None:
        self._count = processes
        # Last in, first out: what worked lately has its memory at hand.
        self._idle: queue.LifoQueue[_Decoder] = queue.LifoQueue()
        self._program: _Program | None = None
        self._starting = threading.Lock()
        self._background = threading.Thread(target=self._start, args=(None,), name="start decoders")
        self._background.start()

    def read(self, data: bytes, spec: InputSpec, seconds: float) -> Prepared:
        """Decodes a radiograph for a model.

        Args:
            data: The whole file.
            spec: The model's input.
            seconds: How long the caller waits.

        Raises:
            CanicorError: As `canicor.radiograph.decode`; InvalidArgument DECODER_FAILED where a decoder crashed
                over the file or was busy for far longer than its size explains (`decoder.seconds_for`);
                DeadlineExceeded where the seconds have passed; Unavailable where no decoder stays up.
        """
        try:
            return read(data, spec.height, spec.width, spec.resize, codecs=Codecs.BOUNDED)
        except Unbounded:
            return self._read_apart(data, spec, time.monotonic() + min(seconds, _LONGEST_SECONDS))

    def close(self) -> None:
        """Ends the processes; no `read` may be under way."""
        self._background.join()
        with self._starting:
            self._stop()

    def _read_apart(self, data: bytes, spec: InputSpec, end: float) -> Prepared:
        # A decoder that was killed, or is gone, may have been so before it got this file: another tries once more.
        for last in (False, True):
            one = self._taken(end)
            left = max(_SHORTEST_SECONDS, end - time.monotonic())
            try:
                prepared = decoder.ask(one.connection, data, spec.height, spec.width, spec.resize, left)
            except CanicorError:
                self._put_back(one)
                raise
            except decoder.Ended as ended:
                self._put_back(one)
                if last or ended.signal != signal.SIGKILL:
                    raise _explained(ended) from None
            except Exception:
                one.connection.close()
                self._start(one.program)
            else:
                self._put_back(one)
                return prepared
        raise Unavailable("The decoders do not stay up: the server's log says more.", reason="NO_DECODER")

    def _taken(self, end: float) -> _Decoder:
        if self._program is None:
            self._start(None)
        try:
            return self._idle.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise _deadline_exceeded() from None

    def _put_back(self, one: _Decoder) -> None:
        with self._starting:
            if one.program is self._program:
                self._idle.put(one)
            else:
                one.connection.close()

    def _start(self, instead_of: _Program | None) -> None:
        """Starts the decoders, unless another thread has done so."""
        with self._starting:
            if self._program is not instead_of:
                return
            if instead_of:
                self._stop()
                _log.warning("the decoders are started anew", exit_status=instead_of.returncode)
            pairs = [Pipe() for _ in range(self._count)]
            numbers = [theirs.fileno() for _, theirs in pairs]
            self._program = subprocess.Popen(
                [sys.executable, "-P", "-m", decoder.__name__, *map(str, numbers)],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={
                    **{name: text for name, text in os.environ.items() if _ENVIRONMENT.fullmatch(name)},
                    **_ONE_THREAD,
                },
            )
            for ours, theirs in pairs:
                theirs.close()
                self._idle.put(_Decoder(ours, self._program))

    def _stop(self) -> None:
        # Whoever is hung up on ends by itself.
        while not self._idle.empty():
            self._idle.get().connection.close()
        if self._program:
            self._program.kill()
            self._program.wait()
            self._program = None


def _explained(ended: decoder.Ended) -> CanicorError:
    if ended.signal == signal.SIGALRM:
        return _deadline_exceeded()
    _log.warning("a decoder ended over a file", signal=ended.signal)
    return decoder.failure()


def _deadline_exceeded() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed before this radiograph was decoded.", reason="DEADLINE")
