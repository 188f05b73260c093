"""Batches for a GPU: all that waits when it becomes free, never what a clock says."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.classifier.engines import Outputs
from services.classifier.metrics import BATCH_SIZE

Run = Callable[[NDArray[np.uint8], Sequence[str]], Outputs]


@dataclass
class _Entry:
    image: NDArray[np.uint8]
    names: Sequence[str]
    check: Callable[[], None]
    done: "Future[Outputs]" = field(default_factory=Future)

    def still_wanted(self) -> bool:
        """Whether to run it: not where its caller has left, or where its check says no."""
        if not self.done.set_running_or_notify_cancel():
            return False
        try:
            self.check()
        except Exception as error:
            self.done.set_exception(error)
            return False
        return True


class Batcher:
    """Runs images together.

    While one batch runs, the next gathers; a lone image starts at once.

    Args:
        run: Takes uint8 [N, height, width] and the names of outputs.
        most: Images in a batch, 1 or more.
    """

    def __init__(self, run: Run, most: int) -> None:
        self._run = run
        self._most = most
        self._waiting: list[_Entry] = []
        self._changing = threading.Lock()
        # Ends by itself when the batcher is no longer used.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def submit(
        self, image: NDArray[np.uint8], names: Sequence[str], check: Callable[[], None]
    ) -> "Future[Outputs]":
        """Has an image run.

        Args:
            image: uint8 [height, width].
            names: Of the outputs wanted.
            check: Called just before its batch; what it raises becomes the result, and the image is left out.

        Returns:
            The outputs, [1, ...] each. Cancelled before its batch starts, it is left out.
        """
        entry = _Entry(image, names, check)
        with self._changing:
            self._waiting.append(entry)
        self._thread.submit(self._run_waiting)
        return entry.done

    def _run_waiting(self) -> None:
        with self._changing:
            taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        self._run_batch([entry for entry in taken if entry.still_wanted()])

    def _run_batch(self, entries: list[_Entry]) -> None:
        if not entries:
            return
        names = list(dict.fromkeys(name for entry in entries for name in entry.names))
        BATCH_SIZE.observe(len(entries))
        try:
            outputs = self._run(np.stack([entry.image for entry in entries]), names)
        except Exception as error:
            for entry in entries:
                entry.done.set_exception(error)
            return
        for index, entry in enumerate(entries):
            entry.done.set_result({name: outputs[name][index : index + 1] for name in entry.names})
