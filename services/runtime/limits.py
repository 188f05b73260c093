"""How much one caller may ask of a server."""

import asyncio
import math
from dataclasses import dataclass, field

from aiolimiter import AsyncLimiter

from canicor.errors import ResourceExhausted

RETRY_SECONDS = 1.0
"""When to come back where too many requests of one's own are being answered."""


@dataclass
class Limits:
    """A caller's limits; equal where they allow the same, whatever was used of them.

    Args:
        requests_per_second: Refills a token bucket; None for no limit.
        burst: Requests that the full bucket holds; None for those of one second.
        concurrent_requests: Requests answered at once; None for no limit.
    """

    requests_per_second: float | None = None
    burst: int | None = None
    concurrent_requests: int | None = None
    _bucket: AsyncLimiter | None = field(default=None, init=False, repr=False, compare=False)
    _slots: asyncio.Semaphore | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.requests_per_second:
            burst = self.burst or math.ceil(self.requests_per_second)
            self._bucket = AsyncLimiter(burst, burst / self.requests_per_second)
        if self.concurrent_requests:
            self._slots = asyncio.Semaphore(self.concurrent_requests)

    async def take(self) -> None:
        """Takes what one request needs, to be given back with `release`.

        Raises:
            ResourceExhausted: The limits leave no room for it now.
        """
        if self._slots and self._slots.locked():
            raise ResourceExhausted(
                f"{self.concurrent_requests} requests of this token are being answered, as many as it may have at "
                f"once: wait for an answer, or try again in {RETRY_SECONDS:g} s.",
                reason="TOO_MANY_CONCURRENT",
                retry_after=RETRY_SECONDS,
            )
        if self._bucket and self.requests_per_second and not self._bucket.has_capacity():
            seconds = 1 / self.requests_per_second
            raise ResourceExhausted(
                f"This token has {self.requests_per_second:g} requests a second: try again in {seconds:.3g} s.",
                reason="RATE_LIMITED",
                retry_after=seconds,
            )
        await self.wait()

    async def wait(self) -> None:
        """Takes the same as soon as the limits leave room for it."""
        if self._bucket:
            await self._bucket.acquire()
        if self._slots:
            await self._slots.acquire()

    def release(self) -> None:
        """Gives back the place of a request that has its answer."""
        if self._slots:
            self._slots.release()
