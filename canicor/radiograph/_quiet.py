"""Silence for the chatter of decoders, safe across threads."""

import logging
import threading
import warnings

_PYDICOM_LOG = logging.getLogger("pydicom")


class _Quiet:
    """Ignores warnings, and keeps pydicom's log to itself, while any thread is inside.

    That log quotes element values, which may be a patient's.

    `warnings.catch_warnings` alone swaps process-wide filters: threads that leave in another order than they
    came would keep them swapped for good. Here the first thread in swaps and the last one out restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                _PYDICOM_LOG.propagate = False

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _PYDICOM_LOG.propagate = True
                self._filters.__exit__(None, None, None)


quiet = _Quiet()
