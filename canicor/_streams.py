"""Requests of a stream that outlive it: where a server stops, what it has not answered goes to another."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Self

from canicor.classifier.v1 import classifier_pb2 as pb


class _Ledger:
    """What was sent and has no answer, and what has to be sent again; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[str, pb.ClassifyRequest] = {}
        self._again: deque[pb.ClassifyRequest] = deque()
        self._failures = 0
        self._stream = 0

    def take_over(self) -> int:
        """Begins another stream, whose number it returns: what has no answer is sent again, by it alone."""
        with self._lock:
            self._stream += 1
            self._again.extend(self._sent.values())
            self._sent.clear()
            return self._stream

    def again(self, stream: int) -> pb.ClassifyRequest | None:
        """Returns what this stream has to send again, if there is anything."""
        with self._lock:
            if stream != self._stream or not self._again:
                return None
            request = self._again.popleft()
            self._sent[request.request_id] = request
            return request

    def send(self, stream: int, request: pb.ClassifyRequest) -> bool:
        """Tells whether this stream is to send a request; where another has taken over, that one will."""
        with self._lock:
            if own := stream == self._stream:
                self._sent[request.request_id] = request
            else:
                self._again.append(request)
            return own

    def is_over(self, stream: int) -> bool:
        """Tells whether another stream has taken over."""
        return stream != self._stream

    def answered(self, request_id: str) -> None:
        """Takes note of an answer."""
        with self._lock:
            self._sent.pop(request_id, None)
            self._failures = 0

    def failed(self) -> int:
        """Takes note of a stream that failed, and returns how many did since the last answer."""
        with self._lock:
            self._failures += 1
            return self._failures


class Outstanding(_Ledger):
    """For blocking stubs: gRPC takes requests in a thread, which may wait for the next when its stream has ended.

    Args:
        requests: Each with a `request_id` of its own.
    """

    def __init__(self, requests: Iterable[pb.ClassifyRequest]) -> None:
        super().__init__()
        self._requests = iter(requests)
        self._taking = threading.Lock()

    def stream(self) -> Iterator[pb.ClassifyStreamRequest]:
        """Returns what has no answer, then what is still to come, until another stream takes over."""
        return self._of_stream(self.take_over())

    def _of_stream(self, stream: int) -> Iterator[pb.ClassifyStreamRequest]:
        while not self.is_over(stream):
            if (request := self.again(stream)) is None:
                with self._taking:
                    # Who waited here may have been handed something meanwhile.
                    if (request := self.again(stream)) is None:
                        request = next(self._requests, None)
                        if request is None or not self.send(stream, request):
                            return
            yield pb.ClassifyStreamRequest(request=request)


class AsyncOutstanding(_Ledger):
    """For asyncio: a task takes the requests, since the end of a stream may cancel who waits for one."""

    def __init__(self, requests: AsyncIterable[pb.ClassifyRequest]) -> None:
        super().__init__()
        self._requests = requests
        self._next: pb.ClassifyRequest | None = None
        self._ended = False
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._taking = asyncio.create_task(self._take())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._taking

    def stream(self) -> AsyncIterator[pb.ClassifyStreamRequest]:
        """Returns what has no answer, then what is still to come, until another stream takes over."""
        return self._of_stream(self.take_over())

    async def _of_stream(self, stream: int) -> AsyncIterator[pb.ClassifyStreamRequest]:
        while (request := await self._coming(stream)) is not None:
            yield pb.ClassifyStreamRequest(request=request)

    async def _coming(self, stream: int) -> pb.ClassifyRequest | None:
        async with self._changed:
            while not self.is_over(stream):
                if (request := self.again(stream)) is not None:
                    return request
                if self._next is not None:
                    request, self._next = self._next, None
                    self.send(stream, request)
                    self._changed.notify_all()
                    return request
                if self._ended:
                    return None
                await self._changed.wait()
        return None

    async def _take(self) -> None:
        try:
            async for request in self._requests:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._next is None)
                    self._next = request
                    self._changed.notify_all()
        finally:
            self._ended = True
            async with self._changed:
                self._changed.notify_all()
