"""Who was told what, by which model, of which file: a JSON line an answer."""

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from services.classifier.reading import Classification
from services.runtime.interceptor import caller

_FILE_BYTES = 100 * 2**20
_OLD_FILES = 20


class AuditLog:
    """No image is kept, only its digest.

    Args:
        path: The newest file; older ones get `.1`, `.2` and so on behind their name. Its folder is made. 2 GiB are
            kept, and the oldest lines go first. None: standard output, where somebody else keeps it.
    """

    def __init__(self, path: Path | None) -> None:
        self._handler: logging.Handler = logging.StreamHandler(sys.stdout)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handler = RotatingFileHandler(path, "a", _FILE_BYTES, _OLD_FILES, "utf-8")

    def write(self, done: Classification, request_id: str) -> None:
        """Writes down the answer to the call that is being answered."""
        said = done.answer
        line = {
            "time": datetime.now(UTC).isoformat(),
            "caller": caller().name,
            "request_id": request_id,
            "image_sha256": done.sha256,
            "model": done.model.name,
            "version": done.model.version,
            "class": said.heart_size,
            "vhs": said.measurement.vhs if said.measurement else None,
            "decision": "REFER" if said.referrals else "ACCEPT",
            "reasons": [one.reason for one in said.referrals],
        }
        self._handler.emit(logging.makeLogRecord({"msg": json.dumps(line)}))

    def close(self) -> None:
        """Closes the file."""
        self._handler.close()
