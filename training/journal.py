"""What a long piece of work has found out so far: given again, it goes on behind the last finished step."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from canicor.errors import DataLoss, ResourceExhausted

Found = TypeVar("Found")


@dataclass(frozen=True)
class Journal:
    """A folder with a file for each finished step.

    Attributes:
        folder: Made where needed; its name tells one piece of work from any other.
    """

    folder: Path

    def once(self, step: str, work: Callable[[], Found]) -> Found:
        """Returns what a step found: from its file, or by doing it now.

        Args:
            step: Its name, as a file's.
            work: Does it; what it returns is as JSON has it, or comes back so: lists for tuples.

        Raises:
            DataLoss: The file can't be read.
            ResourceExhausted: It can't be written.
        """
        file = self.folder / f"{step}.json"
        if not file.exists():
            self._write(file, json.dumps(work()))
        try:
            found: Found = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise DataLoss(
                f"{file} can't be read: delete it to do that step anew.", reason="BAD_JOURNAL"
            ) from error
        return found

    def within(self, part: str) -> "Journal":
        """Returns the journal of a part of the work."""
        return Journal(self.folder / part)

    def _write(self, file: Path, content: str) -> None:
        part = file.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(content)
            part.replace(file)
        except OSError as error:
            raise ResourceExhausted(f"{file} can't be written: {error}.", reason="NO_SPACE") from error
