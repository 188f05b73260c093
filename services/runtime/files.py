"""Files that are followed while the server runs."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from canicor.errors import CanicorError

FOLLOW_SECONDS = 1.0
"""How long a change may go unnoticed."""

Content = TypeVar("Content")

_log = structlog.get_logger("canicor.files")


class Followed(Generic[Content]):
    """What files say, read anew where they have changed when someone asks; any thread may.

    Files that can't be used are logged once, and what they said before stays.

    Args:
        paths: The files.
        read: Makes of their bytes what they say; raises a CanicorError where it can't.

    Raises:
        CanicorError: Of `read`.
        OSError: A file can't be read.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[Sequence[bytes]], Content]) -> None:
        self._paths = paths
        self._read = read
        self._lock = threading.Lock()
        self._seen: Sequence[bytes] | None = [path.read_bytes() for path in paths]
        self._content = read(self._seen)
        self._next = time.monotonic() + FOLLOW_SECONDS

    def current(self) -> Content:
        """Returns what the files say."""
        if time.monotonic() >= self._next:
            with self._lock:
                self._follow()
        return self._content

    def _follow(self) -> None:
        self._next = time.monotonic() + FOLLOW_SECONDS
        before = self._seen
        try:
            self._seen = [path.read_bytes() for path in self._paths]
            if self._seen != before:
                self._content = self._read(self._seen)
                _log.info("changed files were read", files=self._shown())
        except OSError as error:
            self._seen = None
            if before is not None:
                self._refuse(str(error))
        except CanicorError as error:
            self._refuse(error.message)

    def _refuse(self, problem: str) -> None:
        _log.error(
            "changed files can't be used: what they said before stays", files=self._shown(), problem=problem
        )

    def _shown(self) -> str:
        return ", ".join(map(str, self._paths))
