"""What an executor is."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from services.generator.worker import Tell

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

TRIES = 5
"""How often work is tried whose worker dies of it. One death may take the work of others with it."""


class Executor(Protocol):
    """Runs functions of a module in other processes; a process that dies is replaced and its work repeated.

    Attributes:
        workers: How many run at once.
    """

    workers: int

    async def run(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Calls a function, which must bear being called again.

        Raises:
            ResourceExhausted: Workers died of it again and again.
        """

    async def run_and_hear(
        self,
        listener: Callable[[Any], None],
        function: Callable[Concatenate[Tell, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Calls a function as `run` does, and the listener, in this event loop, with what it tells meanwhile.

        Args:
            listener: Hears all of it before this returns.
            function: Its first argument is what it tells by.
            args: Its others.
            kwargs: Its others.
        """

    async def close(self) -> None:
        """Lets the workers end what they are at, and ends them."""
