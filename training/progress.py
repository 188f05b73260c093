"""Progress bars on stderr; stdout stays free for the answer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from training import dataset


@contextmanager
def bars() -> Iterator["dataset.Progress"]:
    """Shows one bar for each thing that is being done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Where several processes fit one network, the main one shows it: `torchrun` numbers them.
    helping = os.environ.get("RANK", "0") != "0"
    with Progress(*columns, console=Console(stderr=True), disable=helping) as shown:

        def show(what: str, done: int, total: int) -> None:
            unfinished = [task.id for task in shown.tasks if not task.finished]
            bar = unfinished[-1] if unfinished else shown.add_task(what)
            shown.update(bar, description=what, completed=done, total=total)

        yield show
