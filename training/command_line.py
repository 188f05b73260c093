"""What the commands of `canicor train` share: bars, and where their files lie."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from canicor import store
from canicor.settings import Settings

if TYPE_CHECKING:
    from training import dataset


def checkpoint_folder() -> Path:
    """Returns where training keeps what it needs to go on."""
    return Settings().home_folder / "training"


def manifest_url(manifest: str) -> str:
    """Returns the URL of a manifest that is named by its URL or its file."""
    return manifest if "://" in manifest else store.file_url(Path(manifest))


@contextmanager
def progress_bars() -> Iterator["dataset.Progress"]:
    """Shows bars on stderr, one for each thing that is being done; stdout stays free for the answer."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def show(what: str, done: int, total: int) -> None:
            unfinished = [task.id for task in bars.tasks if not task.finished]
            bar = unfinished[-1] if unfinished else bars.add_task(what)
            bars.update(bar, description=what, completed=done, total=total)

        yield show
