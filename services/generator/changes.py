"""Tells those who watch a batch that it changed."""

import asyncio
from weakref import WeakValueDictionary


class Changes:
    """The next change of each batch that is watched. Costs nothing for batches that are not."""

    def __init__(self) -> None:
        self._awaited: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def next(self, batch_id: str) -> asyncio.Event:
        """Returns an event that the batch's next change sets. Take it before the batch is read, or miss one."""
        event = self._awaited.get(batch_id)
        if event is None:
            event = self._awaited[batch_id] = asyncio.Event()
        return event

    def tell(self, batch_id: str) -> None:
        """Says that a batch changed."""
        event = self._awaited.pop(batch_id, None)
        if event is not None:
            event.set()

    def tell_all(self) -> None:
        """Says that every batch changed."""
        for batch_id in list(self._awaited):
            self.tell(batch_id)
